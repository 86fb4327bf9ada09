//! The table of public files (July 2021): what their tensor shapes cannot show, and the published guidance scales.
//!
//! A row is the flags that the public README gives for the file; what its code fixes (channel multipliers by image
//! size, the classifiers' heads) is filled in by [`Preset::config`].

use super::{DiffusionConfig, ModelConfig, NoiseSchedule, Pool, Role, UNetConfig};
use crate::checkpoint::Header;

use NoiseSchedule::{Cosine, Linear};
use Role::{Classifier, Diffusion, Upsampler};

/// One public file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// The file's stem: `256x256_diffusion`.
    pub name: &'static str,
    /// What the network is for.
    pub role: Role,
    image_size: usize,
    num_channels: usize,
    num_res_blocks: usize,
    num_head_channels: usize,
    num_classes: usize,
    noise_schedule: NoiseSchedule,
}

/// All 15 public files. `num_head_channels` 0 means 4 heads.
pub const PRESETS: [Preset; 15] = [
    row("64x64_diffusion", Diffusion, 64, 192, 3, 64, 1000, Cosine),
    row("128x128_diffusion", Diffusion, 128, 256, 2, 0, 1000, Linear),
    row("256x256_diffusion", Diffusion, 256, 256, 2, 64, 1000, Linear),
    row("256x256_diffusion_uncond", Diffusion, 256, 256, 2, 64, 0, Linear),
    row("512x512_diffusion", Diffusion, 512, 256, 2, 64, 1000, Linear),
    row("64_256_upsampler", Upsampler, 256, 192, 2, 0, 1000, Linear),
    row("128_512_upsampler", Upsampler, 512, 192, 2, 64, 1000, Linear),
    row("lsun_bedroom", Diffusion, 256, 256, 2, 64, 0, Linear),
    row("lsun_cat", Diffusion, 256, 256, 2, 64, 0, Linear),
    row("lsun_horse", Diffusion, 256, 256, 2, 64, 0, Linear),
    row("lsun_horse_nodropout", Diffusion, 256, 256, 2, 64, 0, Linear),
    row("64x64_classifier", Classifier, 64, 128, 4, 64, 1000, Cosine),
    row("128x128_classifier", Classifier, 128, 128, 2, 64, 1000, Linear),
    row("256x256_classifier", Classifier, 256, 128, 2, 64, 1000, Linear),
    row("512x512_classifier", Classifier, 512, 128, 2, 64, 1000, Linear),
];

/// Guidance scales of the paper and the public README: file, 250 ancestral steps, 25 DDIM steps.
const GUIDANCE: [(&str, f64, Option<f64>); 5] = [
    ("64x64_diffusion", 1.0, None),
    ("128x128_diffusion", 0.5, Some(1.25)),
    ("256x256_diffusion", 1.0, Some(2.5)),
    ("256x256_diffusion_uncond", 10.0, None),
    ("512x512_diffusion", 4.0, Some(9.0)),
];

#[expect(clippy::too_many_arguments, reason = "a table's row")]
const fn row(
    name: &'static str,
    role: Role,
    image_size: usize,
    num_channels: usize,
    num_res_blocks: usize,
    num_head_channels: usize,
    num_classes: usize,
    noise_schedule: NoiseSchedule,
) -> Preset {
    Preset { name, role, image_size, num_channels, num_res_blocks, num_head_channels, num_classes, noise_schedule }
}

/// The public code's channel multipliers where `channel_mult` is not given; `None` for other sizes.
pub fn channel_mult(role: Role, image_size: usize) -> Option<&'static [f64]> {
    match (role, image_size) {
        (Upsampler, 256 | 512) | (_, 256) => Some(&[1.0, 1.0, 2.0, 2.0, 4.0, 4.0]),
        (_, 512) => Some(&[0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0]),
        (Diffusion | Classifier, 128) => Some(&[1.0, 1.0, 2.0, 3.0, 4.0]),
        (_, 64) => Some(&[1.0, 2.0, 3.0, 4.0]),
        _ => None,
    }
}

impl Preset {
    /// The file's configuration.
    pub fn config(&self) -> ModelConfig {
        let (is_classifier, is_upsampler) = (self.role == Classifier, self.role == Upsampler);
        ModelConfig {
            role: self.role,
            unet: UNetConfig {
                image_size: self.image_size,
                in_channels: if is_upsampler { 6 } else { 3 },
                model_channels: self.num_channels,
                out_channels: if is_classifier { self.num_classes } else { 6 },
                num_res_blocks: self.num_res_blocks,
                channel_mult: channel_mult(self.role, self.image_size).unwrap_or_default().to_vec(),
                // The largest upsampler attends at two resolutions only.
                attention_resolutions: if is_upsampler && self.image_size == 512 {
                    vec![32, 16]
                } else {
                    vec![32, 16, 8]
                },
                num_classes: if is_classifier { 0 } else { self.num_classes },
                num_heads: 4,
                num_head_channels: self.num_head_channels,
                resblock_updown: true,
                use_scale_shift_norm: true,
                use_new_attention_order: self.name == "64x64_diffusion",
                pool: is_classifier.then_some(Pool::Attention),
            },
            diffusion: DiffusionConfig {
                diffusion_steps: 1000,
                noise_schedule: self.noise_schedule,
                learn_sigma: true,
                predict_xstart: false,
                rescale_timesteps: false,
                sigma_small: false,
            },
            class_names: Vec::new(),
        }
    }
}

/// The public file of this name: a stem, or a path that ends in one.
pub fn by_name(name: &str) -> Option<&'static Preset> {
    let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let stem = [".safetensors", ".pt", ".pth"].iter().find_map(|e| file.strip_suffix(e)).unwrap_or(file);
    PRESETS.iter().find(|p| p.name == stem)
}

/// The public file that a checkpoint holds, by its tensors' names and shapes. Where several files share them (the
/// unconditional 256x256 networks), the one with the file's own name, else the first: their configurations are equal.
pub fn by_tensors(file: &str, header: &Header) -> Option<&'static Preset> {
    let same = |p: &&'static Preset| {
        super::parameters(&p.config()).is_ok_and(|wanted| {
            wanted.len() == header.tensors.len() && super::parameters::mismatches(header, &wanted).is_empty()
        })
    };
    by_name(file).filter(same).or_else(|| PRESETS.iter().find(same))
}

/// The published guidance scale of a public file: `ddim` with up to 50 steps, or ancestral steps. `None` where
/// nothing was published.
pub fn guidance_scale(name: &str, ddim: bool, steps: usize) -> Option<f64> {
    let (_, ancestral, few) = GUIDANCE.iter().find(|row| row.0 == name)?;
    if ddim && steps <= 50 { *few } else { Some(*ancestral) }
}
