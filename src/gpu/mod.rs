//! The only part that uses wgpu: adapters, pipelines, buffers, and the execution of plans.

pub mod adapter;
#[cfg(not(target_arch = "wasm32"))]
pub mod cache;
mod choice;
mod in_flight;
mod memory;
mod pace;
mod pipeline;
pub mod profile;
pub mod program;
mod readback;
mod results;
mod scope;
pub mod selftest;
mod signal;
mod tensor_cores;
pub mod trial;
pub mod tuner;

pub use adapter::{Gpu, OpenOptions};
#[cfg(not(target_arch = "wasm32"))]
pub use cache::Cache;
pub use choice::{AdapterChoice, AdapterSummary};
pub use pipeline::Compiling;
pub use program::Program;
pub(crate) use readback::Readback;
pub use tensor_cores::TensorCores;
