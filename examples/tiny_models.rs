//! Writes tiny models with synthetic weights, for the browser tests: a diffusion model of 8x8 images, an upsampler from
//! them to 16x16, a classifier, and models of noise levels, as of EDM and of consistency models.
//!
//!     cargo run --release --example tiny_models -- FOLDER

use std::ops::ControlFlow;
use std::path::PathBuf;

use conformance::tiny;
use guided_diffusion::config::{DiffusionConfig, ProcessKind, Role, convert};
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
        convert(&Checkpoint::synthetic(&config, seed)?, &config, None, path, |_, _| ControlFlow::Continue(()))?;
    }
    Ok(())
}
