//! Tiny models with synthetic weights, as files in a test's folder.

use std::ops::ControlFlow;

use conformance::tiny;
use guided_diffusion::checkpoint::Checkpoint;
use guided_diffusion::config::{DiffusionConfig, ModelConfig, ProcessKind, Role, convert};

use super::folder::Folder;

/// Writes a model with weights of this seed.
pub fn write(folder: &Folder, name: &str, config: &ModelConfig, seed: u64) {
    let checkpoint = Checkpoint::synthetic(config, seed).unwrap();
    convert(&checkpoint, config, None, folder.join(name), |_, _| ControlFlow::Continue(())).unwrap();
}

/// Writes a model of noise levels, as of EDM or a consistency model.
pub fn write_of_noise_levels(folder: &Folder, name: &str, process: ProcessKind) {
    let mut config = tiny(Role::Diffusion);
    config.diffusion = DiffusionConfig::of_noise_levels(process);
    config.unet.out_channels = config.unet.in_channels;
    write(folder, name, &config, 4);
}

/// A folder with a diffusion model, a classifier and an upsampler.
pub fn models(name: &str) -> Folder {
    let folder = Folder::new(name);
    write(&folder, "base.safetensors", &tiny(Role::Diffusion), 0);
    write(&folder, "judge.safetensors", &tiny(Role::Classifier), 1);
    write(&folder, "up.safetensors", &tiny(Role::Upsampler), 2);
    folder
}
