//! One sampling run: the loop over the steps, its progress, previews and result.

use std::fmt;

use crate::error::{Error, Result};
use crate::gpu::Readback;
use crate::graph::Segment;
use crate::image::Images;
use crate::model::sampling::ports;
use crate::op::sampling::StepCoefficients;
use crate::sampler::{Facts, Respacing, Sampler, Schedule, Settings};
use crate::session::Session;
use crate::tensor::{Shape, nchw_to_nhwc};

/// Given draws: `None` asks for the first x, `Some(step)` for the noise of a step (counting down to 1); NCHW.
pub type Draws = Box<dyn FnMut(Option<u32>) -> Result<Vec<f32>> + Send>;

/// Where a run's noise comes from.
#[derive(Default)]
pub enum Noise {
    /// Philox, keyed by the seed, the sample's index and the step.
    #[default]
    Philox,
    /// The first x is given (N, C, H, W); the steps' noise is Philox's.
    Start(Vec<f32>),
    /// Every draw is given.
    Given(Draws),
}

impl fmt::Debug for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Philox => "Philox",
            Self::Start(_) => "Start",
            Self::Given(_) => "Given",
        })
    }
}

/// What to sample, and how.
#[derive(Debug)]
pub struct SampleOptions {
    /// How.
    pub settings: Settings,
    /// Images wanted, 1 to the session's batch; the rest of the batch is computed and dropped.
    pub count: usize,
    /// The class of each image; empty for an unconditional model.
    pub labels: Vec<u32>,
    /// Index of the first image in the whole run: image k is the same whatever batch or shard computes it.
    pub first_index: u32,
    /// Where noise comes from.
    pub noise: Noise,
    /// An upsampler's input, as many images as `count`.
    pub low_res: Option<Images>,
}

impl Default for SampleOptions {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            count: 1,
            labels: Vec::new(),
            first_index: 0,
            noise: Noise::Philox,
            low_res: None,
        }
    }
}

/// A step that was submitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepInfo {
    /// Steps submitted so far, this one included.
    pub done: usize,
    /// All steps.
    pub total: usize,
    /// The step of the full process it stepped from.
    pub timestep: u32,
}

/// A run in progress. Dropping it cancels what was not submitted.
#[derive(Debug)]
pub struct Run<'a> {
    session: &'a mut Session,
    options: SampleOptions,
    steps: Vec<StepCoefficients>,
    /// The network's timestep, once an image: written anew each step.
    timesteps: Vec<f32>,
    done: usize,
    shape: Shape,
}

/// The predicted x_0 of a step, on its way from the device while the run goes on.
#[derive(Debug)]
pub struct Preview {
    readback: Readback,
    count: usize,
    shape: Shape,
}

impl Preview {
    /// Whether [`Preview::images`] would not wait.
    pub fn is_ready(&self) -> bool {
        self.readback.is_ready()
    }

    /// The images.
    ///
    /// # Errors
    /// A lost device.
    pub async fn images(self) -> Result<Images> {
        let data = bytemuck::pod_collect_to_vec(&self.readback.bytes().await?);
        images(data, self.shape, self.count)
    }
}

impl Session {
    /// Starts a sampling run of up to [`Session::batch`] images.
    ///
    /// # Errors
    /// [`Error::Options`] for what this model cannot do: respacings, labels, noise of the wrong shape.
    pub fn sample(&mut self, options: SampleOptions) -> Result<Run<'_>> {
        Run::new(self, options)
    }
}

/// Whether a session steps by this sampler.
pub fn runs(sampler: Sampler) -> bool {
    [Sampler::ancestral(), Sampler::ddim()].contains(&sampler)
}

