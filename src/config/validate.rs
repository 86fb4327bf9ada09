//! Refuses configurations that contradict themselves or that nothing could hold, before anything trusts them:
//! they come from files and flags. Errors name the field as the public scripts do.

use super::{DiffusionConfig, MAX_STEPS, ModelConfig, NoiseSchedule, Pool, ProcessKind, Role, UNetConfig};
use crate::error::{Error, Result};
use crate::op::group_norm::GROUPS;

/// Bounds that no network of the family comes near; they keep later arithmetic far from overflow.
const MAX_SIZE: usize = 16_384;
const MAX_CHANNELS: usize = 65_536;
const MAX_CLASSES: usize = 1 << 20;
const MAX_LEVELS: usize = 12;
const MAX_BLOCKS: usize = 64;
/// Residual blocks of a whole network; the public ones have up to 42.
const MAX_RESIDUAL_BLOCKS: usize = 256;
/// Channels of an attention head: kernels are unrolled over them, and keep them in registers.
const MAX_HEAD_CHANNELS: usize = 512;
/// Keeps counts of elements within 32 bits, for the browser; float32 would take 16 GiB.
const MAX_PARAMETERS: u64 = u32::MAX as u64;

impl ModelConfig {
    /// Checks every field against the others. All other code may rely on what passes here.
    pub fn validate(&self) -> Result<()> {
        let c = &self.unet;
        network(c)?;
        process(&self.diffusion)?;
        match self.role {
            Role::Classifier => classifier(c)?,
            Role::Diffusion | Role::Upsampler => self.denoiser()?,
        }
        let (names, classes) = (self.class_names.len(), self.classes());
        if names != 0 && names != classes {
            return fail(format!("class_names holds {names} names, but the model has {classes} classes"));
        }
        self.grids.iter().try_for_each(|(steps, grid)| time_grid(*steps, grid, &self.diffusion))?;
        if let Some(class) = self.null_class.filter(|class| *class as usize >= classes || self.role == Role::Classifier)
        {
            return fail(format!("null_class is {class}, but the model is conditioned on {classes} classes, from 0"));
        }
        let size = self.unet.image_size;
        if let Some(small) =
            self.small_size.filter(|small| *small == 0 || *small >= size || !size.is_multiple_of(*small))
        {
            return fail(format!("small_size is {small}: an upsampler enlarges to {size} by a whole factor"));
        }
        if let Some(few) = &self.few_step {
            let (steps, last) = (&few.timesteps, self.diffusion.diffusion_steps.saturating_sub(1));
            let fits = steps.first().is_some_and(|t| *t as usize <= last) && steps.is_sorted_by(|a, b| a > b);
            if !fits {
                return fail(format!("few_step has timesteps that do not descend from at most {last}, or none"));
            }
        }
        self.attention_heads()?;
        let count = super::parameters::count(self);
        if count > MAX_PARAMETERS {
            return fail(format!("the network would have {count} parameters; at most {MAX_PARAMETERS} are accepted"));
        }
        Ok(())
    }

    fn denoiser(&self) -> Result<()> {
        let c = &self.unet;
        if c.pool.is_some() {
            return fail(format!("pool is for classifiers, and this is a {} model", self.role));
        }
        if self.role == Role::Upsampler && !c.in_channels.is_multiple_of(2) {
            return fail(format!(
                "in_channels of an upsampler is twice the image's (the enlarged image is appended), not {}",
                c.in_channels
            ));
        }
        let process = self.diffusion.process;
        if process != ProcessKind::Discrete && (self.role == Role::Upsampler || self.diffusion.learn_sigma) {
            return fail(format!(
                "process {process} is for diffusion models without learned sigma, and this is a {} model{}",
                self.role,
                if self.diffusion.learn_sigma { " with it" } else { "" }
            ));
        }
        let image = self.image_channels();
        let (want, why) = if self.diffusion.learn_sigma { (2 * image, "True") } else { (image, "False") };
        if c.out_channels != want {
            return fail(format!(
                "out_channels is {}, but images of {image} channels with learn_sigma {why} need {want}",
                c.out_channels
            ));
        }
        Ok(())
    }

    fn attention_heads(&self) -> Result<()> {
        let c = &self.unet;
        let last = c.channel_mult.len() - 1;
        // The middle block always attends, at the last level's width.
        for level in (0..=last).filter(|&level| level == last || c.attention_at(1 << level)) {
            let width = c.width(level);
            if c.num_head_channels != 0 && !width.is_multiple_of(c.num_head_channels) {
                return fail(format!(
                    "num_head_channels {} does not divide the {width} channels of level {level}",
                    c.num_head_channels
                ));
            }
            if c.num_head_channels == 0 && !width.is_multiple_of(c.num_heads) {
                return fail(format!(
                    "num_heads {} does not divide the {width} channels of level {level}; give num_heads or \
                     num_head_channels",
                    c.num_heads
                ));
            }
            let (flag, value, head) = match c.num_head_channels {
                0 => ("num_heads", c.num_heads, width / c.num_heads.max(1)),
                channels => ("num_head_channels", channels, channels),
            };
            if !head.is_multiple_of(4) || head > MAX_HEAD_CHANNELS {
                return fail(format!(
                    "{flag} {value} gives attention heads of {head} channels at level {level}; a head must have a \
                     multiple of 4, at most {MAX_HEAD_CHANNELS}"
                ));
            }
        }
        Ok(())
    }
}

