//! A settled run carried out: batches of images through one model or two, one after the other, into an output.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::args::RunArgs;
use super::console::note;
use super::device::Device;
use super::given::Pictures;
use super::input;
use super::low_res::LowRes;
use super::models::{Models, Opened};
use super::outputs::{Outputs, Places};
use super::progress::Progress;
use super::report::{Done, Report};
use super::request::Request;
use super::stage::Stage;
use super::trajectory::Trajectory;
use super::values::{Ended, file_name, given};
use crate::image::Images;
use crate::plan::PlanOptions;
use crate::recipe::GivenFile;
use crate::run::{Noise, Run, SampleOptions};
use crate::sampler::{Sampler, Settings};
use crate::session::{Session, SessionOptions};
use crate::{Error, Result};

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
}

/// A settled run with what it reads and writes.
pub(super) struct Job<'a> {
    /// What the commands share.
    pub run: &'a RunArgs,
    /// `--out`.
    pub out: &'a Path,
    /// The pictures that it starts from.
    pub pictures: Option<Pictures>,
    /// Files that it starts from, by their flags.
    pub given: Vec<(&'static str, &'a Path)>,
    /// `--small-out`.
    pub small_out: Option<&'a Path>,
    /// What it makes.
    pub request: Request,
    /// Ends it after the current step.
    pub stop: &'a AtomicBool,
}

impl<'a> Job<'a> {
    /// A job without pictures, into `--out`.
    pub fn new(run: &'a RunArgs, request: Request, stop: &'a AtomicBool) -> Self {
        Self { run, out: run.out(), pictures: None, given: Vec::new(), small_out: None, request, stop }
    }

