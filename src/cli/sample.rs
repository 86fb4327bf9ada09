//! `sample`, `upsample`, `edit` and `invert`: batches of images through one model or two, one after the other, into an output.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::args::{EditArgs, InvertArgs, RunArgs, SampleArgs, UpsampleArgs};
use super::console::{note, print, print_json};
use super::device::Device;
use super::given::{Files, Pictures};
use super::input;
use super::low_res::LowRes;
use super::models::{Models, Opened};
use super::output::{Format, Layout, Output};
use super::progress::Progress;
use super::request::Request;
use super::stage::Stage;
use super::trajectory::Trajectory;
use super::values::{Ended, file_name, given};
use crate::image::Images;
use crate::plan::PlanOptions;
use crate::recipe::GivenFile;
use crate::resize::Fit;
use crate::run::{Noise, SampleOptions};
use crate::sampler::{Sampler, Settings};
use crate::session::{Session, SessionOptions};
use crate::shader::fnv1a;
use crate::tensor::Shape;
use crate::{Error, Result};

/// Runs `sample`. `stop` ends it after the current step.
///
/// # Errors
/// [`Error::Options`] for what cannot be asked for, before any work; later the device's errors.
pub async fn sample(args: &SampleArgs, stop: &AtomicBool) -> Result<Ended> {
    let (run, small_out) = (&args.run, args.small_out.as_deref());
    let models = Models::of_sample(args)?;
    let files = |path| Files { path, name: "init", mask: None, fit: args.fit, expected: &run.expect };
    let pictures = args.init.as_deref().map(|path| Pictures::read(&files(path))).transpose()?;
    let request = Request::sample(args, &models, pictures.as_ref())?;
    Job { small_out, pictures, ..Job::new(run, request, stop) }.work(models, None).await
}

/// Runs `edit`. `stop` ends it after the current step.
///
/// # Errors
/// As [`sample`]; files that hold no pictures.
pub async fn edit(args: &EditArgs, stop: &AtomicBool) -> Result<Ended> {
    let run = &args.run;
    let models = Models::open([args.model.as_deref(), args.classifier.as_deref(), None], &run.flags)?;
    let (path, mask) = (&*args.input, args.mask.as_deref());
    let pictures = Pictures::read(&Files { path, name: "input", mask, fit: args.fit, expected: &run.expect })?;
    let mut settings = args.settings.settings.clone();
    // What is padded is made, as what a mask leaves out.
    let degradation = settings.edit.get_or_insert_default();
    degradation.mask = mask.is_some() || args.fit == Some(Fit::Pad);
    let request = Request::of_pictures(run, &settings, &models, &pictures)?;
    Job { pictures: Some(pictures), ..Job::new(run, request, stop) }.work(models, None).await
}

/// Runs `invert`. `stop` ends it after the current step.
///
/// # Errors
/// As [`edit`].
pub async fn invert(args: &InvertArgs, stop: &AtomicBool) -> Result<Ended> {
    const NOISE: &str = "noise.npy";
    let run = &args.run;
    let out = run.out.as_deref().unwrap_or(Path::new(NOISE));
    if Format::of(out)? != Format::Npy {
        return Err(Error::Options(format!("{}: noise is no picture; give --out a .npy file", out.display())));
    }
    if run.noise.is_some() {
        return Err(Error::Options("--noise: an inversion begins with the picture; leave it out".into()));
    }
    let models = Models::open([args.model.as_deref(), None, None], &run.flags)?;
    let pictures =
        Pictures::read(&Files { path: &args.input, name: "input", mask: None, fit: args.fit, expected: &run.expect })?;
    let settings = Settings { sampler: Some(Sampler::invert()), ..args.settings.settings.clone() };
    let request = Request::of_pictures(run, &settings, &models, &pictures)?;
    Job { out, pictures: Some(pictures), ..Job::new(run, request, stop) }.work(models, None).await
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
    let wanted = args.fit.map(|fit| (models.first.usual_low_size(args.run.flags.small_size), fit));
    let labeled = input::images_in(path, wanted)?;
    let request = Request::upsample(args, &models, &labeled)?;
    Job::new(&args.run, request, stop).work(models, Some(LowRes::Input(labeled.images))).await
}

/// What one batch starts from.
struct Batch {
    indices: Range<u32>,
    low_res: Option<Images>,
    noise: Option<Vec<f32>>,
}

/// What a run starts from.
struct Work<'a> {
    noise: Option<&'a [f32]>,
    input: Option<&'a LowRes>,
    started: Instant,
}

