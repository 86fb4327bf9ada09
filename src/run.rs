//! One sampling run: the loop over the steps, its progress, previews and result.

use std::fmt;

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::gpu::{Program, Readback};
use crate::graph::Segment;
use crate::image::Images;
use crate::model::sampling::ports;
use crate::sampler::{Edit, Facts, Row, Sampler, Settings};
use crate::session::Session;
use crate::tensor::{Shape, nchw_to_nhwc};

/// Given draws: `None` asks for the first x, `Some(draw)` for the noise of a later draw (counting down to 1); NCHW.
pub type Draws = Box<dyn FnMut(Option<u32>) -> Result<Vec<f32>> + Send>;

/// Where a run's noise comes from.
#[derive(Default)]
pub enum Noise {
    /// Philox, keyed by the seed, the sample's index and the draw.
    #[default]
    Philox,
    /// The first x is given (N, C, H, W); later noise is Philox's.
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
    /// What an edit, image to image or inversion starts from.
    pub edit: Option<Edit>,
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
            edit: None,
        }
    }
}

/// A network evaluation that was submitted, with the steps around it that need none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepInfo {
    /// Evaluations submitted so far, this one included.
    pub done: usize,
    /// All evaluations.
    pub total: usize,
    /// The timestep of the full process at which the network was evaluated; in sigma-space 250 ln sigma.
    pub timestep: f64,
}

/// A run in progress. Dropping it cancels what was not submitted.
#[derive(Debug)]
pub struct Run<'a> {
    session: &'a mut Session,
    options: SampleOptions,
    rows: Vec<Row>,
    /// What the network's time is divided by for the full process's.
    time_scale: f64,
    threshold: bool,
    /// The network's time, once per image: written anew at each evaluation.
    timesteps: Vec<f32>,
    /// Inputs and the first x are on the device.
    started: bool,
    /// Rows submitted so far.
    at: usize,
    /// Evaluations submitted so far.
    done: usize,
    /// Draws that are left. They count down to 1, so that a last draw is the same whatever the number of steps.
    draws: u32,
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

