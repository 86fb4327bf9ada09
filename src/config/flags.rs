//! The public scripts' flags, under their own names, so that a line of the public README can be pasted as it is.
//!
//! Every field is optional: a flag given on the command line (or set by a library's user) overrides what the file's
//! metadata or the table of public files says; shapes are never overridden, a flag that contradicts them is an error.

use std::path::PathBuf;

use super::{NoiseSchedule, Pool};

/// The public scripts' flags. Those that only training uses are accepted and ignored.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(
    feature = "cli",
    command(rename_all = "snake_case", next_help_heading = "Flags of the public guided-diffusion scripts")
)]
pub struct Overrides {
    /// The diffusion model's file.
    #[cfg_attr(feature = "cli", arg(long, value_name = "FILE", hide_short_help = true))]
    pub model_path: Option<PathBuf>,
    /// The classifier's file.
    #[cfg_attr(feature = "cli", arg(long, value_name = "FILE", hide_short_help = true))]
    pub classifier_path: Option<PathBuf>,
    /// The images to upsample (.npz).
    #[cfg_attr(feature = "cli", arg(long, value_name = "FILE", hide_short_help = true))]
    pub base_samples: Option<PathBuf>,
    /// Images in all.
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", hide_short_help = true))]
    pub num_samples: Option<usize>,
    /// Images at a time.
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", hide_short_help = true))]
    pub batch_size: Option<usize>,
    /// Steps to keep: 250, 10,20,30 or ddim25.
    #[cfg_attr(feature = "cli", arg(long, value_name = "SPEC", hide_short_help = true))]
    pub timestep_respacing: Option<String>,
    /// Sample with DDIM.
    #[cfg_attr(feature = "cli", arg(long, value_name = "BOOL", value_parser = parse_bool, hide_short_help = true))]
    pub use_ddim: Option<bool>,
    /// Clip the predicted x_0 to [-1, 1] at every step.
    #[cfg_attr(feature = "cli", arg(long, value_name = "BOOL", value_parser = parse_bool, hide_short_help = true))]
    pub clip_denoised: Option<bool>,
    /// Guidance scale.
    #[cfg_attr(feature = "cli", arg(long, value_name = "SCALE", hide_short_help = true))]
    pub classifier_scale: Option<f64>,

    /// Height and width of the images.
    #[cfg_attr(feature = "cli", arg(long, value_name = "PIXELS", hide_short_help = true))]
    pub image_size: Option<usize>,
    /// Height and width of an upsampler's output.
    #[cfg_attr(feature = "cli", arg(long, value_name = "PIXELS", hide_short_help = true))]
    pub large_size: Option<usize>,
    /// Height and width of an upsampler's input.
    #[cfg_attr(feature = "cli", arg(long, value_name = "PIXELS", hide_short_help = true))]
    pub small_size: Option<usize>,
    /// Width of the network.
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", hide_short_help = true))]
    pub num_channels: Option<usize>,
    /// Residual blocks a level.
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", hide_short_help = true))]
    pub num_res_blocks: Option<usize>,
    /// Width of each level as a multiple of num_channels: 1,2,3,4.
    #[cfg_attr(feature = "cli", arg(long, value_name = "LIST", value_delimiter = ',', hide_short_help = true))]
    pub channel_mult: Option<Vec<f64>>,
    /// Attention heads.
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", hide_short_help = true))]
    pub num_heads: Option<usize>,
    /// Channels of an attention head; -1: num_heads counts.
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", allow_negative_numbers = true, hide_short_help = true))]
    pub num_head_channels: Option<i64>,
    /// Attention heads on the way up; only -1 (the same) is supported.
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", allow_negative_numbers = true, hide_short_help = true))]
    pub num_heads_upsample: Option<i64>,
    /// Image sizes at which attention is applied: 32,16,8.
    #[cfg_attr(feature = "cli", arg(long, value_name = "LIST", value_delimiter = ',', hide_short_help = true))]
    pub attention_resolutions: Option<Vec<usize>>,
    /// The model is class-conditional.
    #[cfg_attr(feature = "cli", arg(long, value_name = "BOOL", value_parser = parse_bool, hide_short_help = true))]
    pub class_cond: Option<bool>,
    /// Adaptive group normalization.
    #[cfg_attr(feature = "cli", arg(long, value_name = "BOOL", value_parser = parse_bool, hide_short_help = true))]
    pub use_scale_shift_norm: Option<bool>,
    /// Residual blocks resample.
    #[cfg_attr(feature = "cli", arg(long, value_name = "BOOL", value_parser = parse_bool, hide_short_help = true))]
    pub resblock_updown: Option<bool>,
    /// Rows of qkv are (q|k|v)(head)(channel).
    #[cfg_attr(feature = "cli", arg(long, value_name = "BOOL", value_parser = parse_bool, hide_short_help = true))]
    pub use_new_attention_order: Option<bool>,
    /// Weights and arithmetic in half precision.
    #[cfg_attr(feature = "cli", arg(long, value_name = "BOOL", value_parser = parse_bool, hide_short_help = true))]
    pub use_fp16: Option<bool>,

