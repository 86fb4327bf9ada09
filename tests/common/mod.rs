//! What the test files share: the golden fixtures and synthetic inputs.
//!
//! Each test file compiles this module for itself and uses a part of it.
#![allow(dead_code, reason = "each test file uses a part")]

pub mod builtin;
#[cfg(feature = "cli")]
pub mod folder;
pub mod gpu;
pub mod judge;
pub mod networks;
pub mod synth;

use std::path::PathBuf;

use guided_diffusion::checkpoint::Checkpoint;
use guided_diffusion::config::{DiffusionConfig, ModelConfig, NoiseSchedule, Role, UNetConfig};
use serde_json::Value;

/// A file of tests/fixtures.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Every golden case.
pub fn cases() -> Vec<Value> {
    let text = std::fs::read_to_string(fixture("cases.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The golden cases of one kind: unet, classifier, sampler, schedule or preset.
pub fn cases_of(kind: &str) -> Vec<Value> {
    cases().into_iter().filter(|c| c["kind"] == kind).collect()
}

/// What the cases must give, under `kind/name/output`.
pub fn outputs() -> Checkpoint {
    Checkpoint::open(fixture("outputs.safetensors")).unwrap()
}

/// A JSON list of sizes.
pub fn sizes(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect()
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
    }
}

/// A whole model configuration around a case's network: role and learned sigma told by the channels.
pub fn model_config(config: &Value) -> ModelConfig {
    let unet = unet_config(config);
    let role = match (&unet.pool, unet.in_channels) {
        (Some(_), _) => Role::Classifier,
        (None, 6) => Role::Upsampler,
        (None, _) => Role::Diffusion,
    };
    let image = if role == Role::Upsampler { unet.in_channels / 2 } else { unet.in_channels };
    let diffusion = DiffusionConfig {
        diffusion_steps: 1000,
        noise_schedule: NoiseSchedule::Linear,
        learn_sigma: unet.out_channels == 2 * image,
        predict_xstart: false,
        rescale_timesteps: false,
        sigma_small: false,
    };
    ModelConfig { role, unet, diffusion, class_names: Vec::new() }
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
    };
    config
}
