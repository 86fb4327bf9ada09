//! The configurations of golden cases, read from their JSON.

use guided_diffusion::config::{DiffusionConfig, ModelConfig, NoiseSchedule, ProcessKind, Role, UNetConfig};
use serde_json::Value;

/// A list of sizes.
pub fn sizes(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect()
}

/// A list of numbers; empty where there is none.
pub fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().map(|a| a.iter().map(|v| v.as_u64().unwrap() as u32).collect()).unwrap_or_default()
}

/// A case's network configuration (`config`, or `classifier` of a guided sampler).
pub fn unet_config(config: &Value) -> UNetConfig {
    let size = |key: &str| config[key].as_u64().unwrap() as usize;
    let truth = |key: &str| config[key].as_bool().unwrap();
    let pool = config["pool"].as_str().unwrap();
    UNetConfig {
        image_size: size("image_size"),
        in_channels: size("in_channels"),
        model_channels: size("model_channels"),
        out_channels: size("out_channels"),
        num_res_blocks: size("num_res_blocks"),
        channel_mult: config["channel_mult"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect(),
        attention_resolutions: sizes(&config["attention_resolutions"]),
        num_classes: size("num_classes"),
        num_heads: size("num_heads"),
        num_head_channels: size("num_head_channels"),
        resblock_updown: truth("resblock_updown"),
        use_scale_shift_norm: truth("use_scale_shift_norm"),
        use_new_attention_order: truth("use_new_attention_order"),
        pool: (!pool.is_empty()).then(|| pool.parse().unwrap()),
        attention_conv2d: config["attention_conv2d"].as_bool().unwrap_or(false),
    }
}

/// A whole model configuration around a case's network: role and learned sigma as the channels show them.
pub fn model_config(config: &Value) -> ModelConfig {
    let unet = unet_config(config);
    let role = match (&unet.pool, unet.in_channels) {
        (Some(_), _) => Role::Classifier,
        (None, 6) => Role::Upsampler,
        (None, _) => Role::Diffusion,
    };
    let image = if role == Role::Upsampler { unet.in_channels / 2 } else { unet.in_channels };
    let diffusion = DiffusionConfig {
        learn_sigma: unet.out_channels == 2 * image,
        ..DiffusionConfig::new(1000, NoiseSchedule::Linear)
    };
    ModelConfig::new(role, unet, diffusion)
}

/// The model of a golden `sampler` case, with its diffusion process.
pub fn sampler_config(case: &Value) -> ModelConfig {
    let options = &case["options"];
    let truth = |key: &str, default: bool| options[key].as_bool().unwrap_or(default);
    let mut config = model_config(&case["config"]);
    config.diffusion = DiffusionConfig {
        diffusion_steps: options["steps"].as_u64().unwrap_or(1000) as usize,
        noise_schedule: options["schedule"].as_str().unwrap().parse().unwrap(),
        learn_sigma: truth("learn_sigma", true),
        predict_xstart: truth("predict_xstart", false),
        rescale_timesteps: truth("rescale_timesteps", false),
        sigma_small: truth("sigma_small", false),
        process: ProcessKind::Discrete,
    };
    config
}
