//! Synthetic weights and noise of the golden fixtures: the library's own streams, shaped as the cases use them.

pub use conformance::noise_of;
pub use guided_diffusion::checkpoint::synthetic::{noise, uniform, weight};
