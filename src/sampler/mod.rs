//! From a trained model to an image: the shortened process, its coefficients and its noise.

pub mod philox;
pub mod respace;
pub mod schedule;
