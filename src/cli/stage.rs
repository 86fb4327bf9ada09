//! One model's part of a run: how it samples, with what batch and guidance. A stack has two.

use super::models::Opened;
use super::values::{file_name, index};
use crate::config::{ModelConfig, ProcessKind};
use crate::recipe::StageRecipe;
use crate::sampler::{Facts, Respacing, Sampler, Settings};
use crate::tensor::Shape;
use crate::{Error, Result};

/// Images at a time that keep a GPU busy: sixteen of 32x32, or as many pixels of another size.
const BATCH_PIXELS: usize = 16 * 32 * 32;

/// A settled stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// What it does.
    pub recipe: StageRecipe,
    /// Steps of a batch that evaluate the network.
    pub steps: usize,
    /// Evaluations of its network per image.
    pub evaluations: usize,
    /// Images at a time, at most.
    pub batch: u32,
    /// Classes decide its images.
    pub conditional: bool,
    /// Height of its images.
    pub height: usize,
    /// Width of its images.
    pub width: usize,
    /// Values per pixel of its images.
    pub channels: usize,
    /// An upsampler's input size, or 0.
    pub low_size: usize,
}

/// Images at a time where none are asked for.
pub fn usual_batch(size: [usize; 2]) -> u32 {
    (BATCH_PIXELS / size.into_iter().fold(1, usize::saturating_mul).max(1)).clamp(1, 16) as u32
}

impl Stage {
    /// Settles a stage of `model`, guided by `classifier`, `batch` images at a time or as many as keep a GPU busy.
    ///
    /// # Errors
    /// [`Error::Options`] for what this model cannot do.
    pub fn new(model: &Opened, classifier: Option<&Opened>, settings: &Settings, batch: Option<usize>) -> Result<Self> {
        let config = model.config();
        let public = model.found.public.map(|file| file.name);
        let facts = Facts { config, guided: classifier.is_some(), public };
        let settings = settings.resolve(&facts)?;
        let [width, height] = settings.size.unwrap_or([config.unet.image_size; 2]);
        let usual = usual_batch([width, height]);
        let batch = match batch {
            None => usual,
            Some(n) => index(n, "a batch").and_then(|n| match n {
                1..=4096 => Ok(n),
                _ => Err(Error::Options(format!("a batch of {n} images; give 1 to 4096"))),
            })?,
        };
        let process = settings.process(config)?;
        let mut rows = settings.table(&process, settings.edit.is_some())?;
        let freely = classifier.is_none() && config.null_class.is_some();
        settings.guide(&mut rows, process.time_scale(), freely);
        let name = model.checkpoint.name();
        let steps = rows.iter().filter(|row| row.calls()).count();
        // An inversion is followed by a run that brings the picture back.
        let runs = if settings.sampler == Some(Sampler::invert()) { 2 } else { 1 };
        Ok(Self {
            steps,
            evaluations: runs * rows.iter().map(|row| row.evaluations(freely)).sum::<usize>(),
            recipe: StageRecipe {
                model: if model.built_in { name.into() } else { file_name(name.as_ref()) },
                built_in: model.built_in,
                settings,
                classifier: classifier.map(|classifier| file_name(classifier.checkpoint.name().as_ref())),
            },
            batch,
            conditional: config.classes() > 0 || classifier.is_some(),
            height,
            width,
            channels: config.image_channels(),
            low_size: 0,
        })
    }

    /// What the images will suffer from, though it can be asked for.
    pub fn cautions(&self, config: &ModelConfig) -> Vec<String> {
        let mut cautions = Vec::new();
        let own = config.unet.image_size;
        if [self.width, self.height] != [own; 2] {
            cautions.push(format!("the model was trained on {own}x{own}; the further from that, the worse the images"));
        }
        let ends = (self.recipe.settings.at.as_ref().and_then(|at| at.last()), &self.recipe.settings.steps);
        if let (Some(last), Some(Respacing::Sections(levels))) = ends
            && levels.first().is_some_and(|levels| last + 1 < *levels)
        {
            cautions.push(format!("--at ends at place {last} of {}, so that the images keep noise", levels[0]));
        }
        let Some(sampler) = self.recipe.settings.sampler else { return cautions };
        let Some((least, better)) = sampler.entry().least else { return cautions };
        // Those of the process: repaint makes each several times, and a strength leaves out the first of them.
        let steps = self.recipe.settings.steps.as_ref().map_or(self.steps, Respacing::count);
        if config.diffusion.process == ProcessKind::Discrete && steps < least {
            cautions.push(format!(
                "{sampler} makes bad images in fewer than {least} steps; --sampler {better} is good with few"
            ));
        }
        cautions
    }

    /// Whether it takes pictures to noise.
    pub fn inverts(&self) -> bool {
        self.recipe.settings.sampler == Some(Sampler::invert())
    }

    /// The shape of one of its images.
    pub fn shape(&self) -> Shape {
        Shape { n: 1, h: self.height, w: self.width, c: self.channels }
    }
}