/// A settled run with what it writes to.
struct Job<'a> {
    run: &'a RunArgs,
    out: &'a Path,
    pictures: Option<Pictures>,
    small_out: Option<&'a Path>,
    request: Request,
    stop: &'a AtomicBool,
}

/// What this process did of a run.
#[derive(Debug, Default)]
struct Done {
    /// Images that an earlier process had finished.
    before: usize,
    /// Finished images, those included.
    written: usize,
    sampling: Duration,
    first_step: Option<Duration>,
    adapter: Option<String>,
    /// Of an inversion, per image: how far the picture that comes back is from the given one, in levels of 255: on average and
    /// at most.
    errors: Vec<[f64; 2]>,
}

/// What a run writes to.
struct Outputs<'a> {
    out: Output,
    /// The first stage's images, if they are wanted too.
    small: Option<(Output, &'a Path)>,
}

impl Outputs<'_> {
    /// Images of a stage that need not be made any more.
    fn finished(&mut self, is_last: bool) -> usize {
        match self.out.low() {
            Some(low) if !is_last => {
                let kept = low.finished(0);
                self.small.as_ref().map_or(kept, |(small, _)| kept.min(small.written()))
            }
            _ => self.out.written(),
        }
    }

    /// Drops a stage's images from number `count` on.
    fn keep(&mut self, is_last: bool, count: usize) -> Result<()> {
        match self.out.low() {
            Some(low) if !is_last => {
                low.keep(0, count)?;
                self.small.as_mut().map_or(Ok(()), |(small, _)| small.keep(count))
            }
            _ => self.out.keep(count),
        }
    }
}

impl<'a> Job<'a> {
    fn new(run: &'a RunArgs, request: Request, stop: &'a AtomicBool) -> Self {
        Self { run, out: run.out(), pictures: None, small_out: None, request, stop }
    }

    /// Refuses one place for several outputs, of which the last would replace the others.
    fn check_places(&self) -> Result<()> {
        let places = [
            ("--out", Some(self.out)),
            ("--small-out", self.small_out),
            ("--trajectory", self.run.trajectory.as_deref()),
        ];
        let places =
            places.map(|(flag, path)| path.map(|path| (flag, std::path::absolute(path).unwrap_or(path.into()))));
        let places: Vec<_> = places.into_iter().flatten().collect();
        for (k, (flag, path)) in places.iter().enumerate() {
            if let Some((other, _)) = places[..k].iter().find(|(_, earlier)| earlier == path) {
                return Err(Error::Options(format!("{other} and {flag} name the same place; give each its own")));
            }
        }
        Ok(())
    }

    async fn work(mut self, models: Models, input: Option<LowRes>) -> Result<Ended> {
        self.check_places()?;
        let noise = self.noise()?;
        if let (Some(path), Some(values)) = (&self.run.noise, &noise) {
            self.request.noise =
                Some(given(&self.run.expect, "noise", path, GivenFile::new(&file_name(path), values))?);
        }
        // Pictures that do not fit are refused before any GPU work.
        if let (Some(pictures), Some(stage)) = (&self.pictures, self.request.stages.first()) {
            pictures.check(&stage.recipe.settings, stage.shape())?;
        }
        let mut trajectory = self.trajectory()?;
        let Some(mut outputs) = self.open(&models)? else { return Ok(Ended::Done) };
        let before = outputs.out.written();
        let mut done = Done { before, ..Done::default() };
        let started = Instant::now();
        let mut interrupted = false;
        if !outputs.out.is_complete() {
            if before > 0 && trajectory.is_some() {
                return Err(Error::Options(format!(
                    "{before} images are finished already, and their steps were not kept; --restart makes them again, or leave \
                     --trajectory out"
                )));
            }
            if before > 0 {
                note(&format!("{before} of {} images are finished already", self.request.indices.len()));
            }
            let mut lost = None;
            loop {
                let work = Work { noise: noise.as_deref(), input: input.as_ref(), started };
                match self.stages(&models, &work, &mut outputs, &mut trajectory, &mut done).await {
                    // What is finished is on disk, so that a new device can continue. A second loss has a lasting cause.
                    Err(Error::DeviceLost(reason)) if lost.is_none() => {
                        note(&format!("note: the GPU device was lost ({reason}); opening it again"));
                        lost = Some(reason);
                    }
                    ended => {
                        interrupted = ended? == Ended::Interrupted;
                        break;
                    }
                }
            }
        }
        done.written = outputs.out.written();
        let path = outputs.out.finish()?;
        if let Some((small, path)) = outputs.small {
            let count = small.written();
            if small.finish()?.is_some() && !self.run.json {
                note(&format!("{}: {count} small images", path.display()));
            }
        }
        if let Some(trajectory) = trajectory
            && let Some(path) = trajectory.finish(&self.request.texts())?
            && !self.run.json
        {
            note(&format!("{}: the predicted images of each step", path.display()));
        }
        self.report(path.is_some(), &done)?;
        Ok(if interrupted { Ended::Interrupted } else { Ended::Done })
    }