fn network(c: &UNetConfig) -> Result<()> {
    within("image_size", c.image_size, 1, MAX_SIZE)?;
    within("in_channels", c.in_channels, 1, MAX_CHANNELS)?;
    within("out_channels", c.out_channels, 1, MAX_CLASSES)?;
    within("num_channels (model_channels)", c.model_channels, 1, MAX_CHANNELS / 4)?;
    within("num_res_blocks", c.num_res_blocks, 1, MAX_BLOCKS)?;
    within("num_classes", c.num_classes, 0, MAX_CLASSES)?;
    within("num_heads", c.num_heads, 0, MAX_CHANNELS)?;
    within("num_head_channels", c.num_head_channels, 0, MAX_CHANNELS)?;
    within("the number of levels of channel_mult", c.channel_mult.len(), 1, MAX_LEVELS)?;
    within("the number of attention_resolutions", c.attention_resolutions.len(), 0, 64)?;
    let blocks = residual_blocks(c);
    if blocks > MAX_RESIDUAL_BLOCKS {
        return fail(format!(
            "num_res_blocks {} at {} levels makes {blocks} residual blocks; at most {MAX_RESIDUAL_BLOCKS} are accepted",
            c.num_res_blocks,
            c.channel_mult.len()
        ));
    }
    if c.attention_resolutions.contains(&0) {
        return fail("attention_resolutions holds 0; resolutions are image sizes such as 32,16,8".into());
    }
    for (level, mult) in c.channel_mult.iter().enumerate() {
        if !(mult.is_finite() && *mult > 0.0 && mult * c.model_channels as f64 <= MAX_CHANNELS as f64) {
            return fail(format!(
                "channel_mult holds {mult}; with {} channels a level may have at most {MAX_CHANNELS}",
                c.model_channels
            ));
        }
        let width = c.width(level);
        if width == 0 || !width.is_multiple_of(GROUPS) {
            return fail(format!(
                "level {level} would have {width} channels (num_channels {} x channel_mult {mult}); \
                 group normalization needs a multiple of {GROUPS}",
                c.model_channels
            ));
        }
    }
    let smallest = 1usize << (c.channel_mult.len() - 1);
    if !c.image_size.is_multiple_of(smallest) {
        return fail(format!(
            "image_size {} cannot be downsampled {} times by 2 (channel_mult has {} levels); use a multiple of {smallest}",
            c.image_size,
            c.channel_mult.len() - 1,
            c.channel_mult.len()
        ));
    }
    Ok(())
}

fn classifier(c: &UNetConfig) -> Result<()> {
    if c.pool.is_none() {
        return fail("a classifier needs classifier_pool: attention, adaptive, spatial or spatial_v2".into());
    }
    if c.num_classes != 0 {
        return fail(format!(
            "num_classes is {}, but a classifier is not class-conditional: its classes are out_channels",
            c.num_classes
        ));
    }
    if c.pool == Some(Pool::Attention) && c.num_head_channels == 0 {
        return fail("classifier_pool attention needs num_head_channels".into());
    }
    Ok(())
}

/// Residual blocks from the input to the output, those that resample included (where they are plain convolutions too).
fn residual_blocks(c: &UNetConfig) -> usize {
    let (levels, depth) = (c.channel_mult.len(), c.num_res_blocks);
    let blocks = |depth: usize| levels * depth + levels - 1;
    blocks(depth) + 2 + if c.pool.is_none() { blocks(depth + 1) } else { 0 }
}

fn process(d: &DiffusionConfig) -> Result<()> {
    schedule(d.noise_schedule, d.diffusion_steps)
}

/// Checks that a schedule can have so many steps.
///
/// # Errors
/// [`Error::Config`] where it cannot.
pub fn schedule(schedule: NoiseSchedule, steps: usize) -> Result<()> {
    // The posterior's first variance is replaced by the second, so there must be two.
    within("diffusion_steps", steps, 2, MAX_STEPS)?;
    // Its last beta is 20 / steps.
    if schedule == NoiseSchedule::Linear && steps <= 20 {
        return fail(format!(
            "diffusion_steps is {steps}: a linear schedule of so few would remove more than the whole image; it needs \
             at least 21"
        ));
    }
    Ok(())
}

/// Checks a searched time grid.
fn time_grid(steps: usize, grid: &[f64], diffusion: &DiffusionConfig) -> Result<()> {
    let discrete = diffusion.process == ProcessKind::Discrete;
    let is_timestep = |t: &f64| t.fract() == 0.0 && *t < diffusion.diffusion_steps as f64;
    if steps == grid.len() && descends(grid, diffusion.process) && (!discrete || grid.iter().all(is_timestep)) {
        return Ok(());
    }
    let values = if discrete { "timesteps of its process" } else { "noise levels above 0" };
    fail(format!("grids: that of {steps} steps must be {steps} {values}, descending"))
}

/// Whether a time grid goes from noisy to clean: over timesteps from 0, or over noise levels, none of which may be 0.
pub fn descends(grid: &[f64], process: ProcessKind) -> bool {
    let valid = |t: &f64| t.is_finite() && if process == ProcessKind::Discrete { *t >= 0.0 } else { *t > 0.0 };
    !grid.is_empty() && grid.iter().all(valid) && grid.is_sorted_by(|a, b| a > b)
}

fn within(field: &str, value: usize, low: usize, high: usize) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    fail(format!("{field} is {value}; it must be from {low} to {high}"))
}

fn fail(message: String) -> Result<()> {
    Err(Error::Config(message))
}
