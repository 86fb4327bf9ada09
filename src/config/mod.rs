//! What a checkpoint is: the network's shape and the diffusion process it was trained for.
//!
//! Field names are those of the public guided-diffusion scripts. Read from a file's `adm` metadata, else
//! inferred from tensor shapes and the table of public files, else given by flags.

#[cfg(not(target_arch = "wasm32"))]
mod convert;
mod flags;
mod infer;
mod metadata;
mod parameters;
pub mod presets;
mod shapes;
mod validate;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[cfg(not(target_arch = "wasm32"))]
pub use self::convert::{add_grids, convert, with_grids};
pub use self::flags::Flags;
pub use self::infer::{Inferred, Origin, infer, infer_classifier};
pub use self::parameters::{check, parameters};
pub use self::validate::{descends, schedule as check_schedule};

/// More steps of a full process than this are taken for a corrupt file: published ones have 1,000 or 4,000.
pub const MAX_STEPS: usize = 100_000;

/// An enum whose variants are words: of the metadata, of flags and of messages.
macro_rules! words {
    ($(#[$doc:meta])* $type:ident, $what:literal: $($(#[$of:meta])* $variant:ident = $word:literal,)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $type {
            $($(#[$of])* #[serde(rename = $word)] $variant,)*
        }

        impl $type {
            /// Its word.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = crate::Error;

            fn from_str(text: &str) -> crate::Result<Self> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => {
                        let shown: String = text.chars().take(40).collect();
                        Err(crate::Error::Options(format!(
                            "{} {shown:?} is unknown; use one of {}", $what, [$($word),*].join(", ")
                        )))
                    }
                }
            }
        }
    };
}

words! {
    /// What a network is for.
    Role, "kind":
    /// Denoises images from noise.
    Diffusion = "diffusion",
    /// Denoises images given a smaller version of them (super-resolution).
    Upsampler = "upsampler",
    /// Classifies noisy images, to guide a diffusion model.
    Classifier = "classifier",
}

words! {
    /// How a classifier turns its last features into logits (`classifier_pool` in the public code).
    Pool, "classifier_pool":
    /// CLIP's attention pooling.
    Attention = "attention",
    /// Average pooling and a 1x1 convolution.
    Adaptive = "adaptive",
    /// Means of every block's output, linear, ReLU, linear.
    Spatial = "spatial",
    /// Means of every block's output, linear, GroupNorm, SiLU, linear.
    SpatialV2 = "spatial_v2",
}

words! {
    /// What a network was trained on.
    #[derive(Default)]
    ProcessKind, "process":
    /// A discrete process: a noise schedule of so many steps.
    #[default]
    Discrete = "discrete",
    /// Noise levels, with EDM's preconditioning (Karras et al. 2022).
    Edm = "edm",
    /// Noise levels, as a consistency model (Song et al. 2023).
    Consistency = "consistency",
}

words! {
    /// A noise schedule of the full process.
    NoiseSchedule, "noise_schedule":
    /// Linear betas (Ho et al. 2020).
    Linear = "linear",
    /// The squared cosine of improved diffusion.
    Cosine = "cosine",
}

/// Everything that decides the shape of a UNet or of a classifier. Fields are named and ordered as in the metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UNetConfig {
    /// Height and width of the images in pixels.
    pub image_size: usize,
    /// Channels of the input; twice the image's for an upsampler.
    pub in_channels: usize,
    /// Width of the network.
    pub model_channels: usize,
    /// Channels of the output; twice the image's where sigma is learned; the number of classes for a classifier.
    pub out_channels: usize,
    /// Residual blocks per level of the encoder (one more in the decoder).
    pub num_res_blocks: usize,
    /// Width of each level, as a multiple of `model_channels` (0.5 occurs).
    pub channel_mult: Vec<f64>,
    /// Image resolutions (32, 16, 8) at which attention is applied.
    pub attention_resolutions: Vec<usize>,
    /// Classes of a class-conditional model; 0 for an unconditional one.
    #[serde(default)]
    pub num_classes: usize,
    /// Attention heads, where `num_head_channels` is 0.
    #[serde(default, deserialize_with = "metadata::count")]
    pub num_heads: usize,
    /// Channels per attention head, or 0.
    #[serde(default, deserialize_with = "metadata::count")]
    pub num_head_channels: usize,
    /// Residual blocks resample (BigGAN) instead of strided and nearest + convolution.
    pub resblock_updown: bool,
    /// Adaptive group normalization instead of adding the embedding.
    pub use_scale_shift_norm: bool,
    /// Rows of qkv are (q|k|v)(head)(channel) instead of (head)(q|k|v)(channel).
    #[serde(default)]
    pub use_new_attention_order: bool,
    /// A classifier's head.
    #[serde(default, with = "metadata::pool")]
    pub pool: Option<Pool>,
    /// Attention's weights are 2-D convolutions', as in the consistency models' code.
    #[serde(default, skip_serializing_if = "metadata::is_default")]
    pub attention_conv2d: bool,
}

