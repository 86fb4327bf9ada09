//! What a checkpoint is: the network's shape and the diffusion process it was trained for.
//!
//! Field names are those of the public guided-diffusion scripts. Read from a file's `adm` metadata, else
//! inferred from tensor shapes and the table of public files, else given by flags.

use serde::{Deserialize, Serialize};

/// What a network is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Denoises images from noise.
    Diffusion,
    /// Denoises images given a smaller version of them (super-resolution).
    Upsampler,
    /// Classifies noisy images, to guide a diffusion model.
    Classifier,
}

/// How a classifier turns its last features into logits (`classifier_pool` in the public code).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// CLIP's attention pooling.
    Attention,
    /// Average pooling and a 1x1 convolution.
    Adaptive,
    /// Means of every block's output, linear, ReLU, linear.
    Spatial,
    /// Means of every block's output, linear, GroupNorm, SiLU, linear.
    SpatialV2,
}

/// Everything that decides the shape of a UNet or of a classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct UNetConfig {
    /// Height and width of the images in pixels.
    pub image_size: usize,
    /// Channels of the input; twice the image's for an upsampler.
    pub in_channels: usize,
    /// Width of the network.
    pub model_channels: usize,
    /// Channels of the output; twice the image's where sigma is learned; the number of classes for a classifier.
    pub out_channels: usize,
    /// Residual blocks a level on the way down (one more on the way up).
    pub num_res_blocks: usize,
    /// Width of each level, as a multiple of `model_channels` (0.5 occurs).
    pub channel_mult: Vec<f64>,
    /// Image resolutions (32, 16, 8) at which attention is applied.
    pub attention_resolutions: Vec<usize>,
    /// Classes of a class-conditional model; 0 for an unconditional one.
    pub num_classes: usize,
    /// Attention heads, where `num_head_channels` is 0.
    pub num_heads: usize,
    /// Channels of an attention head, or 0.
    pub num_head_channels: usize,
    /// Residual blocks resample (BigGAN) instead of strided and nearest + convolution.
    pub resblock_updown: bool,
    /// Adaptive group normalization instead of adding the embedding.
    pub use_scale_shift_norm: bool,
    /// Rows of qkv are (q|k|v)(head)(channel) instead of (head)(q|k|v)(channel).
    pub use_new_attention_order: bool,
    /// A classifier's head.
    pub pool: Option<Pool>,
}

/// A noise schedule of the full process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoiseSchedule {
    /// Linear betas (Ho et al. 2020).
    Linear,
    /// The squared cosine of improved diffusion.
    Cosine,
}

/// The diffusion process a network was trained for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffusionConfig {
    /// Steps of the full process.
    pub diffusion_steps: usize,
    /// The full process's schedule.
    pub noise_schedule: NoiseSchedule,
    /// The output's second half interpolates the variance.
    pub learn_sigma: bool,
    /// The network predicts x_0 instead of the noise.
    pub predict_xstart: bool,
    /// Timesteps are scaled to [0, 1000) whatever `diffusion_steps` is.
    pub rescale_timesteps: bool,
    /// Without learned sigma: the posterior's variance instead of beta.
    pub sigma_small: bool,
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
}
