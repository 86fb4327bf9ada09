//! A network together with the sampling loop around it: one graph, replayed each step.

use super::unet::{UNetInputs, unet};
use crate::config::ModelConfig;
use crate::error::Result;
use crate::graph::{Graph, Segment, Shape};
use crate::op::sampling::{COEFFICIENTS, NOISE_KEY};
use crate::op::{DrawNoise, PredictXStart, SamplerStep, StartFromNoise};

/// Names of the tensors that the host writes and reads.
pub mod ports {
    /// x_t, stepped in place.
    pub const X: &str = "x";
    /// Timesteps as the network takes them, one a sample.
    pub const TIMESTEPS: &str = "timesteps";
    /// Classes (u32), one a sample.
    pub const LABELS: &str = "labels";
    /// The low-resolution images.
    pub const LOW_RES: &str = "low_res";
    /// Seed, first sample, step.
    pub const NOISE_KEY: &str = "noise_key";
    /// `StepCoefficients`.
    pub const COEFFICIENTS: &str = "coefficients";
    /// The drawn noise.
    pub const NOISE: &str = "noise";
    /// The network's output.
    pub const OUT: &str = "out";
    /// The predicted x_0.
    pub const X_START: &str = "x_start";
}

/// The graph of `config` for a batch of `n`; `low_size` is an upsampler's input size.
///
/// # Errors
/// Sizes that do not fit together.
pub fn sampling_graph(config: &ModelConfig, n: usize, low_size: Option<usize>) -> Result<Graph> {
    let mut graph = Graph::default();
    let inputs = UNetInputs::declare(&mut graph, &config.unet, n, low_size);
    let key = graph.input(ports::NOISE_KEY, Shape::vector(1, NOISE_KEY));
    let coefficients = graph.input(ports::COEFFICIENTS, Shape::vector(1, COEFFICIENTS));

    graph.begin(Segment::Noise);
    let shape = graph.shape(inputs.x);
    let noise = graph.push(ports::NOISE, DrawNoise { shape }, &[key], &[])?;
    graph.begin(Segment::Start);
    graph.push("start", StartFromNoise, &[inputs.x, noise], &[])?;

    graph.begin(Segment::Network);
    let out = unet(&mut graph, &config.unet, inputs)?;

    graph.begin(Segment::Step);
    let predict = PredictXStart { predict_xstart: config.diffusion.predict_xstart };
    let x0 = graph.push(ports::X_START, predict, &[inputs.x, out, coefficients], &[])?;
    let step = SamplerStep { learn_sigma: config.diffusion.learn_sigma, guided: false };
    graph.push("step", step, &[inputs.x, x0, out, noise, coefficients], &[])?;
    graph.output(ports::NOISE, noise);
    graph.output(ports::OUT, out);
    graph.output(ports::X_START, x0);
    Ok(graph)
}