/// Refuses what a session does not do, which would otherwise be left out without a word.
fn check_runs(settings: &Settings) -> Result<()> {
    let Settings { sampler, steps, eta, clip_denoised, seed, guidance, guidance_interval, .. } = settings.clone();
    let done =
        Settings { sampler, steps, eta, clip_denoised, seed, guidance, guidance_interval, ..Settings::default() };
    if done == *settings && sampler.is_some_and(runs) {
        return Ok(());
    }
    let names: Vec<&str> = Sampler::all().filter(|sampler| runs(*sampler)).map(Sampler::name).collect();
    Err(Error::Options(format!(
        "a session samples by {}, with steps, eta, clipping, seed and guidance; leave out the other settings",
        names.join(" and ")
    )))
}

impl<'a> Run<'a> {
    pub(crate) fn new(session: &'a mut Session, options: SampleOptions) -> Result<Self> {
        let shape = session.image_shape()?;
        let settings = options.settings.resolve(&Facts::new(session.config(), session.is_guided()))?;
        check_runs(&settings)?;
        let respacing = settings.steps.clone().unwrap_or(Respacing::Sections(vec![250]));
        let schedule = Schedule::new(&session.config().diffusion, &respacing)?;
        let mut steps = schedule.steps(settings.method(), settings.clips())?;
        if let Some(scale) = settings.guidance {
            let inside = |t: u32| settings.guidance_interval.is_none_or(|[low, high]| (low..=high).contains(&t));
            steps.iter_mut().filter(|s| inside(s.timestep)).for_each(|s| s.guidance = scale as f32);
        }
        let (count, batch) = (options.count, session.batch());
        if count == 0 || count > batch {
            return Err(Error::Options(format!("{count} images asked for; this session makes 1 to {batch} at once")));
        }
        if u32::try_from(count).ok().and_then(|count| options.first_index.checked_add(count)).is_none() {
            return Err(Error::Options(format!("image index {} is too large", options.first_index)));
        }
        check_labels(session, &options)?;
        if let Noise::Start(values) = &options.noise {
            check_noise(values, Shape { n: count, ..shape })?;
        }
        let run = Self { session, options, steps, timesteps: vec![0.0; shape.n], done: 0, shape };
        run.check_low_res()?;
        Ok(run)
    }