    fn trajectory(&self) -> Result<Option<Trajectory>> {
        let (Some(path), Some(stage)) = (&self.run.trajectory, self.request.stages.last()) else { return Ok(None) };
        let Shape { h, w, c, .. } = stage.shape();
        Trajectory::new(path, self.request.grid(), self.request.indices.len(), stage.steps, [h, w, c]).map(Some)
    }

    /// Opens what the run writes to; None for a run without stages.
    fn open(&self, models: &Models) -> Result<Option<Outputs<'_>>> {
        let request = &self.request;
        let (Some(first), Some(last)) = (request.stages.first(), request.stages.last()) else { return Ok(None) };
        let run = Self::identity(request, models)?;
        let is_stack = request.stages.len() > 1;
        let low_bytes = if is_stack { first.height * first.width * first.channels } else { 0 };
        let whole = Layout { low_bytes, ..layout(request, last, run) };
        let restart = self.run.restart;
        let out = Output::open(self.out, whole, restart, |index| request.record(index))?;
        let small = match self.small_out {
            None => None,
            Some(path) => {
                let request = request.first_stage();
                let part = layout(&request, first, Self::identity(&request, models)?);
                Some((Output::open(path, part, restart, |index| request.record(index))?, path))
            }
        };
        Ok(Some(Outputs { out, small }))
    }

    /// What makes the images: all that decides them but the device, whose sums may differ in their last digits.
    fn identity(request: &Request, models: &Models) -> Result<Value> {
        let hash = |bytes: Vec<u8>| format!("{:016x}", fnv1a([bytes.as_slice()]));
        let mut run = json!({
            "recipe": request.parameters(),
            "first": request.first,
            "count": request.count,
            "start": request.indices.start,
            "end": request.indices.end,
            "weights": models.all().map(Opened::fingerprint).collect::<Result<Vec<_>>>()?,
        });
        if !request.labels.is_empty() {
            run["classes"] = json!(hash(request.labels.iter().flat_map(|label| label.to_le_bytes()).collect()));
        }
        Ok(run)
    }

    /// Makes what is missing of every stage, one after the other, on a device that it opens.
    async fn stages(
        &self,
        models: &Models,
        work: &Work<'_>,
        outputs: &mut Outputs<'_>,
        trajectory: &mut Option<Trajectory>,
        done: &mut Done,
    ) -> Result<Ended> {
        let request = &self.request;
        let device = Device::open(&self.run.device).await?;
        let gpu = Arc::clone(&device.gpu);
        done.adapter = Some(gpu.summary().name.clone());
        let pairs = || pairs(&models.first, models.classifier.as_ref(), models.upsampler.as_ref());
        // A stack that would fail at its second stage fails here.
        for (stage, (model, classifier)) in request.stages.iter().zip(pairs()) {
            Session::plan(gpu.caps(), model.config(), classifier.map(Opened::config), &self.options(stage))?;
        }

        let total = request.indices.len();
        let last = request.stages.len() - 1;
        let mut steps = 0;
        for (k, stage) in request.stages.iter().enumerate() {
            // Only whole batches count, so that an image's batch is the same whenever a run was killed.
            let batch = request.batch(stage) as usize;
            let finished = outputs.finished(k == last);
            outputs.keep(k == last, if finished == total { total } else { finished / batch * batch })?;
            // An inversion is sampled back, to measure its error.
            let runs = if inverts(stage) { 2 } else { 1 };
            steps += (total - outputs.finished(k == last)).div_ceil(batch) * stage.steps * runs;
        }
        let mut progress = Progress::new(steps as u64, total - outputs.out.written());
        let mut interrupted = false;
        for (k, (stage, (model, classifier))) in request.stages.iter().zip(pairs()).enumerate() {
            let is_last = k == last;
            let finished = outputs.finished(is_last);
            if finished == total {
                continue;
            }
            progress.stage(k + 1, request.stages.len());
            let batch = request.batch(stage);
            let (config, of_classifier) = (model.config(), classifier.map(Opened::config));
            let mut options = self.options(stage);
            let evaluations = (total - finished).div_ceil(batch as usize) * stage.evaluations;
            options.tuning = device.tuning(config, of_classifier, &options, evaluations).await?;
            let mut session =
                Session::load_guided(&gpu, model.source(), classifier.map(Opened::source), &options).await?;
            device.remember_pipelines();
            session.warnings().iter().for_each(|warning| note(warning));
            let made = match (k, outputs.out.low()) {
                (0, _) | (_, None) => None,
                (_, Some(low)) => Some(LowRes::made(&request.stages[k - 1], request.indices.start, low.pixels(0)?)),
            };
            let low = made.as_ref().or(work.input);
            for start in (request.indices.start + finished as u32..request.indices.end).step_by(batch as usize) {
                let indices = start..request.indices.end.min(start.saturating_add(batch));
                let enlarged = low.map(|low| low.rows(indices.clone())).transpose()?;
                let rows = work.noise.filter(|_| k == 0).map(|all| rows(all, request, indices.clone()));
                let given = Batch { indices: indices.clone(), low_res: enlarged, noise: rows };
                let kept = trajectory.as_mut().filter(|_| is_last);
                let Some((images, first)) = self.batch(&mut session, stage, given, kept, &progress, done).await? else {
                    interrupted = true;
                    break;
                };
                done.first_step.get_or_insert(first.duration_since(work.started));
                if let Some(broken) = images.first_not_finite() {
                    let (image, precision) = (start + broken as u32, request.precision);
                    return Err(stage.recipe.not_finite(image, precision, &gpu.summary().name));
                }
                if is_last {
                    let records: Vec<_> = indices.map(|index| request.record(index)).collect();
                    outputs.out.push(&images, &records)?;
                    progress.finished(images.count());
                } else {
                    if let Some((small, _)) = &mut outputs.small {
                        let request = request.first_stage();
                        let records: Vec<_> = indices.map(|index| request.record(index)).collect();
                        small.push(&images, &records)?;
                    }
                    if let Some(low) = outputs.out.low() {
                        low.push(0, images.count(), &images.to_u8())?;
                    }
                }
            }
            if interrupted {
                break;
            }
            // Its memory is free before the next stage takes its own.
            drop(session);
            gpu.finish().await?;
        }
        done.sampling += progress.elapsed();
        progress.end();
        Ok(if interrupted { Ended::Interrupted } else { Ended::Done })
    }

    /// The first draws of all images of the first stage, where they are given: the noise file's, or those between two seeds.
    fn noise(&self) -> Result<Option<Vec<f32>>> {
        let Some(stage) = self.request.stages.first() else { return Ok(None) };
        if let Some(between) = self.request.interpolate {
            return between.noise(self.request.first, stage.height, stage.width, stage.channels).map(Some);
        }
        let Some(path) = &self.run.noise else { return Ok(None) };
        input::noise(path, [self.request.count as usize, stage.channels, stage.height, stage.width]).map(Some)
    }

    fn options(&self, stage: &Stage) -> SessionOptions {
        let plan = PlanOptions { precision: self.request.precision, ..PlanOptions::default() };
        SessionOptions {
            batch: self.request.batch(stage) as usize,
            low_size: stage.low_size,
            size: Some([stage.height, stage.width]),
            plan,
            ..SessionOptions::default()
        }
    }

    /// One batch, and when its first step was done; None where it was stopped.
    async fn batch(
        &self,
        session: &mut Session,
        stage: &Stage,
        Batch { indices, low_res, noise }: Batch,
        mut trajectory: Option<&mut Trajectory>,
        progress: &Progress,
        done: &mut Done,
    ) -> Result<Option<(Images, Instant)>> {
        let gpu = Arc::clone(session.program().gpu());
        let recipe = &stage.recipe;
        let labels = indices.clone().filter_map(|index| self.request.label(index));
        let labels: Vec<u32> = labels.filter(|_| stage.conditional).collect();
        // Pictures are the first stage's.
        let pictures = self.pictures.as_ref().filter(|_| low_res.is_none());
        let rows = |pictures: &Pictures| pictures.rows(&recipe.settings, stage.shape(), indices.clone());
        let edit = pictures.map(rows).transpose()?;
        let (count, first_index) = (indices.len(), indices.start);
        let mut run = session.sample(SampleOptions {
            count,
            labels: labels.clone(),
            settings: recipe.settings.clone(),
            first_index,
            noise: noise.map_or(Noise::Philox, Noise::Start),
            low_res,
            edit: edit.clone(),
        })?;
        if let Some(trajectory) = &mut trajectory {
            trajectory.begin_batch();
        }
        let mut first = None;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if run.step().await?.is_none() {
                break;
            }
            if let Some(trajectory) = &mut trajectory {
                trajectory.push(run.preview().await?);
            }
            if first.is_none() {
                // A step is only submitted so far; its time is known once the device has done it.
                gpu.finish().await?;
                first = Some(Instant::now());
            }
            progress.step();
        }
        let mut images = run.finish().await?;
        if let Some(edit) = edit {
            edit.restore(&mut images);
            if inverts(stage) {
                let noise = Noise::Start(images.to_nchw());
                let settings = Settings { sampler: Some(Sampler::ddim()), ..recipe.settings.clone() };
                let options = SampleOptions { settings, count, labels, noise, first_index, ..SampleOptions::default() };
                let mut back = session.sample(options)?;
                loop {
                    if self.stop.load(Ordering::Relaxed) {
                        return Ok(None);
                    }
                    if back.step().await?.is_none() {
                        break;
                    }
                    progress.step();
                }
                done.errors.extend(back.finish().await?.distances(&edit.known));
            }
        }
        trajectory.map_or(Ok(()), Trajectory::end_batch)?;
        Ok(Some((images, first.unwrap_or_else(Instant::now))))
    }

    fn report(&self, exists: bool, done: &Done) -> Result<()> {
        let request = &self.request;
        let Done { before, written, first_step, .. } = *done;
        let (wanted, seconds) = (request.indices.len(), done.sampling.as_secs_f64());
        let made = written.saturating_sub(before);
        let rate = made as f64 / seconds.max(1e-9);
        let out = self.out.display().to_string();
        // Of the images that this process made.
        let errors = (!done.errors.is_empty()).then(|| {
            let mean = done.errors.iter().map(|[mean, _]| mean).sum::<f64>() / done.errors.len() as f64;
            (mean, done.errors.iter().map(|[_, most]| *most).fold(0.0, f64::max))
        });
        if self.run.json {
            let mut object = request.parameters();
            object["output"] = if exists { json!(out) } else { json!(null) };
            object["adapter"] = json!(done.adapter);
            object["first"] = json!(request.indices.start);
            object["images"] = json!(written);
            object["finished_before"] = json!(before);
            object["wanted"] = json!(wanted);
            object["batch"] = json!(request.stages.first().map(|stage| request.batch(stage)));
            object["seconds"] = json!(seconds);
            object["images_per_second"] = json!(rate);
            object["first_step_seconds"] = json!(first_step.map(|t| t.as_secs_f64()));
            object["interrupted"] = json!(written < wanted);
            if let Some((mean, most)) = errors {
                object["error_levels"] = json!({ "mean": mean, "max": most });
            }
            // Evaluations of the network per image.
            for (k, stage) in request.stages.iter().enumerate() {
                let part = if k == 0 { &mut object } else { &mut object["upsampler"] };
                part["evaluations"] = json!(stage.evaluations);
            }
            if let Some(path) = self.small_out {
                object["small_output"] = json!(path.display().to_string());
            }
            return print_json(&object);
        }
        if written < wanted {
            note(&format!(
                "stopped: {written} of {wanted} images are finished; the same command continues with the others"
            ));
        }
        if !exists {
            return Ok(());
        }
        let first = first_step.map_or_else(String::new, |t| format!("; first step after {:.1} s", t.as_secs_f64()));
        let plural = if written == 1 { "" } else { "s" };
        let on = done.adapter.as_ref().map_or_else(String::new, |name| format!(" on {name}"));
        let made = if before > 0 { format!(", {made} of them") } else { String::new() };
        if let Some((mean, most)) = errors {
            note(&format!(
                "sampled from it by ddim with as many steps, the pictures come back with an error of {mean:.2} of 255 levels on \
                 average, {most:.0} at most"
            ));
        }
        print(&format!("{out}: {written} image{plural}{made} in {seconds:.1} s ({rate:.2} per second){on}{first}\n"))
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

fn inverts(stage: &Stage) -> bool {
    stage.recipe.settings.sampler == Some(Sampler::invert())
}

fn layout(request: &Request, stage: &Stage, run: Value) -> Layout {
    let indices = request.indices.clone();
    Layout {
        height: stage.height,
        width: stage.width,
        channels: stage.channels,
        grid: request.grid(),
        // A single image carries its own parameters, a grid those of the run.
        texts: if indices.len() == 1 { request.record(indices.start).texts } else { request.texts() },
        labels: indices.clone().filter_map(|index| request.label(index)).collect(),
        indices,
        run,
        low_bytes: 0,
    }
}

/// The noise file's values for images `indices`; its first row is the whole run's first image.
fn rows(all: &[f32], request: &Request, indices: Range<u32>) -> Vec<f32> {
    let size = all.len() / request.count.max(1) as usize;
    let at = |index: u32| (index - request.first) as usize * size;
    all.get(at(indices.start)..at(indices.end)).unwrap_or(&[]).to_vec()
}