    /// Refuses one place for several files, of which the last would replace the others.
    fn check_places(&self) -> Result<()> {
        let outputs = [
            ("--out", Some(self.out)),
            ("--small-out", self.small_out),
            ("--trajectory", self.run.trajectory.as_deref()),
        ];
        let outputs = outputs.into_iter().filter_map(|(flag, path)| Some((flag, path?)));
        let noise = self.run.noise.as_deref().map(|path| ("--noise", path));
        let mut places: Vec<(&str, PathBuf)> =
            self.given.iter().copied().chain(noise).map(|(flag, path)| (flag, place(path))).collect();
        for (flag, path) in outputs {
            let path = place(path);
            if let Some((other, _)) = places.iter().find(|(_, other)| *other == path) {
                return Err(Error::Options(format!("{other} and {flag} name the same place; give each its own")));
            }
            // A folder gets pictures only, so that files of other kinds may lie in it.
            let at_risk = |other: &Path| {
                other.parent() == Some(&path) && other.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("png"))
            };
            if let Some((other, _)) = places.iter().find(|(_, other)| at_risk(other)) {
                return Err(Error::Options(format!(
                    "{other} lies in the folder {flag}, whose pictures could replace it; give another folder"
                )));
            }
            places.push((flag, path));
        }
        Ok(())
    }

    /// Makes the images and says what was made.
    ///
    /// # Errors
    /// What does not fit, before any GPU work; later the device's errors.
    pub async fn work(mut self, models: Models, input: Option<LowRes>) -> Result<Ended> {
        self.check_places()?;
        let noise = self.noise()?;
        if let (Some(path), Some(values)) = (&self.run.noise, &noise) {
            self.request.noise =
                Some(given(&self.run.expect, "noise", path, GivenFile::new(&file_name(path), values))?);
        }
        let cautions = self
            .request
            .stages
            .iter()
            .zip(pairs(&models))
            .flat_map(|(stage, (model, _))| stage.cautions(model.config()));
        cautions.for_each(|caution| note(&format!("note: {caution}")));
        let trajectory = self.run.trajectory.as_deref();
        let places = Places { out: self.out, small_out: self.small_out, trajectory, restart: self.run.restart };
        let Some(mut outputs) = Outputs::open(&places, &self.request, &models)? else { return Ok(Ended::Done) };
        let before = outputs.out.written();
        let mut done = Done::new(before);
        let mut interrupted = false;
        if !outputs.out.is_complete() {
            if before > 0 {
                note(&format!("{before} of {} images are finished already", self.request.indices.len()));
            }
            let mut lost = None;
            loop {
                let work = Work { noise: noise.as_deref(), input: input.as_ref() };
                match self.stages(&models, &work, &mut outputs, &mut done).await {
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
        // Before the images' journal goes, without which the same command would make them and their steps again.
        let shown = match &outputs.trajectory {
            Some(trajectory) => trajectory.write(&self.request.texts())?,
            None => false,
        };
        let path = outputs.out.finish()?;
        if let Some((small, path)) = outputs.small {
            let count = small.written();
            if small.finish()?.is_some() && !self.run.json {
                note(&format!("{}: {count} small images", path.display()));
            }
        }
        if let Some(trajectory) = outputs.trajectory.filter(|_| shown) {
            let path = trajectory.remove();
            if !self.run.json {
                note(&format!("{}: the predicted images of each step", path.display()));
            }
        }
        let report = Report {
            request: &self.request,
            model: models.first.checkpoint.name(),
            out: self.out,
            small_out: self.small_out,
            done: &done,
            exists: path.is_some(),
        };
        report.print(self.run.json)?;
        Ok(if interrupted { Ended::Interrupted } else { Ended::Done })
    }

    /// Makes what is missing of every stage, one after the other, on a device that it opens.
    async fn stages(
        &self,
        models: &Models,
        work: &Work<'_>,
        outputs: &mut Outputs<'_>,
        done: &mut Done,
    ) -> Result<Ended> {
        let request = &self.request;
        let device = Device::open(&self.run.device).await?;
        let gpu = Arc::clone(&device.gpu);
        done.adapter = Some(gpu.summary().name.clone());
        // A stack that would fail at its second stage fails here.
        for (stage, (model, classifier)) in request.stages.iter().zip(pairs(models)) {
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
            let runs = if stage.inverts() { 2 } else { 1 };
            steps += (total - outputs.finished(k == last)).div_ceil(batch) * stage.steps * runs;
        }
        let mut progress = Progress::new(steps as u64, total - outputs.out.written());
        let mut interrupted = false;
        for (k, (stage, (model, classifier))) in request.stages.iter().zip(pairs(models)).enumerate() {
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
                let noise = if k == 0 { self.draws(stage, work.noise, indices.clone())? } else { None };
                let given = Batch { indices: indices.clone(), low_res: enlarged, noise };
                let kept = outputs.trajectory.as_mut().filter(|_| is_last);
                let Some(images) = self.batch(&mut session, stage, given, kept, &progress, done).await? else {
                    interrupted = true;
                    break;
                };
                if let Some(broken) = images.first_not_finite() {
                    let (image, precision) = (start + broken as u32, request.precision);
                    return Err(stage.recipe.not_finite(image, precision, &gpu.summary().name));
                }
                if is_last {
                    // Before the images, of which none may be finished without its steps.
                    outputs.trajectory.as_mut().map_or(Ok(()), Trajectory::end_batch)?;
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

    /// The noise file's values, where there is one.
    fn noise(&self) -> Result<Option<Vec<f32>>> {
        let (Some(stage), Some(path)) = (self.request.stages.first(), &self.run.noise) else { return Ok(None) };
        input::noise(path, [self.request.count as usize, stage.channels, stage.height, stage.width]).map(Some)
    }

    /// The first draws of images `indices` of the first stage, where they are given: those between two seeds, or of the noise
    /// file's values, `file`.
    fn draws(&self, stage: &Stage, file: Option<&[f32]>, indices: Range<u32>) -> Result<Option<Vec<f32>>> {
        let Some(between) = self.request.interpolate else {
            return Ok(file.map(|all| rows(all, &self.request, indices)));
        };
        let first = self.request.first;
        let images = indices.start - first..indices.end - first;
        between.noise(images, first, [stage.height, stage.width, stage.channels]).map(Some)
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

    /// One batch; None where it was stopped.
    async fn batch(
        &self,
        session: &mut Session,
        stage: &Stage,
        Batch { indices, low_res, noise }: Batch,
        mut trajectory: Option<&mut Trajectory>,
        progress: &Progress,
        done: &mut Done,
    ) -> Result<Option<Images>> {
        let recipe = &stage.recipe;
        let labels = indices.clone().filter_map(|index| self.request.label(index));
        let labels: Vec<u32> = labels.filter(|_| stage.conditional).collect();
        // Pictures are the first stage's.
        let pictures = self.pictures.as_ref().filter(|_| low_res.is_none());
        let rows = |pictures: &Pictures| pictures.rows(&recipe.settings, stage.shape(), indices.clone());
        let edit = pictures.map(rows).transpose()?;
        let (count, first_index) = (indices.len(), indices.start);
        let run = session.sample(SampleOptions {
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
        let Some(mut images) = self.steps(run, trajectory, progress, done).await? else {
            return Ok(None);
        };
        if let Some(edit) = edit {
            edit.restore(&mut images);
            if stage.inverts() {
                let noise = Noise::Start(images.to_nchw());
                let settings = Settings { sampler: Some(Sampler::ddim()), ..recipe.settings.clone() };
                let options = SampleOptions { settings, count, labels, noise, first_index, ..SampleOptions::default() };
                let Some(back) = self.steps(session.sample(options)?, None, progress, done).await? else {
                    return Ok(None);
                };
                done.errors.extend(back.distances(&edit.known));
            }
        }
        Ok(Some(images))
    }

    /// All steps of a run; None where it was stopped.
    async fn steps(
        &self,
        mut run: Run<'_>,
        mut trajectory: Option<&mut Trajectory>,
        progress: &Progress,
        done: &mut Done,
    ) -> Result<Option<Images>> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if run.step().await?.is_none() {
                return run.finish().await.map(Some);
            }
            if let Some(trajectory) = &mut trajectory {
                trajectory.push(run.preview().await?);
            }
            if done.first_step.is_none() {
                // A step is only submitted so far; its time is known once the device has done it.
                run.program().gpu().finish().await?;
                done.first_step = Some(done.started.elapsed());
            }
            progress.step();
        }
    }
}

/// Each stage's model and classifier.
fn pairs(models: &Models) -> impl Iterator<Item = (&Opened, Option<&Opened>)> {
    let upsampler = models.upsampler.as_ref().map(|upsampler| (upsampler, None));
    [Some((&models.first, models.classifier.as_ref())), upsampler].into_iter().flatten()
}

/// A path by which two names of a file are found equal.
fn place(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.into())
}

/// The noise file's values for images `indices`; its first row is the whole run's first image.
fn rows(all: &[f32], request: &Request, indices: Range<u32>) -> Vec<f32> {
    let size = all.len() / request.count.max(1) as usize;
    let at = |index: u32| (index - request.first) as usize * size;
    all.get(at(indices.start)..at(indices.end)).unwrap_or(&[]).to_vec()
}