    fn check_low_res(&self) -> Result<()> {
        let port = self.session.program.plan().port(ports::LOW_RES);
        match (port, &self.options.low_res) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(Error::Options("this model takes no low-resolution images".into())),
            (Some(port), given) => {
                let s = port.shape;
                let fits = |i: &Images| {
                    [i.count(), i.height(), i.width(), i.channels()] == [self.options.count, s.h, s.w, s.c]
                };
                if given.as_ref().is_some_and(fits) {
                    return Ok(());
                }
                Err(Error::Options(format!(
                    "an upsampler needs {} low-resolution images of {}x{} with {} channels",
                    self.options.count, s.w, s.h, s.c
                )))
            }
        }
    }

    /// Submits the next step; `None` once all are. It waits for the device only to keep a few steps in flight.
    ///
    /// # Errors
    /// A lost device, out of memory, an error of given noise.
    pub async fn step(&mut self) -> Result<Option<StepInfo>> {
        let Some(step) = self.steps.get(self.done).copied() else { return Ok(None) };
        if self.done == 0 {
            self.start().await?;
        }
        if step.draws_noise == 1 {
            self.draw(Some(step.index)).await?;
        }
        self.timesteps.fill(step.model_timestep);
        let program = &mut self.session.program;
        program.write(ports::TIMESTEPS, &self.timesteps)?;
        program.write(ports::COEFFICIENTS, bytemuck::cast_slice::<StepCoefficients, u32>(&[step]))?;
        program.run(Segment::Network).await?;
        if step.guidance != 0.0 {
            program.run(Segment::Guidance).await?;
        }
        program.run(Segment::Step).await?;
        self.done += 1;
        Ok(Some(StepInfo { done: self.done, total: self.steps.len(), timestep: step.timestep }))
    }

    async fn start(&mut self) -> Result<()> {
        if !self.options.labels.is_empty() {
            let labels = padded(&self.options.labels, self.shape.n);
            self.session.program.write(ports::LABELS, &labels)?;
        }
        if let Some(low_res) = self.options.low_res.take() {
            let elements = self.session.program.port(ports::LOW_RES)?.shape.elements();
            self.session.program.write(ports::LOW_RES, &padded(low_res.data(), elements))?;
        }
        self.draw(None).await?;
        self.session.program.run(Segment::Start).await
    }

    /// Fills the noise tensor for a step, or for the first x.
    async fn draw(&mut self, step: Option<u32>) -> Result<()> {
        let program = &mut self.session.program;
        let given = match &mut self.options.noise {
            Noise::Given(draws) => Some(draws(step)?),
            Noise::Start(values) if step.is_none() => Some(std::mem::take(values)),
            _ => None,
        };
        if let Some(values) = given {
            let shape = Shape { n: self.options.count, ..self.shape };
            check_noise(&values, shape)?;
            let values = nchw_to_nhwc(&values, shape);
            return program.write(ports::NOISE, &padded(&values, self.shape.elements()));
        }
        // Step 0 draws nothing, so that its number is free for the first x.
        let seed = self.options.settings.seed;
        let key = [seed as u32, (seed >> 32) as u32, self.options.first_index, step.unwrap_or(0)];
        program.write(ports::NOISE_KEY, &key)?;
        program.run(Segment::Noise).await
    }

    /// The predicted x_0 of the last submitted step; waits for it.
    ///
    /// # Errors
    /// A lost device; no step was submitted yet.
    pub async fn preview(&mut self) -> Result<Images> {
        self.start_preview()?.images().await
    }

    /// Begins to read the predicted x_0 of the last submitted step. The next steps may be submitted meanwhile.
    ///
    /// # Errors
    /// A lost device; no step was submitted yet.
    pub fn start_preview(&mut self) -> Result<Preview> {
        if self.done == 0 {
            return Err(Error::Options("there is no preview before the first step".into()));
        }
        let readback = self.session.program.read_later(ports::X_START)?;
        Ok(Preview { readback, count: self.options.count, shape: self.shape })
    }

    /// Takes the remaining steps and returns the images.
    ///
    /// # Errors
    /// A lost device, out of memory.
    pub async fn finish(mut self) -> Result<Images> {
        while self.step().await?.is_some() {}
        let data = self.session.program.read(ports::X).await?;
        images(data, self.shape, self.options.count)
    }

    /// All steps of the run.
    pub fn total(&self) -> usize {
        self.steps.len()
    }
}

/// The first `count` images of a batch.
fn images(data: Vec<f32>, Shape { n, h, w, c }: Shape, count: usize) -> Result<Images> {
    let mut images = Images::new(n, h, w, c, data)?;
    images.truncate(count);
    Ok(images)
}

fn check_labels(session: &Session, options: &SampleOptions) -> Result<()> {
    let classes = session.classes();
    if classes == 0 {
        return if options.labels.is_empty() {
            Ok(())
        } else {
            Err(Error::Options("this model is unconditional; it takes no classes".into()))
        };
    }
    if options.labels.len() != options.count {
        let (given, wanted) = (options.labels.len(), options.count);
        return Err(Error::Options(format!("{given} classes given for {wanted} images")));
    }
    match options.labels.iter().find(|label| **label as usize >= classes) {
        Some(label) => Err(Error::Options(format!("class {label}: this model has classes 0 to {}", classes - 1))),
        None => Ok(()),
    }
}

fn check_noise(values: &[f32], shape: Shape) -> Result<()> {
    if values.len() == shape.elements() {
        return Ok(());
    }
    Err(Error::Options(format!(
        "the noise has {} values; {} ({} x {} x {} x {}) are needed",
        values.len(),
        shape.elements(),
        shape.n,
        shape.c,
        shape.h,
        shape.w
    )))
}

/// `values`, continued to a whole batch with zeros.
fn padded<T: Copy + Default>(values: &[T], len: usize) -> Vec<T> {
    let mut values = values.to_vec();
    values.resize(len, T::default());
    values
}
