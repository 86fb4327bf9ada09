//! A network together with the sampling loop around it: one graph, replayed each step.

use super::classifier::{classifier, guidance_gradient};
use super::unet::{UNetInputs, unet};
use crate::config::{ModelConfig, Role};
use crate::error::{Error, Result};
use crate::graph::{Graph, Segment};
use crate::op::sampling::{COEFFICIENTS, NOISE_KEY};
use crate::op::{DrawNoise, PredictXStart, SamplerStep, StartFromNoise};
use crate::tensor::Shape;

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

/// Before the names of a classifier's parameters, which a UNet's share.
pub const CLASSIFIER: &str = "classifier.";

/// The graph of `config` for a batch of `n`; `low_size` is an upsampler's input size. With a classifier, its gradient
/// guides each step.
///
/// # Errors
/// Sizes that do not fit together.
pub fn sampling_graph(
    config: &ModelConfig,
    guide: Option<&ModelConfig>,
    n: usize,
    low_size: Option<usize>,
) -> Result<Graph> {
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

    let mut operands = vec![inputs.x, out, noise, coefficients];
    if let Some(guide) = guide {
        check_guide(config, guide)?;
        let labels = inputs.labels.unwrap_or_else(|| graph.input(ports::LABELS, Shape::vector(n, 1)));
        graph.begin(Segment::Guidance);
        let logits = classifier(&mut graph, &guide.unet, CLASSIFIER, inputs.x, inputs.timesteps)?;
        operands.push(guidance_gradient(&mut graph, logits, labels, inputs.x)?);
    }

    graph.begin(Segment::Step);
    let predict = PredictXStart { predict_xstart: config.diffusion.predict_xstart };
    let x0 = graph.push(ports::X_START, predict, &[inputs.x, out, coefficients], &[])?;
    operands.insert(1, x0);
    let step = SamplerStep { learn_sigma: config.diffusion.learn_sigma, guided: guide.is_some() };
    graph.push("step", step, &operands, &[])?;
    graph.output(ports::NOISE, noise);
    graph.output(ports::OUT, out);
    graph.output(ports::X_START, x0);
    Ok(graph)
}

/// A classifier must judge the images that the model makes, at the timesteps it makes them.
fn check_guide(config: &ModelConfig, guide: &ModelConfig) -> Result<()> {
    let image = |c: &ModelConfig| (c.unet.image_size, c.image_channels());
    let process = |c: &ModelConfig| (c.diffusion.diffusion_steps, c.diffusion.noise_schedule);
    let problem = if guide.role != Role::Classifier {
        "the file given as classifier is none".into()
    } else if image(config) != image(guide) {
        let (size, channels) = image(guide);
        format!("the classifier judges {size}x{size} images of {channels} channels, which this model does not make")
    } else if config.unet.num_classes > 0 && config.unet.num_classes != guide.classes() {
        format!("the classifier knows {} classes, the model {}", guide.classes(), config.unet.num_classes)
    } else if process(config) != process(guide) {
        "the classifier was trained on another noise schedule than the model".into()
    } else {
        return Ok(());
    };
    Err(Error::Options(problem))
}
