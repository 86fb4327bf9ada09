//! What a run writes to: its images and, of a stack, the small ones; and what distinguishes one run from another where it is continued.

use std::path::Path;

use serde_json::{Value, json};

use super::models::{Models, Opened};
use super::output::{Layout, Output};
use super::request::Request;
use super::stage::Stage;
use super::trajectory::Trajectory;
use crate::config::ModelConfig;
use crate::shader::fnv1a;
use crate::{Error, Result};

/// Where a run's images go.
pub(super) struct Places<'a> {
    /// `--out`.
    pub out: &'a Path,
    /// `--small-out`.
    pub small_out: Option<&'a Path>,
    /// `--trajectory`.
    pub trajectory: Option<&'a Path>,
    /// `--restart`.
    pub restart: bool,
}

/// What a run writes to.
pub(super) struct Outputs<'a> {
    /// Of the run's last stage.
    pub out: Output,
    /// The first stage's images, if they are wanted too.
    pub small: Option<(Output, &'a Path)>,
    /// The steps of the last stage's images, if they are wanted too: of no fewer images than are finished.
    pub trajectory: Option<Trajectory>,
}

impl<'a> Outputs<'a> {
    /// Opens what the run writes to; None for a run without stages.
    ///
    /// # Errors
    /// A place that belongs to another run, or cannot be written.
    pub fn open(places: &Places<'a>, request: &Request, models: &Models) -> Result<Option<Self>> {
        let Places { out, small_out, trajectory, restart } = *places;
        let (Some(first), Some(last)) = (request.stages.first(), request.stages.last()) else { return Ok(None) };
        let run = identity(request, models)?;
        let trajectory = trajectory.map(|path| Trajectory::open(path, request, last, &run, restart)).transpose()?;
        let is_stack = request.stages.len() > 1;
        let low_bytes = if is_stack { first.height * first.width * first.channels } else { 0 };
        let whole = Layout { low_bytes, ..layout(request, last, run) };
        let out = Output::open(out, whole, restart, |index| request.record(index))?;
        let small = match small_out {
            None => None,
            Some(path) => {
                let request = request.first_stage();
                let part = layout(&request, first, identity(&request, models)?);
                Some((Output::open(path, part, restart, |index| request.record(index))?, path))
            }
        };
        let before = out.written();
        if trajectory.as_ref().is_some_and(|trajectory| trajectory.written() < before) {
            return Err(Error::Options(format!(
                "{before} images are finished already, and their steps were not kept; --restart makes them again, or leave \
                 --trajectory out"
            )));
        }
        Ok(Some(Self { out, small, trajectory }))
    }

    /// Images of a stage that need not be made any more.
    pub fn finished(&mut self, is_last: bool) -> usize {
        match self.out.low() {
            Some(low) if !is_last => {
                let kept = low.finished(0);
                self.small.as_ref().map_or(kept, |(small, _)| kept.min(small.written()))
            }
            _ => self.out.written(),
        }
    }

    /// Drops a stage's images from number `count` on.
    pub fn keep(&mut self, is_last: bool, count: usize) -> Result<()> {
        match self.out.low() {
            Some(low) if !is_last => {
                low.keep(0, count)?;
                self.small.as_mut().map_or(Ok(()), |(small, _)| small.keep(count))
            }
            _ => {
                self.out.keep(count)?;
                self.trajectory.as_mut().map_or(Ok(()), |trajectory| trajectory.keep(count))
            }
        }
    }
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
        "model": Value::Object(models.all().map(configuration).collect()),
        "weights": models.all().map(Opened::fingerprint).collect::<Result<Vec<_>>>()?,
    });
    if !request.labels.is_empty() {
        run["classes"] = json!(hash(request.labels.iter().flat_map(|label| label.to_le_bytes()).collect()));
    }
    Ok(run)
}

/// What a model's images depend on besides its weights, under its role; flags may have decided it.
fn configuration(model: &Opened) -> (String, Value) {
    let ModelConfig { role, unet, diffusion, null_class, .. } = model.config();
    (role.as_str().into(), json!({ "network": unet, "process": diffusion, "null_class": null_class }))
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
        labels: request.labels.clone(),
        indices,
        run,
        low_bytes: 0,
    }
}
