//! The command line program: arguments, progress, files. No tensor logic lives here.

pub mod args;
pub mod classes;
pub mod input;
pub mod npy;
pub mod output;
pub mod png;
pub mod progress;
pub mod staged;

/// Keyword of the PNG text that holds an image's parameters as JSON.
pub const PARAMETERS: &str = "guided-diffusion";
