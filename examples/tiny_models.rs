//! Writes tiny models with synthetic weights, for the browser tests: a diffusion model of 8x8 images, an upsampler from
//! them to 16x16, and a classifier.
//!
//!     cargo run --release --example tiny_models -- FOLDER

use std::ops::ControlFlow;
use std::path::PathBuf;

use conformance::tiny;
use guided_diffusion::config::{Role, convert};
use guided_diffusion::{Checkpoint, Error};

fn main() -> Result<(), Error> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "target/tiny-models".into()));
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    let models = [("base", Role::Diffusion), ("judge", Role::Classifier), ("up", Role::Upsampler)];
    for (seed, (name, role)) in (0..).zip(models) {
        let config = tiny(role);
        let path = folder.join(format!("{name}.safetensors"));
        convert(&Checkpoint::synthetic(&config, seed)?, &config, None, path, |_, _| ControlFlow::Continue(()))?;
    }
    Ok(())
}