/// The diffusion process a network was trained for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffusionConfig {
    /// Steps of the full process.
    pub diffusion_steps: usize,
    /// The full process's schedule.
    pub noise_schedule: NoiseSchedule,
    /// The output's second half interpolates the variance.
    #[serde(default)]
    pub learn_sigma: bool,
    /// The network predicts x_0 instead of the noise.
    #[serde(default)]
    pub predict_xstart: bool,
    /// Timesteps are scaled to [0, 1000) whatever `diffusion_steps` is.
    #[serde(default)]
    pub rescale_timesteps: bool,
    /// Without learned sigma: the posterior's variance instead of beta.
    #[serde(default)]
    pub sigma_small: bool,
    /// A discrete process, or noise levels; then the schedule and its steps say nothing.
    #[serde(default, skip_serializing_if = "metadata::is_default")]
    pub process: ProcessKind,
}

/// A complete model configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// What the network is for.
    pub role: Role,
    /// The network.
    pub unet: UNetConfig,
    /// The process.
    pub diffusion: DiffusionConfig,
    /// Names of the classes, or empty.
    pub class_names: Vec<String>,
    /// The class that stands for none in particular, for guidance without a classifier.
    pub null_class: Option<u32>,
    /// Height and width of an upsampler's input, where the file says it.
    pub small_size: Option<usize>,
    /// The few steps that suit this file, for which it was trained or which were found by measuring.
    pub few_step: Option<FewStep>,
    /// Time grids that suit this file, by their number of steps, as the settings have them.
    pub grids: TimeGrids,
}

/// A sampler and its timesteps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FewStep {
    /// The sampler's name.
    pub sampler: String,
    /// Timesteps of the full process, descending.
    pub timesteps: Vec<u32>,
}

/// Time grids by their number of steps.
pub type TimeGrids = BTreeMap<usize, Vec<f64>>;

impl DiffusionConfig {
    /// A process as most public files have it: the network predicts the noise and interpolates the variance; timesteps are
    /// not rescaled.
    pub fn new(diffusion_steps: usize, noise_schedule: NoiseSchedule) -> Self {
        Self {
            diffusion_steps,
            noise_schedule,
            learn_sigma: true,
            predict_xstart: false,
            rescale_timesteps: false,
            sigma_small: false,
            process: ProcessKind::Discrete,
        }
    }

    /// The process of a network that was trained on noise levels; its other fields say nothing.
    pub fn of_noise_levels(process: ProcessKind) -> Self {
        Self { learn_sigma: false, process, ..Self::new(1000, NoiseSchedule::Linear) }
    }
}

impl UNetConfig {
    /// The width of a level: `int(channel_mult[level] * model_channels)`, 0 past the last level.
    pub fn width(&self, level: usize) -> usize {
        self.channel_mult.get(level).map_or(0, |mult| (mult * self.model_channels as f64) as usize)
    }

    /// Whether attention follows the residual blocks where images are `ds` times smaller than the input.
    pub fn attention_at(&self, ds: usize) -> bool {
        // The public code's rule, integer division included.
        self.attention_resolutions.iter().any(|r| self.image_size.checked_div(*r) == Some(ds))
    }

    /// Attention heads in a block of `channels`.
    pub fn heads(&self, channels: usize) -> usize {
        channels.checked_div(self.num_head_channels).unwrap_or(self.num_heads)
    }
}

impl ModelConfig {
    /// A network and its process, without class names, a null class or steps of its own.
    pub fn new(role: Role, unet: UNetConfig, diffusion: DiffusionConfig) -> Self {
        let (class_names, grids) = (Vec::new(), TimeGrids::new());
        Self { role, unet, diffusion, class_names, null_class: None, small_size: None, few_step: None, grids }
    }

    /// Channels of the images it makes or classifies.
    pub fn image_channels(&self) -> usize {
        if self.role == Role::Upsampler { self.unet.in_channels / 2 } else { self.unet.in_channels }
    }

    /// Height and width of an upsampler's input: what the file says, else a quarter of its output, as in the public files.
    pub fn low_size(&self) -> usize {
        self.small_size.unwrap_or(self.unet.image_size / 4)
    }

    /// Classes it can be conditioned on, or distinguishes; 0 for an unconditional model.
    pub fn classes(&self) -> usize {
        if self.role == Role::Classifier { self.unet.out_channels } else { self.unet.num_classes }
    }

    /// Classes that images show, which are those that a classifier knows: all but a null class that is the last one.
    pub fn shown_classes(&self) -> usize {
        let classes = self.classes();
        classes - usize::from(self.null_class.is_some_and(|null| null as usize + 1 == classes))
    }

    /// The classes that images take in turn where none is asked for: all but the null class.
    pub fn classes_in_turn(&self) -> Vec<u32> {
        classes_in_turn(self.classes(), self.null_class)
    }
}

/// The labels of `classes` classes but for that of `null_class`.
pub fn classes_in_turn(classes: usize, null_class: Option<u32>) -> Vec<u32> {
    (0..classes as u32).filter(|label| Some(*label) != null_class).collect()
}
