//! The networks, written as graphs under the checkpoint's own names.

pub mod blocks;
pub mod classifier;
pub mod sampling;
pub mod unet;

pub use classifier::{classifier, guidance_gradient};
pub use sampling::sampling_graph;
pub use unet::{UNetInputs, unet};
