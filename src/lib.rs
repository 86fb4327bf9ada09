//! Guided diffusion (ADM: Dhariwal & Nichol, arXiv 2105.05233) on WebGPU.
//!
//! Data flows in one direction, each stage its own type:
//!
//! checkpoint -> config -> graph -> plan -> program -> session -> run -> images

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod arguments;
pub mod bits;
pub mod checkpoint;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod config;
pub mod device;
pub mod error;
pub mod gpu;
pub mod graph;
pub mod image;
pub mod interpolate;
pub mod model;
pub mod op;
pub mod order;
pub mod plan;
#[cfg(feature = "png")]
pub mod png;
pub mod recipe;
pub mod resize;
pub mod run;
pub mod sampler;
pub mod session;
pub mod shader;
pub mod tensor;
pub mod time_grid;
#[cfg(test)]
mod typescript;

pub use checkpoint::Checkpoint;
pub use config::ModelConfig;
pub use device::Precision;
pub use error::{Error, Result};
pub use gpu::{AdapterChoice, Gpu, OpenOptions};
pub use image::Images;
pub use plan::PlanOptions;
pub use run::{Run, SampleOptions};
pub use sampler::{Respacing, Sampler, Settings};
pub use session::{Session, SessionOptions};