impl<'a> Run<'a> {
    pub(crate) fn new(session: &'a mut Session, options: SampleOptions) -> Result<Self> {
        let shape = session.image_shape()?;
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
        let own = session.config().unet.image_size;
        let mut asked = options.settings.clone();
        match asked.size {
            Some([width, height]) if [width, height] != [shape.w, shape.h] => {
                return Err(Error::Options(format!(
                    "size {width}x{height}: the model was loaded for images of {}x{}; load it for others",
                    shape.w, shape.h
                )));
            }
            None if [shape.w, shape.h] != [own; 2] => asked.size = Some([shape.w, shape.h]),
            _ => {}
        }
        // The data decide what is known.
        asked.edit = options.edit.as_ref().and_then(Edit::degradation).or(asked.edit);
        let settings = asked.resolve(&Facts::new(session.config(), session.is_guided()))?;
        check_edit(&settings, options.edit.as_ref(), Shape { n: count, ..shape })?;
        let process = settings.process(session.config())?;
        let rows = settings.table(&process, options.edit.is_some() && settings.strength.is_none())?;
        let mut run = Self {
            session,
            options: SampleOptions { settings, ..options },
            draws: rows.iter().filter(|row| row.draws()).count() as u32,
            rows,
            time_scale: process.time_scale(),
            threshold: false,
            timesteps: vec![0.0; shape.n],
            started: false,
            at: 0,
            done: 0,
            shape,
        };
        run.adapt_rows();
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

    /// Puts guidance and thresholding into the rows.
    fn adapt_rows(&mut self) {
        let settings = &self.options.settings;
        self.threshold = settings.threshold == Some(true);
        for row in &mut self.rows {
            let timestep = row.call.time / self.time_scale;
            let inside = |[low, high]: [u32; 2]| (f64::from(low)..=f64::from(high)).contains(&timestep);
            let scale = settings.guidance.filter(|_| settings.guidance_interval.is_none_or(inside)).unwrap_or(0.0);
            row.guide(scale);
            if self.threshold && row.calls() {
                row.clip = 0.0;
            }
        }
    }

    /// Submits the next network evaluation and the steps around it that need none; `None` once all are. It waits for the
    /// device only to keep a few submissions in flight.
    ///
    /// # Errors
    /// A lost device, out of memory, an error of given noise.
    pub async fn step(&mut self) -> Result<Option<StepInfo>> {
        if self.at == self.rows.len() {
            return Ok(None);
        }
        if !std::mem::replace(&mut self.started, true) {
            self.start().await?;
        }
        let mut timestep = 0.0;
        while let Some(row) = self.rows.get(self.at).copied() {
            let total = self.evaluations();
            if row.calls() && self.done == total {
                break;
            }
            if row.draws() {
                let draw = self.draws;
                self.draws -= 1;
                self.draw(Some(draw)).await?;
            }
            self.submit(&row).await?;
            self.at += 1;
            if row.calls() {
                timestep = row.call.time / self.time_scale;
                self.done += 1;
                if self.done < total {
                    break;
                }
            }
        }
        Ok(Some(StepInfo { done: self.done, total: self.evaluations(), timestep }))
    }

    async fn submit(&mut self, row: &Row) -> Result<()> {
        let program = &mut self.session.program;
        let numbers = row.numbers().map(|part| part.map(|v| v as f32));
        program.write(ports::ROW, numbers.as_flattened())?;
        let mut segments = Vec::with_capacity(6);
        if row.calls() {
            self.timesteps.fill(row.call.time as f32);
            program.write(ports::TIMESTEPS, &self.timesteps)?;
            segments.push(Segment::Network);
            segments.extend(row.guides().then_some(Segment::Guidance));
        }
        segments.push(Segment::Predict);
        segments.extend((self.threshold && row.calls()).then_some(Segment::Threshold));
        segments.extend(row.edits().then_some(Segment::Project));
        segments.push(Segment::Step);
        program.run_all(&segments).await
    }

    async fn start(&mut self) -> Result<()> {
        if !self.options.labels.is_empty() {
            let labels = padded(&self.options.labels, self.shape.n);
            self.session.program.write(ports::LABELS, &labels)?;
        }
        if let Some(low_res) = self.options.low_res.take() {
            self.write_images(ports::LOW_RES, &low_res)?;
        }
        if let Some(edit) = &self.options.edit {
            self.write_images(ports::KNOWN, &edit.known)?;
            if let Some(mask) = &edit.mask {
                self.write_images(ports::MASK, mask)?;
            }
            self.session.program.write(ports::EDIT, &edit.words())?;
        }
        self.draw(None).await?;
        self.session.program.run(Segment::Start).await
    }

    fn write_images(&self, port: &str, images: &Images) -> Result<()> {
        let elements = self.session.program.port(port)?.shape.elements();
        self.session.program.write(port, &padded(images.data(), elements))
    }

    /// Fills the noise tensor for a draw, or for the first x.
    async fn draw(&mut self, draw: Option<u32>) -> Result<()> {
        let program = &mut self.session.program;
        let given = match &mut self.options.noise {
            Noise::Given(draws) => Some(draws(draw)?),
            Noise::Start(values) if draw.is_none() => Some(std::mem::take(values)),
            _ => None,
        };
        if let Some(values) = given {
            let shape = Shape { n: self.options.count, ..self.shape };
            check_noise(&values, shape)?;
            let values = nchw_to_nhwc(&values, shape);
            return program.write(ports::NOISE, &padded(&values, self.shape.elements()));
        }
        // Later draws count down to 1, so that 0 is free for the first x.
        let seed = self.options.settings.seed;
        let key = [seed as u32, (seed >> 32) as u32, self.options.first_index, draw.unwrap_or(0)];
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

    /// Network evaluations of the run, per image.
    pub fn evaluations(&self) -> usize {
        self.rows.iter().filter(|row| row.calls()).count()
    }

    /// Applies one row outside the run's own; `draw` numbers its noise.
    pub(crate) async fn apply(&mut self, row: &Row, draw: Option<u32>) -> Result<()> {
        if !std::mem::replace(&mut self.started, true) {
            self.start().await?;
        }
        if let Some(draw) = draw {
            self.draw(Some(draw)).await?;
        }
        self.submit(row).await
    }

    /// The session's program.
    pub(crate) fn program(&mut self) -> &mut Program {
        &mut self.session.program
    }

    /// The session's configuration.
    pub(crate) fn config(&self) -> &ModelConfig {
        self.session.config()
    }

    /// The settings, with every default filled in.
    pub fn settings(&self) -> &Settings {
        &self.options.settings
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

/// Some settings need an edit's image, and others leave it without a use.
fn check_edit(settings: &Settings, edit: Option<&Edit>, shape: Shape) -> Result<()> {
    let sampler = settings.sampler.map_or("", Sampler::name);
    let option = |name| settings.sampler.is_some_and(|sampler| sampler.takes(name));
    let needs = settings.strength.is_some() || option("edit") || option("whole");
    let takes = needs || option("optional_edit");
    match edit {
        None if needs => Err(Error::Options(format!(
            "{} needs a given image",
            if settings.strength.is_some() { "a strength".into() } else { format!("sampler {sampler}") }
        ))),
        Some(_) if !takes => Err(Error::Options(format!(
            "sampler {sampler} uses a given image only with a strength; give one (0 to 1), or use repaint or ddnm"
        ))),
        Some(edit) => edit.check(shape),
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
