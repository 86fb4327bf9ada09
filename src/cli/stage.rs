//! One model's part of a run: how it steps, with what noise and guidance. A stack has two.

use serde_json::{Value, json};

use super::models::Opened;
use super::request::{file_name, small};
use super::values::{Interval, Sampler};
use crate::config::presets;
use crate::sampler::respace::Respacing;
use crate::sampler::schedule::{Method, Schedule};
use crate::{Error, Result};

/// Images at a time that keep a GPU busy: sixteen of 32x32, or as many pixels of another size.
const BATCH_PIXELS: usize = 16 * 32 * 32;

/// What the arguments say of a stage.
#[derive(Debug, Clone, Copy)]
pub struct Wishes<'a> {
    /// `--sampler`.
    pub sampler: Option<Sampler>,
    /// `--steps`.
    pub steps: Option<&'a str>,
    /// `--eta`.
    pub eta: Option<f64>,
    /// `--seed`.
    pub seed: u64,
    /// Clip the predicted image at each step.
    pub clip: bool,
    /// `--batch`.
    pub batch: Option<usize>,
}

/// Guidance by a classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct Guidance {
    /// The classifier as messages and files name it.
    pub classifier: String,
    /// The scale of its gradient.
    pub scale: f64,
    /// Where it guides; everywhere without one.
    pub interval: Option<Interval>,
}

/// A settled stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// The model as messages and files name it.
    pub model: String,
    /// The built-in model, which a command does not name.
    pub built_in: bool,
    /// How to step.
    pub method: Method,
    /// Which steps.
    pub respacing: Respacing,
    /// How many those are.
    pub steps: usize,
    /// Seed of its noise.
    pub seed: u64,
    /// Clip the predicted image at each step.
    pub clip: bool,
    /// Images at a time, at most.
    pub batch: u32,
    /// Guidance, where there is a classifier.
    pub guidance: Option<Guidance>,
    /// Classes decide its images.
    pub conditional: bool,
    /// Height and width of its images.
    pub size: usize,
    /// Values a pixel of its images.
    pub channels: usize,
    /// An upsampler's input size, or 0.
    pub low_size: usize,
}

impl Stage {
    /// Settles a stage of `model`.
    ///
    /// # Errors
    /// [`Error::Options`] for what this model cannot do.
    pub fn new(model: &Opened, wishes: Wishes<'_>) -> Result<Self> {
        let config = model.config();
        let (sampler, respacing) =
            Sampler::resolve(wishes.sampler, wishes.steps, model.built_in, config.diffusion.diffusion_steps)?;
        let method = match (sampler, wishes.eta) {
            (Sampler::Ddim, eta) => Method::Ddim { eta: eta.unwrap_or(0.0) },
            (Sampler::Ancestral, None) => Method::Ancestral,
            (Sampler::Ancestral, Some(_)) => {
                return Err(Error::Options("--eta belongs to the DDIM sampler; add --sampler ddim".into()));
            }
        };
        let schedule = Schedule::new(&config.diffusion, &respacing)?;
        // Refuses an impossible eta here, before anything is opened.
        schedule.steps(method, wishes.clip)?;
        let size = config.unet.image_size.max(1);
        let usual = (BATCH_PIXELS / size.saturating_mul(size)).clamp(1, 16) as u32;
        let batch = match wishes.batch {
            None => usual,
            Some(n) => small(n, "a batch").and_then(|n| match n {
                1..=4096 => Ok(n),
                _ => Err(Error::Options(format!("a batch of {n} images; give 1 to 4096"))),
            })?,
        };
        let name = model.checkpoint.name();
        Ok(Self {
            model: if model.built_in { name.into() } else { file_name(name.as_ref()) },
            built_in: model.built_in,
            method,
            steps: schedule.len(),
            respacing,
            seed: wishes.seed,
            clip: wishes.clip,
            batch,
            guidance: None,
            conditional: config.classes() > 0,
            size: config.unet.image_size,
            channels: config.image_channels(),
            low_size: 0,
        })
    }

    /// Guides the stage of `model` by `classifier`; without a scale by the published one of a public file.
    ///
    /// # Errors
    /// [`Error::Options`] for a scale or an interval that is none.
    pub fn guide(
        &mut self,
        model: &Opened,
        classifier: &Opened,
        scale: Option<f64>,
        interval: Option<Interval>,
    ) -> Result<()> {
        let ddim = matches!(self.method, Method::Ddim { .. });
        let published = || model.found.public.and_then(|file| presets::guidance_scale(file.name, ddim, self.steps));
        let scale = scale.or_else(published).unwrap_or(1.0);
        if !(scale as f32).is_finite() {
            return Err(Error::Options(format!("a guidance scale of {scale}; give a number such as 1.0")));
        }
        let last = model.config().diffusion.diffusion_steps.saturating_sub(1);
        if let Some(interval) = interval.filter(|interval| interval.low as usize > last) {
            return Err(Error::Options(format!(
                "a guidance interval of {interval}: this model's timesteps are 0 to {last}"
            )));
        }
        self.guidance =
            Some(Guidance { classifier: file_name(classifier.checkpoint.name().as_ref()), scale, interval });
        self.conditional = true;
        Ok(())
    }

    /// Its parameters, as files and reports hold them.
    pub fn parameters(&self) -> Value {
        let mut out = json!({
            "model": self.model,
            "sampler": match self.method { Method::Ancestral => "ancestral", Method::Ddim { .. } => "ddim" },
            "steps": self.respacing.to_string(),
            "seed": self.seed,
            "clip_denoised": self.clip,
        });
        if let Method::Ddim { eta } = self.method {
            out["eta"] = json!(eta);
        }
        if let Some(guidance) = &self.guidance {
            out["classifier"] = json!(guidance.classifier);
            out["guidance"] = json!(guidance.scale);
            if let Some(interval) = guidance.interval {
                out["guidance_interval"] = json!([interval.low, interval.high]);
            }
        }
        out
    }

    /// Its arguments, named with `prefix` ("" or "upsampler-") but for the model.
    pub fn arguments(&self, prefix: &str) -> Vec<String> {
        let mut out = Vec::new();
        let mut add = |name: &str, value: String| out.extend([format!("--{name}"), value]);
        let own = |name: &str| format!("{prefix}{name}");
        match (self.built_in, prefix.trim_end_matches('-')) {
            (true, _) => {}
            (false, "") => add("model", self.model.clone()),
            (false, stage) => add(stage, self.model.clone()),
        }
        match self.method {
            Method::Ancestral => add(&own("sampler"), "ancestral".into()),
            Method::Ddim { eta } => {
                add(&own("sampler"), "ddim".into());
                if eta != 0.0 {
                    add(&own("eta"), eta.to_string());
                }
            }
        }
        add(&own("steps"), self.respacing.to_string());
        add(&own("seed"), self.seed.to_string());
        if let Some(guidance) = &self.guidance {
            add("classifier", guidance.classifier.clone());
            add("guidance", guidance.scale.to_string());
            if let Some(interval) = guidance.interval {
                add("guidance-interval", interval.to_string());
            }
        }
        out
    }
}
