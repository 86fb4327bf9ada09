//! The tables of public files: what their tensor shapes cannot show, and the published guidance scales.
//!
//! A row is the flags that the public README gives for the file; what its code fixes (channel multipliers by image
//! size, the classifiers' heads) is filled in by [`Preset::config`].

use super::{DiffusionConfig, ModelConfig, NoiseSchedule, Pool, ProcessKind, Role, UNetConfig};
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
    num_heads: usize,
    /// 0: `num_heads` counts.
    num_head_channels: usize,
    attention: &'static [usize],
    num_classes: usize,
    /// Adaptive group norms.
    scale_shift: bool,
    /// Residual blocks resample.
    updown: bool,
    /// Rows of qkv are (q|k|v)(head)(channel).
    new_order: bool,
    diffusion_steps: usize,
    noise_schedule: NoiseSchedule,
    rescale_timesteps: bool,
    process: ProcessKind,
}

/// What most rows have.
const ADM: Preset = Preset {
    name: "",
    role: Diffusion,
    image_size: 256,
    num_channels: 256,
    num_res_blocks: 2,
    num_heads: 4,
    num_head_channels: 64,
    attention: &[32, 16, 8],
    num_classes: 0,
    scale_shift: true,
    updown: true,
    new_order: false,
    diffusion_steps: 1000,
    noise_schedule: Linear,
    rescale_timesteps: false,
    process: ProcessKind::Discrete,
};

/// Of improved-diffusion (March 2021).
const IMPROVED: Preset =
    Preset { image_size: 64, num_channels: 128, num_head_channels: 0, attention: &[16, 8], updown: false, ..ADM };
const IMPROVED_64: Preset = Preset {
    num_res_blocks: 3,
    diffusion_steps: 4000,
    noise_schedule: Cosine,
    // The public code's default at that time.
    rescale_timesteps: true,
    ..IMPROVED
};
const CIFAR10: Preset = Preset { image_size: 32, ..IMPROVED_64 };
const IMPROVED_LSUN: Preset =
    Preset { image_size: 256, num_heads: 1, attention: &[16], scale_shift: false, ..IMPROVED };

/// Of the FFHQ group: P2-weighting, ILVR, DPS, DiffPIR and Asyrp use one architecture.
const FFHQ: Preset = Preset { num_channels: 128, num_res_blocks: 1, attention: &[16], ..ADM };

/// Of consistency_models (2023).
const EDM_64: Preset =
    Preset { image_size: 64, num_channels: 192, num_res_blocks: 3, num_classes: 1000, ..EDM_256_SHIFT };
const EDM_256_SHIFT: Preset = Preset { new_order: true, process: ProcessKind::Edm, ..ADM };
const EDM_256: Preset = Preset { scale_shift: false, ..EDM_256_SHIFT };
const CONSISTENCY_64: Preset = Preset { process: ProcessKind::Consistency, ..EDM_64 };
const CONSISTENCY_256: Preset = Preset { process: ProcessKind::Consistency, ..EDM_256 };

