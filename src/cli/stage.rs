//! One model's part of a run: how it steps, with what noise and guidance. A stack has two.

use super::models::Opened;
use super::values::{Interval, Sampler, file_name, index};
use crate::config::presets;
use crate::recipe::{Guidance, StageRecipe};
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

/// A settled stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// What it does.
    pub recipe: StageRecipe,
    /// How many steps that takes.
    pub steps: usize,
    /// Images at a time, at most.
    pub batch: u32,
    /// Classes decide its images.
    pub conditional: bool,
    /// Height and width of its images.
    pub size: usize,
    /// Values per pixel of its images.
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
            Some(n) => index(n, "a batch").and_then(|n| match n {
                1..=4096 => Ok(n),
                _ => Err(Error::Options(format!("a batch of {n} images; give 1 to 4096"))),
            })?,
        };
        let name = model.checkpoint.name();
        Ok(Self {
            recipe: StageRecipe {
                model: if model.built_in { name.into() } else { file_name(name.as_ref()) },
                built_in: model.built_in,
                method,
                respacing,
                seed: wishes.seed,
                clip: wishes.clip,
                guidance: None,
            },
            steps: schedule.len(),
            batch,
            conditional: config.classes() > 0,
            size: config.unet.image_size,
            channels: config.image_channels(),
            low_size: 0,
        })
    }

    /// Guides the stage of `model` by `classifier`; without a scale by the published one of a public file.
    ///
    /// # Errors
    /// [`Error::Options`] for an impossible scale or interval.
    pub fn guide(
        &mut self,
        model: &Opened,
        classifier: &Opened,
        scale: Option<f64>,
        interval: Option<Interval>,
    ) -> Result<()> {
        let ddim = matches!(self.recipe.method, Method::Ddim { .. });
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
        let (classifier, interval) =
            (file_name(classifier.checkpoint.name().as_ref()), interval.map(|i| i.low..=i.high));
        self.recipe.guidance = Some(Guidance { classifier, scale, interval });
        self.conditional = true;
        Ok(())
    }
}
