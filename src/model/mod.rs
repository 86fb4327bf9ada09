//! The networks, written as graphs under the checkpoint's own names.

pub mod blocks;
pub mod sampling;
pub mod unet;

pub use sampling::sampling_graph;
pub use unet::{UNetInputs, unet};
