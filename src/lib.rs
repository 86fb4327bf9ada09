//! Guided diffusion (ADM: Dhariwal & Nichol, arXiv 2105.05233) on WebGPU.
//!
//! Data flows in one direction, each stage its own type:
//!
//! checkpoint -> config -> graph -> plan -> gpu session -> sampler -> image

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod config;
pub mod error;
pub mod image;
pub mod sampler;

pub use error::{Error, Result};