/// The 15 public files of guided-diffusion (July 2021).
pub static PRESETS: [Preset; 15] = [
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

/// Public files of the same UNet from other projects. Where several share names and shapes of tensors, they share the rest.
pub const FAMILIES: &[Preset] = &[
    // openai/improved-diffusion, by its README.
    Preset { name: "imagenet64_uncond_100M_1500K", ..IMPROVED_64 },
    Preset { name: "imagenet64_uncond_vlb_100M_1500K", ..IMPROVED_64 },
    Preset { name: "cifar10_uncond_50M_500K", ..CIFAR10 },
    Preset { name: "cifar10_uncond_vlb_50M_500K", ..CIFAR10 },
    Preset {
        name: "imagenet64_cond_270M_250K",
        num_channels: 192,
        num_classes: 1000,
        rescale_timesteps: false,
        ..IMPROVED_64
    },
    Preset {
        name: "upsample_cond_500K",
        role: Upsampler,
        image_size: 256,
        num_channels: 192,
        num_classes: 1000,
        diffusion_steps: 4000,
        ..IMPROVED
    },
    Preset { name: "lsun_uncond_100M_1200K_bs128", ..IMPROVED_LSUN },
    Preset { name: "lsun_uncond_100M_2400K_bs64", ..IMPROVED_LSUN },
    // P2-weighting, ILVR and projects that use their files.
    Preset { name: "ffhq_10m", ..FFHQ },
    Preset { name: "afhq_dog_4m", ..FFHQ },
    Preset { name: "ffhq_p2", ..FFHQ },
    // RePaint.
    Preset { name: "celeba256_250000", ..ADM },
    Preset { name: "places256_300000", ..ADM },
    // Fine-tunes for Disco Diffusion.
    Preset { name: "512x512_diffusion_uncond_finetune_008100", image_size: 512, rescale_timesteps: true, ..ADM },
    Preset {
        name: "portrait_generator_v001_ema_0.9999_1MM",
        image_size: 512,
        num_channels: 128,
        num_head_channels: 0,
        ..ADM
    },
    Preset { name: "pixelartdiffusion4k", ..IMPROVED_LSUN },
    Preset { name: "pixel_art_diffusion_hard_256", ..IMPROVED_LSUN },
    Preset { name: "pixel_art_diffusion_soft_256", ..IMPROVED_LSUN },
    Preset { name: "watercolordiffusion", ..IMPROVED_LSUN },
    Preset { name: "watercolordiffusion_2", ..IMPROVED_LSUN },
    Preset { name: "PulpSciFiDiffusion", ..IMPROVED_LSUN },
    Preset { name: "PADexpanded", ..IMPROVED_LSUN },
    // openai/consistency_models.
    Preset { name: "edm_imagenet64_ema", ..EDM_64 },
    Preset { name: "cd_imagenet64_l2", ..CONSISTENCY_64 },
    Preset { name: "cd_imagenet64_lpips", ..CONSISTENCY_64 },
    Preset { name: "ct_imagenet64", ..CONSISTENCY_64 },
    Preset { name: "edm_bedroom256_ema", ..EDM_256 },
    Preset { name: "cd_bedroom256_l2", ..CONSISTENCY_256 },
    Preset { name: "cd_bedroom256_lpips", ..CONSISTENCY_256 },
    Preset { name: "ct_bedroom256", ..CONSISTENCY_256 },
    Preset { name: "edm_cat256_ema", ..EDM_256 },
    Preset { name: "cd_cat256_l2", ..CONSISTENCY_256 },
    Preset { name: "cd_cat256_lpips", ..CONSISTENCY_256 },
    Preset { name: "ct_cat256", ..CONSISTENCY_256 },
];

/// Two-step schedules of consistency_models' `scripts/launch.sh`: file, levels of the grid, places in it. The files that are
/// not here have the samplers' own, or none was published.
const TWO_STEPS: [(&str, usize, [usize; 3]); 5] = [
    ("ct_imagenet64", 201, [0, 106, 200]),
    ("cd_bedroom256_l2", 40, [0, 18, 39]),
    ("cd_bedroom256_lpips", 40, [0, 17, 39]),
    ("ct_bedroom256", 151, [0, 67, 150]),
    ("ct_cat256", 151, [0, 62, 150]),
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
    // The largest upsampler attends at two resolutions only; one file has the new order.
    let attention: &[usize] = if matches!(role, Upsampler) && image_size == 512 { &[32, 16] } else { ADM.attention };
    let new_order = matches!(role, Diffusion) && image_size == 64;
    Preset {
        name,
        role,
        image_size,
        num_channels,
        num_res_blocks,
        num_head_channels,
        num_classes,
        noise_schedule,
        attention,
        new_order,
        ..ADM
    }
}

/// The public code's channel multipliers where `channel_mult` is not given; `None` for other sizes.
pub fn channel_mult(role: Role, image_size: usize) -> Option<&'static [f64]> {
    match (role, image_size) {
        (Upsampler, 256 | 512) | (_, 256) => Some(&[1.0, 1.0, 2.0, 2.0, 4.0, 4.0]),
        (_, 512) => Some(&[0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0]),
        (Diffusion | Classifier, 128) => Some(&[1.0, 1.0, 2.0, 3.0, 4.0]),
        (_, 64) => Some(&[1.0, 2.0, 3.0, 4.0]),
        // improved-diffusion's.
        (Diffusion, 32) => Some(&[1.0, 2.0, 2.0, 2.0]),
        _ => None,
    }
}

