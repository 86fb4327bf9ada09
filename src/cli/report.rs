//! What a run of images says at its end, as text or as one JSON object.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::console::{note, print, print_json};
use super::request::Request;
use super::stage::Stage;
use crate::Result;

/// What this process did of a run.
#[derive(Debug)]
pub(super) struct Done {
    /// When it began.
    pub started: Instant,
    /// Images that an earlier process had finished.
    pub before: usize,
    /// Finished images, those included.
    pub written: usize,
    /// Time for sampling.
    pub sampling: Duration,
    /// Time until the first step was done.
    pub first_step: Option<Duration>,
    /// The adapter's name.
    pub adapter: Option<String>,
    /// Of an inversion, per image: how far the picture that comes back is from the given one, in levels of 255: on average and
    /// at most.
    pub errors: Vec<[f64; 2]>,
}

impl Done {
    /// Nothing yet of a run of which `before` images are there.
    pub fn new(before: usize) -> Self {
        let (sampling, first_step, adapter) = (Duration::ZERO, None, None);
        Self { started: Instant::now(), before, written: before, sampling, first_step, adapter, errors: Vec::new() }
    }
}

/// A run at its end.
pub(super) struct Report<'a> {
    /// What was asked for.
    pub request: &'a Request,
    /// The first model's file.
    pub model: &'a str,
    /// `--out`.
    pub out: &'a Path,
    /// `--small-out`.
    pub small_out: Option<&'a Path>,
    /// What was done of it.
    pub done: &'a Done,
    /// There is something in `out`.
    pub exists: bool,
}

impl Report<'_> {
    /// Says it on standard output, and what else there is to say on standard error.
    ///
    /// # Errors
    /// Standard output that cannot be written.
    pub fn print(&self, as_json: bool) -> Result<()> {
        let &Self { request, done, exists, .. } = self;
        let Done { before, written, first_step, .. } = *done;
        let (wanted, seconds) = (request.indices.len(), done.sampling.as_secs_f64());
        let made = written.saturating_sub(before);
        let rate = made as f64 / seconds.max(1e-9);
        let out = self.out.display().to_string();
        // Of the images that this process made.
        let errors = (!done.errors.is_empty()).then(|| {
            let mean = done.errors.iter().map(|[mean, _]| mean).sum::<f64>() / done.errors.len() as f64;
            (mean, done.errors.iter().map(|[_, most]| *most).fold(0.0, f64::max), done.errors.len())
        });
        let inverts = request.stages.iter().any(Stage::inverts);
        let back = (exists && inverts).then(|| request.back(self.model, self.out));
        if as_json {
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
            if let Some((mean, most, images)) = errors {
                object["error_levels"] = json!({ "mean": mean, "max": most, "images": images });
            }
            if let Some(command) = back {
                object["sample_command"] = json!(command);
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
        match written {
            0 => note("stopped before an image was finished, so that nothing is kept"),
            _ if written < wanted => note(&format!(
                "stopped: {written} of {wanted} images are finished; the same command continues with the others"
            )),
            _ => {}
        }
        if !exists {
            return Ok(());
        }
        let first = first_step.map_or_else(String::new, |t| format!("; first step after {:.1} s", t.as_secs_f64()));
        let plural = if written == 1 { "" } else { "s" };
        let on = done.adapter.as_ref().map_or_else(String::new, |name| format!(" on {name}"));
        let made = if before > 0 { format!(", {made} of them") } else { String::new() };
        if let Some((mean, most, images)) = errors {
            let now = if images < written { format!(" {images} made now") } else { String::new() };
            note(&format!(
                "sampled from it by ddim with as many steps, the pictures{now} come back with an error of {mean:.2} of 255 levels \
                 on average, {most:.0} at most"
            ));
        }
        print(&format!("{out}: {written} image{plural}{made} in {seconds:.1} s ({rate:.2} per second){on}{first}\n"))?;
        back.map_or(Ok(()), |command| print(&format!("the pictures again: {command}\n")))
    }
}
