//! Writes tiny models with synthetic weights, for the browser tests: a diffusion model of 8x8 images, an upsampler from
//! them to 16x16, a classifier, and models of noise levels, as of EDM and of consistency models; and a model and a classifier
//! that pass for `fashion32` and its own where nobody looks at the pictures, with far less to compile and to compute.
//!
//!     cargo run --release --example tiny_models -- FOLDER

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use conformance::tiny;
use guided_diffusion::config::{DiffusionConfig, Flags, ModelConfig, ProcessKind, Role, convert};
use guided_diffusion::{Checkpoint, Error};

fn main() -> Result<(), Error> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "target/tiny-models".into()));
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    let models = [
        ("base", Role::Diffusion, ProcessKind::Discrete),
        ("judge", Role::Classifier, ProcessKind::Discrete),
        ("up", Role::Upsampler, ProcessKind::Discrete),
        ("edm", Role::Diffusion, ProcessKind::Edm),
        ("consistency", Role::Diffusion, ProcessKind::Consistency),
    ];
    for (seed, (name, role, process)) in (0..).zip(models) {
        let mut config = tiny(role);
        if process != ProcessKind::Discrete {
            config.diffusion = DiffusionConfig::of_noise_levels(process);
            config.unet.out_channels = config.unet.in_channels;
        }
        config.small_size = (role == Role::Upsampler).then_some(8);
        let path = folder.join(format!("{name}.safetensors"));
        write(&config, seed, path)?;
    }
    for name in ["fashion32", "fashion32-classifier"] {
        let own = Path::new("models").join(name).with_extension("safetensors");
        let mut config = Checkpoint::open(&own)?.config(&Flags::default())?.config;
        config.unet.model_channels = 32;
        config.unet.channel_mult = vec![1.0, 1.0];
        config.unet.attention_resolutions = Vec::new();
        // Attention of wide heads takes SwiftShader longest to compile.
        config.unet.num_head_channels = 8;
        config.unet.resblock_updown = false;
        write(&config, 0, folder.join(name).with_extension("safetensors"))?;
    }
    Ok(())
}

fn write(config: &ModelConfig, seed: u64, path: PathBuf) -> Result<(), Error> {
    convert(&Checkpoint::synthetic(config, seed)?, config, None, path, |_, _| ControlFlow::Continue(()))
}
