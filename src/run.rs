//! One sampling run: the loop over the rows of the step table, its progress, previews and result.

mod options;

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::gpu::{Program, Readback};
use crate::graph::Segment;
use crate::image::Images;
use crate::model::sampling::ports;
use crate::sampler::{Row, Settings};
use crate::session::Session;
use crate::tensor::{Shape, nchw_to_nhwc};

use options::check_noise;
pub use options::{Draws, Noise, SampleOptions};

/// A step that was submitted: a row that evaluates the network, once or twice, with the rows around it that need none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepInfo {
    /// Steps submitted so far, this one included.
    pub done: usize,
    /// All steps.
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
    /// The class that stands for none in particular, where no classifier guides.
    null_class: Option<u32>,
    /// The network's time, once per image: written at each evaluation.
    timesteps: Vec<f32>,
    /// Inputs and the first x are on the device.
    started: bool,
    /// Rows submitted so far.
    at: usize,
    /// Rows that evaluate the network.
    total: usize,
    /// Steps submitted so far.
    done: usize,
    /// The last of them was guided.
    guided: bool,
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

/// What the last submitted step worked with and came to.
#[derive(Debug)]
pub struct Inside {
    /// x after it.
    pub x: Images,
    /// The network's output; where a variance was learnt, its channels come last.
    pub out: Images,
    /// The gradient of the class's log-probability with respect to x before it, where the classifier guided it.
    pub gradient: Option<Images>,
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
        let settings = options.check(session, shape)?;
        let process = settings.process(session.config())?;
        let null_class = session.config().null_class.filter(|_| !session.is_guided());
        let rows = settings.table(&process, options.edit.is_some() && settings.strength.is_none())?;
        let mut run = Self {
            session,
            options: SampleOptions { settings, ..options },
            draws: rows.iter().filter(|row| row.draws()).count() as u32,
            total: rows.iter().filter(|row| row.calls()).count(),
            rows,
            time_scale: process.time_scale(),
            threshold: false,
            null_class,
            timesteps: vec![0.0; shape.n],
            started: false,
            at: 0,
            done: 0,
            guided: false,
            shape,
        };
        run.adapt_rows();
        Ok(run)
    }

    /// Puts guidance and thresholding into the rows.
    fn adapt_rows(&mut self) {
        let settings = &self.options.settings;
        self.threshold = settings.threshold == Some(true);
        settings.guide(&mut self.rows, self.time_scale, self.null_class.is_some());
        for row in &mut self.rows {
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
            if row.calls() && self.done == self.total {
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
                if self.done < self.total {
                    break;
                }
            }
        }
        Ok(Some(StepInfo { done: self.done, total: self.total, timestep }))
    }

    async fn submit(&mut self, row: &Row) -> Result<()> {
        let program = &mut self.session.program;
        let numbers = row.numbers().map(|part| part.map(|v| v as f32));
        program.write(ports::ROW, numbers.as_flattened())?;
        let mut segments = Vec::with_capacity(6);
        if row.calls() {
            self.timesteps.fill(row.call.time as f32);
            program.write(ports::TIMESTEPS, &self.timesteps)?;
            if let Some(class) = self.null_class.filter(|_| row.guides()) {
                program.write(ports::LABELS, &vec![class; self.shape.n])?;
                program.run_all(&[Segment::Network, Segment::Guidance]).await?;
                program.write(ports::LABELS, &padded(&self.options.labels, self.shape.n))?;
            }
            segments.push(Segment::Network);
            // A null class guides by the network's own outputs, without a gradient.
            self.guided = self.null_class.is_none() && row.guides();
            segments.extend(self.guided.then_some(Segment::Guidance));
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

    /// What the last submitted step worked with; waits for it.
    ///
    /// # Errors
    /// A lost device; no step was submitted yet.
    pub async fn inside(&mut self) -> Result<Inside> {
        if self.done == 0 {
            return Err(Error::Options("there is nothing to see before the first step".into()));
        }
        let x = self.read(ports::X).await?;
        let out = self.read(ports::OUT).await?;
        let gradient = if self.guided { Some(self.read(ports::GRADIENT).await?) } else { None };
        Ok(Inside { x, out, gradient })
    }

    async fn read(&mut self, port: &str) -> Result<Images> {
        let shape = self.session.program.port(port)?.shape;
        images(self.session.program.read(port).await?, shape, self.options.count)
    }

    /// Takes the remaining steps and returns the images.
    ///
    /// # Errors
    /// A lost device, out of memory.
    pub async fn finish(mut self) -> Result<Images> {
        while self.step().await?.is_some() {}
        self.read(ports::X).await
    }

    /// Network evaluations of the run, per image.
    pub fn evaluations(&self) -> usize {
        self.rows.iter().map(|row| row.evaluations(self.null_class.is_some())).sum()
    }

    /// The first x, before any row.
    pub(crate) async fn first(&mut self) -> Result<Vec<f32>> {
        if !std::mem::replace(&mut self.started, true) {
            self.start().await?;
        }
        self.session.program.read(ports::X).await
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

/// `values`, continued to a whole batch with zeros.
fn padded<T: Copy + Default>(values: &[T], len: usize) -> Vec<T> {
    let mut values = values.to_vec();
    values.resize(len, T::default());
    values
}