impl Preset {
    /// What the network was trained on.
    pub fn process(&self) -> ProcessKind {
        self.process
    }

    /// The file's configuration.
    pub fn config(&self) -> ModelConfig {
        let (is_classifier, is_upsampler) = (self.role == Classifier, self.role == Upsampler);
        let discrete = self.process == ProcessKind::Discrete;
        let diffusion = if discrete {
            DiffusionConfig {
                rescale_timesteps: self.rescale_timesteps,
                ..DiffusionConfig::new(self.diffusion_steps, self.noise_schedule)
            }
        } else {
            DiffusionConfig::of_noise_levels(self.process)
        };
        let small_size = is_upsampler.then_some(self.image_size / 4);
        let config = ModelConfig::new(
            self.role,
            UNetConfig {
                image_size: self.image_size,
                in_channels: if is_upsampler { 6 } else { 3 },
                model_channels: self.num_channels,
                out_channels: match self.role {
                    Classifier => self.num_classes,
                    _ if discrete => 6,
                    _ => 3,
                },
                num_res_blocks: self.num_res_blocks,
                channel_mult: channel_mult(self.role, self.image_size).unwrap_or_default().to_vec(),
                attention_resolutions: self.attention.to_vec(),
                num_classes: if is_classifier { 0 } else { self.num_classes },
                num_heads: self.num_heads,
                num_head_channels: self.num_head_channels,
                resblock_updown: self.updown,
                use_scale_shift_norm: self.scale_shift,
                use_new_attention_order: self.new_order,
                pool: is_classifier.then_some(Pool::Attention),
                attention_conv2d: !discrete,
            },
            diffusion,
        );
        ModelConfig { small_size, ..config }
    }
}

/// All files of both tables.
pub fn all() -> impl Iterator<Item = &'static Preset> {
    PRESETS.iter().chain(FAMILIES)
}

/// The public file of this name: a stem, or a path that ends in one.
pub fn by_name(name: &str) -> Option<&'static Preset> {
    let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let stem = [".safetensors", ".pt", ".pth"].iter().find_map(|e| file.strip_suffix(e)).unwrap_or(file);
    all().find(|p| p.name == stem)
}

/// The public file that a checkpoint holds, by its tensors' names and shapes. Where several of [`PRESETS`] share them (the
/// unconditional 256x256 networks), the one with the file's own name, else the first: their configurations are equal. Files
/// of other projects must have their published name, but for those of consistency_models.
pub fn by_tensors(file: &str, header: &Header) -> Option<&'static Preset> {
    let same = |p: &&'static Preset| {
        super::parameters(&p.config()).is_ok_and(|wanted| {
            wanted.len() == header.tensors.len() && super::parameters::mismatches(header, &wanted).is_empty()
        })
    };
    by_name(file).filter(same).or_else(|| PRESETS.iter().find(same)).or_else(|| {
        // Only their 4-D attention marks a file as one of these; other projects' tensors may be anybody's.
        FAMILIES.iter().filter(|p| p.process != ProcessKind::Discrete).find(same)
    })
}

/// The published two-step schedule of a public consistency model: levels of the grid, and places in it.
pub fn two_steps(name: &str) -> Option<(usize, [usize; 3])> {
    TWO_STEPS.iter().find(|row| row.0 == name).map(|(_, levels, at)| (*levels, *at))
}

/// The published guidance scale of a public file: of `ddim` with up to 50 steps where there is one, else of ancestral steps.
/// `None` where nothing was published.
pub fn guidance_scale(name: &str, ddim: bool, steps: usize) -> Option<f64> {
    let (_, ancestral, few) = GUIDANCE.iter().find(|row| row.0 == name)?;
    few.filter(|_| ddim && steps <= 50).or(Some(*ancestral))
}
