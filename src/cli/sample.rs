//! `sample` and `upsample`: batches of images through one model or two, one after the other, into an output.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::args::{RunArgs, SampleArgs, UpsampleArgs};
use super::console::{note, print, print_json};
use super::device::Device;
use super::input;
use super::low_res::LowRes;
use super::models::{Models, Opened};
use super::output::{Layout, Output};
use super::progress::Progress;
use super::request::Request;
use super::stage::Stage;
use super::values::Ended;
use crate::gpu::Gpu;
use crate::image::Images;
use crate::plan::PlanOptions;
use crate::run::{Noise, SampleOptions};
use crate::session::{Session, SessionOptions};
use crate::{Error, Result};

/// Runs `sample`. `stop` ends it after the current step.
///
/// # Errors
/// [`Error::Options`] for what cannot be asked for, before any work; later the device's errors.
pub async fn sample(args: &SampleArgs, stop: &AtomicBool) -> Result<Ended> {
    if args.small_out.as_ref() == Some(&args.run.out) {
        return Err(Error::Options("--out and --small-out name the same place".into()));
    }
    let models = Models::of_sample(args)?;
    let request = Request::sample(args, &models)?;
    Job { run: &args.run, small_out: args.small_out.as_deref(), request, stop }.work(models, None).await
}

/// Runs `upsample`. `stop` ends it after the current step.
///
/// # Errors
/// As [`sample`]; files that hold no images.
pub async fn upsample(args: &UpsampleArgs, stop: &AtomicBool) -> Result<Ended> {
    let Some(path) = args.input() else {
        return Err(Error::Options("give the images to enlarge as --input".into()));
    };
    let models = Models::of_upsample(args)?;
    let labeled = input::images(path)?;
    let request = Request::upsample(args, &models, &labeled)?;
    Job { run: &args.run, small_out: None, request, stop }.work(models, Some(LowRes::Input(labeled.images))).await
}

/// A settled run with what it writes to.
struct Job<'a> {
    run: &'a RunArgs,
    small_out: Option<&'a Path>,
    request: Request,
    stop: &'a AtomicBool,
}

/// What a run did.
#[derive(Debug, Default)]
struct Done {
    written: usize,
    sampling: Duration,
    first_step: Option<Duration>,
}

