//! `sample`: batches of images from a model, one after the other, into an output.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::args::SampleArgs;
use super::output::{Layout, Output};
use super::progress::Progress;
use super::request::Request;
use super::{input, note, open_adapter, open_model, print, print_json};
use crate::image::Images;
use crate::plan::PlanOptions;
use crate::sampler::{Noise, SampleOptions};
use crate::session::{Session, SessionOptions};
use crate::{Error, Result};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All images are there.
    Done,
    /// Ctrl-C: the finished batches are there.
    Interrupted,
}

/// Runs the command. `stop` ends it after the current step.
///
/// # Errors
/// [`Error::Options`] for what cannot be asked for, before any work; later the device's errors.
pub async fn run(args: &SampleArgs, stop: &AtomicBool) -> Result<Outcome> {
    let (checkpoint, found) = open_model(args.model(), &args.flags)?;
    let config = &found.config;
    for remark in &found.remarks {
        note(&format!("note: {remark}"));
    }
    let request = Request::new(args, checkpoint.name(), config)?;
    let (channels, size) = (config.image_channels(), config.unet.image_size);
    let noise = match &args.noise {
        Some(path) => Some(input::noise(path, [request.count as usize, channels, size, size])?),
        None => None,
    };
    let layout = Layout {
        count: request.indices.len(),
        height: size,
        width: size,
        channels,
        grid: request.grid(),
        texts: request.texts(),
    };
    let mut output = Output::create(&args.out, layout)?;

    let started = Instant::now();
    let gpu = open_adapter(&args.device).await?;
    let plan = PlanOptions { precision: request.precision, ..PlanOptions::default() };
    let options = SessionOptions { batch: request.batch as usize, plan, ..SessionOptions::default() };
    let mut session = Session::load(&gpu, &checkpoint, config, &options).await?;
    // The file's pages are no longer needed.
    drop(checkpoint);

    let batches = request.indices.len().div_ceil(request.batch as usize);
    let mut progress = Progress::new(batches as u64 * request.steps as u64, request.indices.len());
    let mut first_step = None;
    let mut interrupted = false;
    for start in request.indices.clone().step_by(request.batch as usize) {
        let end = request.indices.end.min(start.saturating_add(request.batch));
        let rows = noise.as_deref().map(|all| rows(all, &request, start..end));
        match batch(&mut session, &request, start..end, rows, &progress, stop).await? {
            Some((images, first)) => {
                first_step.get_or_insert(first.duration_since(started));
                if let Some(broken) = images.first_not_finite() {
                    return Err(Error::SelfTest(format!(
                        "image {} holds values that are not numbers: the model or {}'s driver is broken",
                        start + broken as u32,
                        gpu.summary().name
                    )));
                }
                let records: Vec<_> = (start..end).map(|index| request.record(index)).collect();
                output.push(&images, &records)?;
                progress.finished(images.count());
            }
            None => {
                interrupted = true;
                break;
            }
        }
    }
    let (sampling, written) = (progress.elapsed(), output.written());
    progress.end();
    let path = output.finish()?;
    report(args, &request, &gpu.summary().name, path.is_some(), written, sampling, first_step)?;
    Ok(if interrupted { Outcome::Interrupted } else { Outcome::Done })
}

/// One batch, and when its first step was done; None where it was stopped.
async fn batch(
    session: &mut Session,
    request: &Request,
    indices: Range<u32>,
    noise: Option<Vec<f32>>,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<Option<(Images, Instant)>> {
    let gpu = Arc::clone(session.program().gpu());
    let mut run = session.sample(SampleOptions {
        count: indices.len(),
        labels: indices.clone().filter_map(|index| request.label(index)).collect(),
        method: request.method,
        respacing: request.respacing.clone(),
        clip_denoised: request.clip,
        seed: request.seed,
        first_index: indices.start,
        noise: noise.map_or(Noise::Philox, Noise::Start),
        ..SampleOptions::default()
    })?;
    let mut first = None;
    loop {
        if stop.load(Ordering::Relaxed) {
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

/// The noise file's values for images `indices`; its first row is the whole run's first image.
fn rows(all: &[f32], request: &Request, indices: Range<u32>) -> Vec<f32> {
    let size = all.len() / request.count.max(1) as usize;
    let at = |index: u32| (index - request.first) as usize * size;
    all.get(at(indices.start)..at(indices.end)).unwrap_or(&[]).to_vec()
}

fn report(
    args: &SampleArgs,
    request: &Request,
    adapter: &str,
    exists: bool,
    written: usize,
    sampling: Duration,
    first_step: Option<Duration>,
) -> Result<()> {
    let (wanted, seconds) = (request.indices.len(), sampling.as_secs_f64());
    let rate = written as f64 / seconds.max(1e-9);
    let out = args.out.display().to_string();
    if args.json {
        let mut object = request.parameters();
        object["output"] = if exists { json!(out) } else { json!(null) };
        object["adapter"] = json!(adapter);
        object["first"] = json!(request.indices.start);
        object["images"] = json!(written);
        object["wanted"] = json!(wanted);
        object["batch"] = json!(request.batch);
        object["seconds"] = json!(seconds);
        object["images_per_second"] = json!(rate);
        object["first_step_seconds"] = json!(first_step.map(|t| t.as_secs_f64()));
        object["interrupted"] = json!(written < wanted);
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
    print(&format!("{out}: {written} image{plural} in {seconds:.1} s ({rate:.2} a second) on {adapter}{first}\n"))
}