    /// Steps of the full process.
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", hide_short_help = true))]
    pub diffusion_steps: Option<usize>,
    /// linear or cosine.
    #[cfg_attr(feature = "cli", arg(long, value_name = "NAME", hide_short_help = true))]
    pub noise_schedule: Option<NoiseSchedule>,
    /// The output's second half interpolates the variance.
    #[cfg_attr(feature = "cli", arg(long, value_name = "BOOL", value_parser = parse_bool, hide_short_help = true))]
    pub learn_sigma: Option<bool>,
    /// Without learned sigma: the posterior's variance instead of beta.
    #[cfg_attr(feature = "cli", arg(long, value_name = "BOOL", value_parser = parse_bool, hide_short_help = true))]
    pub sigma_small: Option<bool>,
    /// The network predicts x_0.
    #[cfg_attr(feature = "cli", arg(long, value_name = "BOOL", value_parser = parse_bool, hide_short_help = true))]
    pub predict_xstart: Option<bool>,
    /// Timesteps are scaled to [0, 1000).
    #[cfg_attr(feature = "cli", arg(long, value_name = "BOOL", value_parser = parse_bool, hide_short_help = true))]
    pub rescale_timesteps: Option<bool>,

    /// Width of the classifier.
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", hide_short_help = true))]
    pub classifier_width: Option<usize>,
    /// Residual blocks a level of the classifier.
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", hide_short_help = true))]
    pub classifier_depth: Option<usize>,
    /// Image sizes at which the classifier attends.
    #[cfg_attr(feature = "cli", arg(long, value_name = "LIST", value_delimiter = ',', hide_short_help = true))]
    pub classifier_attention_resolutions: Option<Vec<usize>>,
    /// Adaptive group normalization in the classifier.
    #[cfg_attr(feature = "cli", arg(long, value_name = "BOOL", value_parser = parse_bool, hide_short_help = true))]
    pub classifier_use_scale_shift_norm: Option<bool>,
    /// The classifier's residual blocks resample.
    #[cfg_attr(feature = "cli", arg(long, value_name = "BOOL", value_parser = parse_bool, hide_short_help = true))]
    pub classifier_resblock_updown: Option<bool>,
    /// Channels of an attention head of the classifier (not a flag of the public scripts, which fix it at 64).
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", hide_short_help = true))]
    pub classifier_num_head_channels: Option<usize>,
    /// The classifier's head: attention, adaptive, spatial or spatial_v2.
    #[cfg_attr(feature = "cli", arg(long, value_name = "NAME", hide_short_help = true))]
    pub classifier_pool: Option<Pool>,
    /// The classifier in half precision.
    #[cfg_attr(feature = "cli", arg(long, value_name = "BOOL", value_parser = parse_bool, hide_short_help = true))]
    pub classifier_use_fp16: Option<bool>,

    /// For training; ignored.
    #[cfg_attr(feature = "cli", arg(long, value_name = "P", hide = true))]
    pub dropout: Option<f64>,
    /// For training; ignored.
    #[cfg_attr(feature = "cli", arg(long, value_name = "BOOL", value_parser = parse_bool, hide = true))]
    pub use_kl: Option<bool>,
    /// For training; ignored.
    #[cfg_attr(feature = "cli", arg(long, value_name = "BOOL", value_parser = parse_bool, hide = true))]
    pub rescale_learned_sigmas: Option<bool>,
    /// For training; ignored.
    #[cfg_attr(feature = "cli", arg(long, value_name = "BOOL", value_parser = parse_bool, hide = true))]
    pub use_checkpoint: Option<bool>,
}

impl Overrides {
    /// The flags given of those that may change the configuration, as arguments: what a command must repeat to find the
    /// same one. Flags that shapes decide only ever agree with them.
    pub fn arguments(&self) -> Vec<String> {
        let number = |value: Option<usize>| value.map(|n| n.to_string());
        let truth = |value: Option<bool>| value.map(|on| if on { "True" } else { "False" }.to_owned());
        let schedule = self.noise_schedule.map(|schedule| match schedule {
            NoiseSchedule::Linear => "linear".to_owned(),
            NoiseSchedule::Cosine => "cosine".to_owned(),
        });
        let all = [
            ("image_size", number(self.image_size)),
            ("large_size", number(self.large_size)),
            ("small_size", number(self.small_size)),
            ("num_heads", number(self.num_heads)),
            ("num_head_channels", self.num_head_channels.map(|n| n.to_string())),
            ("use_new_attention_order", truth(self.use_new_attention_order)),
            ("diffusion_steps", number(self.diffusion_steps)),
            ("noise_schedule", schedule),
            ("sigma_small", truth(self.sigma_small)),
            ("predict_xstart", truth(self.predict_xstart)),
            ("rescale_timesteps", truth(self.rescale_timesteps)),
            ("classifier_num_head_channels", number(self.classifier_num_head_channels)),
        ];
        all.into_iter().filter_map(|(name, value)| Some([format!("--{name}"), value?])).flatten().collect()
    }
}

/// The public scripts' spelling of truth.
pub(super) fn parse_bool(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "t" | "y" | "1" => Ok(true),
        "no" | "false" | "f" | "n" | "0" => Ok(false),
        _ => Err("use True or False".into()),
    }
}