impl Job<'_> {
    async fn work(&self, models: Models, input: Option<LowRes>) -> Result<Ended> {
        let request = &self.request;
        let Some(last) = request.stages.last() else { return Ok(Ended::Done) };
        let noise = self.noise()?;
        let mut output = Output::create(&self.run.out, layout(request, last))?;
        let mut small = match (self.small_out, request.stages.first()) {
            (Some(path), Some(stage)) => Some((Output::create(path, layout(&request.first_stage(), stage))?, path)),
            _ => None,
        };
        let started = Instant::now();
        let device = Device::open(&self.run.device).await?;
        let gpu = Arc::clone(&device.gpu);
        let Models { first, classifier, upsampler } = models;
        // A stack that would fail at its second stage fails here.
        for (stage, (model, classifier)) in
            request.stages.iter().zip(pairs(&first, classifier.as_ref(), upsampler.as_ref()))
        {
            Session::plan(gpu.caps(), model.config(), classifier.map(Opened::config), &self.options(stage))?;
        }

        let runs = |stage: &Stage| request.indices.len().div_ceil(request.batch(stage) as usize);
        let steps: usize = request.stages.iter().map(|stage| runs(stage) * stage.steps).sum();
        let mut progress = Progress::new(steps as u64, request.indices.len());
        let mut done = Done::default();
        let mut low_res = input;
        let mut files = [Some((first, classifier)), upsampler.map(|upsampler| (upsampler, None))].into_iter().flatten();
        let mut interrupted = false;
        for (k, stage) in request.stages.iter().enumerate() {
            let Some((model, classifier)) = files.next() else { break };
            progress.stage(k + 1, request.stages.len());
            let is_last = k + 1 == request.stages.len();
            let mut options = self.options(stage);
            let evaluations = runs(stage) * stage.steps;
            let config = classifier.as_ref().map(Opened::config);
            options.choices = device.choices(model.config(), config, &options, evaluations).await?;
            let mut session =
                Session::load_guided(&gpu, model.source(), classifier.as_ref().map(Opened::source), &options).await?;
            device.remember_pipelines();
            session.warnings().iter().for_each(|warning| note(warning));
            // The files' pages are no longer needed.
            drop((model, classifier));
            let mut made = LowRes::made(stage, request.indices.start);
            for start in request.indices.clone().step_by(request.batch(stage) as usize) {
                let indices = start..request.indices.end.min(start.saturating_add(request.batch(stage)));
                let enlarged = low_res.as_ref().map(|low_res| low_res.rows(indices.clone())).transpose()?;
                let rows = noise.as_deref().filter(|_| k == 0).map(|all| rows(all, request, indices.clone()));
                let Some((images, first)) =
                    self.batch(&mut session, stage, indices.clone(), enlarged, rows, &progress).await?
                else {
                    interrupted = true;
                    break;
                };
                done.first_step.get_or_insert(first.duration_since(started));
                if let Some(broken) = images.first_not_finite() {
                    let (image, precision) = (start + broken as u32, request.precision);
                    return Err(stage.recipe.not_finite(image, precision, &gpu.summary().name));
                }
                if is_last {
                    let records: Vec<_> = indices.map(|index| request.record(index)).collect();
                    output.push(&images, &records)?;
                    progress.finished(images.count());
                } else {
                    if let Some((small, _)) = &mut small {
                        let alone = request.first_stage();
                        let records: Vec<_> = indices.map(|index| alone.record(index)).collect();
                        small.push(&images, &records)?;
                    }
                    made.push(&images);
                }
            }
            if interrupted {
                break;
            }
            low_res = Some(made);
            // Its memory is free before the next stage takes its own.
            drop(session);
            gpu.finish().await?;
        }
        (done.written, done.sampling) = (output.written(), progress.elapsed());
        progress.end();
        if let Some((small, path)) = small {
            let count = small.written();
            if small.finish()?.is_some() && !self.run.json {
                note(&format!("{}: {count} small images", path.display()));
            }
        }
        let path = output.finish()?;
        self.report(&gpu, path.is_some(), &done)?;
        Ok(if interrupted { Ended::Interrupted } else { Ended::Done })
    }

    /// The noise file's values, checked against the first stage.
    fn noise(&self) -> Result<Option<Vec<f32>>> {
        let (Some(path), Some(stage)) = (&self.run.noise, self.request.stages.first()) else { return Ok(None) };
        input::noise(path, [self.request.count as usize, stage.channels, stage.size, stage.size]).map(Some)
    }

    fn options(&self, stage: &Stage) -> SessionOptions {
        let plan = PlanOptions { precision: self.request.precision, ..PlanOptions::default() };
        SessionOptions {
            batch: self.request.batch(stage) as usize,
            low_size: stage.low_size,
            plan,
            ..SessionOptions::default()
        }
    }

    /// One batch, and when its first step was done; None where it was stopped.
    async fn batch(
        &self,
        session: &mut Session,
        stage: &Stage,
        indices: Range<u32>,
        low_res: Option<Images>,
        noise: Option<Vec<f32>>,
        progress: &Progress,
    ) -> Result<Option<(Images, Instant)>> {
        let gpu = Arc::clone(session.program().gpu());
        let recipe = &stage.recipe;
        let labels = indices.clone().filter_map(|index| self.request.label(index));
        let mut run = session.sample(SampleOptions {
            count: indices.len(),
            labels: labels.filter(|_| stage.conditional).collect(),
            settings: recipe.settings(),
            first_index: indices.start,
            noise: noise.map_or(Noise::Philox, Noise::Start),
            low_res,
        })?;
        let mut first = None;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if run.step().await?.is_none() {
                break;
            }
            if first.is_none() {
                // A step is only submitted so far; its time is known once the device has done it.
                gpu.finish().await?;
                first = Some(Instant::now());
            }
            progress.step();
        }
        let images = run.finish().await?;
        Ok(Some((images, first.unwrap_or_else(Instant::now))))
    }

    fn report(&self, gpu: &Gpu, exists: bool, done: &Done) -> Result<()> {
        let (request, adapter) = (&self.request, &gpu.summary().name);
        let Done { written, first_step, .. } = *done;
        let (wanted, seconds) = (request.indices.len(), done.sampling.as_secs_f64());
        let rate = written as f64 / seconds.max(1e-9);
        let out = self.run.out.display().to_string();
        if self.run.json {
            let mut object = request.parameters();
            object["output"] = if exists { json!(out) } else { json!(null) };
            object["adapter"] = json!(adapter);
            object["first"] = json!(request.indices.start);
            object["images"] = json!(written);
            object["wanted"] = json!(wanted);
            object["batch"] = json!(request.stages.first().map(|stage| request.batch(stage)));
            object["seconds"] = json!(seconds);
            object["images_per_second"] = json!(rate);
            object["first_step_seconds"] = json!(first_step.map(|t| t.as_secs_f64()));
            object["interrupted"] = json!(written < wanted);
            if let Some(path) = self.small_out {
                object["small_output"] = json!(path.display().to_string());
            }
            return print_json(&object);
        }
        if written < wanted {
            note(&format!("stopped: {written} of {wanted} images are finished"));
        }
        if !exists {
            return Ok(());
        }
        let first = first_step.map_or_else(String::new, |t| format!("; first step after {:.1} s", t.as_secs_f64()));
        let plural = if written == 1 { "" } else { "s" };
        print(&format!("{out}: {written} image{plural} in {seconds:.1} s ({rate:.2} per second) on {adapter}{first}\n"))
    }
}

/// Each stage's model and classifier.
fn pairs<'a>(
    first: &'a Opened,
    classifier: Option<&'a Opened>,
    upsampler: Option<&'a Opened>,
) -> impl Iterator<Item = (&'a Opened, Option<&'a Opened>)> {
    [Some((first, classifier)), upsampler.map(|upsampler| (upsampler, None))].into_iter().flatten()
}

fn layout(request: &Request, stage: &Stage) -> Layout {
    Layout {
        count: request.indices.len(),
        height: stage.size,
        width: stage.size,
        channels: stage.channels,
        grid: request.grid(),
        texts: request.texts(),
    }
}

/// The noise file's values for images `indices`; its first row is the whole run's first image.
fn rows(all: &[f32], request: &Request, indices: Range<u32>) -> Vec<f32> {
    let size = all.len() / request.count.max(1) as usize;
    let at = |index: u32| (index - request.first) as usize * size;
    all.get(at(indices.start)..at(indices.end)).unwrap_or(&[]).to_vec()
}
