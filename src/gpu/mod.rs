//! The only part that speaks to wgpu: adapters, pipelines, buffers, and the replay of a plan.

pub mod adapter;
mod pipeline;
pub mod profile;
pub mod program;
pub mod selftest;
mod signal;

pub use adapter::{AdapterChoice, AdapterSummary, Gpu};
pub use program::Program;
