//! Synthetic weights and noise of the golden fixtures: the library's own streams, shaped as the cases use them.

#[allow(unused_imports, reason = "each test file uses a part")]
pub use guided_diffusion::checkpoint::synthetic::{noise, uniform, weight};

/// The noise stream `name` for a tensor of `shape`.
pub fn noise_of(name: &str, shape: &[usize], seed: u64) -> Vec<f32> {
    noise(name, shape.iter().product(), seed)
}
