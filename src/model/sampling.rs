//! A network together with the sampling loop around it: one graph, replayed each step.

use super::classifier::{classifier, guidance_gradient};
use super::unet::{UNetInputs, unet};
use crate::config::{ModelConfig, ProcessKind, Role};
use crate::error::{Error, Result};
use crate::graph::{Graph, Segment, TensorId};
use crate::op::noise::NOISE_KEY;
use crate::op::project::EDIT;
use crate::op::sampling::{HISTORY, ROW};
use crate::op::{DrawNoise, PredictXStart, Project, SamplerStep, ScaleInput, Slice, StartFromNoise, Threshold};
use crate::tensor::Shape;

/// Names of the tensors that the host writes and reads.
pub mod ports {
    /// x_t, stepped in place.
    pub const X: &str = "x";
    /// Timesteps as the network takes them, one per sample.
    pub const TIMESTEPS: &str = "timesteps";
    /// Classes (u32), one per sample.
    pub const LABELS: &str = "labels";
    /// The low-resolution images.
    pub const LOW_RES: &str = "low_res";
    /// Seed, first sample, draw.
    pub const NOISE_KEY: &str = "noise_key";
    /// A row of the step table.
    pub const ROW: &str = "row";
    /// The images that rows keep: h1, h2, h3.
    pub const HISTORY: &str = "history";
    /// The known image of an edit.
    pub const KNOWN: &str = "known";
    /// Its mask, 1 where it is known.
    pub const MASK: &str = "mask";
    /// An edit's projection.
    pub const EDIT: &str = "edit";
    /// The drawn noise.
    pub const NOISE: &str = "noise";
    /// The network's output.
    pub const OUT: &str = "out";
    /// The predicted x_0.
    pub const X_START: &str = "x_start";
    /// The gradient of the class's log-probability with respect to x_t, where a classifier guides.
    pub const GRADIENT: &str = "gradient";
}

/// Height and width, at most.
const MAX_SIDE: usize = 1 << 14;

/// Prefix of the guidance classifier's parameters, whose names are otherwise those of a UNet's.
pub const CLASSIFIER: &str = "classifier.";

/// The graph of `config` for a batch of `n`; `low_size` is an upsampler's input size and `size` the
/// images' height and width where they are not the configuration's. `guidance` is the classifier whose
/// gradient guides each step.
///
/// # Errors
/// Sizes that do not fit together.
pub fn sampling_graph(
    config: &ModelConfig,
    guidance: Option<&ModelConfig>,
    n: usize,
    low_size: Option<usize>,
    size: Option<[usize; 2]>,
) -> Result<Graph> {
    let mut graph = Graph::default();
    let (size, low) = sizes(config, guidance.is_some(), low_size, size)?;
    let inputs = UNetInputs::declare(&mut graph, &config.unet, n, size, low);
    let key = graph.input(ports::NOISE_KEY, Shape::vector(1, NOISE_KEY));
    let row = graph.input(ports::ROW, Shape::vector(1, ROW));
    let shape = graph.shape(inputs.x);
    let history = graph.input(ports::HISTORY, Shape { n: HISTORY * n, ..shape });
    let known = graph.input(ports::KNOWN, shape);
    let mask = graph.input(ports::MASK, shape.with_channels(1));
    let edit = graph.input(ports::EDIT, Shape::vector(1, EDIT));

    graph.begin(Segment::Noise);
    let noise = graph.push(ports::NOISE, DrawNoise { shape }, &[key], &[])?;
    graph.begin(Segment::Start);
    graph.push("start", StartFromNoise, &[inputs.x, noise], &[])?;

    graph.begin(Segment::Network);
    let x = graph.push("input", ScaleInput, &[inputs.x, row], &[])?;
    let out = unet(&mut graph, &config.unet, UNetInputs { x, ..inputs })?;

    let mut gradient = None;
    if let Some(guidance) = guidance {
        check_classifier(config, guidance)?;
        let labels = inputs.labels.unwrap_or_else(|| graph.input(ports::LABELS, Shape::vector(n, 1)));
        graph.begin(Segment::Guidance);
        let logits = classifier(&mut graph, &guidance.unet, CLASSIFIER, x, inputs.timesteps)?;
        gradient = Some(guidance_gradient(&mut graph, logits, labels, x)?);
    }

    let classified = gradient.is_some();
    if config.null_class.is_some() && !classified {
        // Classifier-free: the output of the null class takes the gradient's place (`Row::guide_freely`).
        graph.begin(Segment::Guidance);
        gradient = Some(graph.push("unconditional", Slice { first: 0, channels: shape.c }, &[out], &[])?);
    }

    graph.begin(Segment::Predict);
    let guided = gradient.is_some();
    let operands: Vec<TensorId> = [inputs.x, out, row].into_iter().chain(gradient).collect();
    let x0 = graph.push(ports::X_START, PredictXStart { guided }, &operands, &[])?;
    graph.begin(Segment::Threshold);
    graph.push("threshold", Threshold, &[x0], &[])?;
    graph.begin(Segment::Project);
    let projected = graph.push("project", Project, &[inputs.x, x0, noise, known, mask, edit, row], &[])?;
    graph.begin(Segment::Step);
    let step = SamplerStep { learn_sigma: config.diffusion.learn_sigma, guided: classified };
    let operands: Vec<TensorId> = [inputs.x, x0, out, noise, row, history, projected]
        .into_iter()
        .chain(gradient.filter(|_| classified))
        .collect();
    graph.push("step", step, &operands, &[])?;
    graph.output(ports::NOISE, noise);
    graph.output(ports::OUT, out);
    graph.output(ports::X_START, x0);
    if let Some(gradient) = gradient.filter(|_| classified) {
        graph.output(ports::GRADIENT, gradient);
    }
    Ok(graph)
}

/// The sizes of a run's images and of an upsampler's input, whose scale stays.
fn sizes(
    config: &ModelConfig,
    guided: bool,
    low_size: Option<usize>,
    size: Option<[usize; 2]>,
) -> Result<([usize; 2], Option<[usize; 2]>)> {
    let own = config.unet.image_size;
    let Some([h, w]) = size.filter(|size| *size != [own; 2]) else {
        return Ok(([own; 2], low_size.map(|low| [low; 2])));
    };
    check_size(config, guided, [h, w])?;
    let scaled = |low: usize| {
        let scale = own / low.max(1);
        (low * scale == own && h.is_multiple_of(scale) && w.is_multiple_of(scale))
            .then(|| [h / scale, w / scale])
            .ok_or_else(|| {
                Error::Options(format!("{w}x{h}: an upsampler from {low} to {own} pixels needs heights and widths that are multiples of {scale}"))
            })
    };
    let low = low_size.map(scaled).transpose()?;
    Ok(([h, w], low))
}

/// Refuses a height and a width that the network, or the classifier that guides it, does not take.
///
/// # Errors
/// [`Error::Options`] with those that it takes.
pub fn check_size(config: &ModelConfig, guided: bool, [h, w]: [usize; 2]) -> Result<()> {
    let own = config.unet.image_size;
    let step = 1usize << config.unet.channel_mult.len().saturating_sub(1).min(16);
    let problem = if [h, w] == [own; 2] {
        return Ok(());
    } else if guided {
        format!(
            "{w}x{h}: the guidance classifier takes only images of {own}x{own}; leave the size out, or the classifier"
        )
    } else if h == 0 || w == 0 || h % step != 0 || w % step != 0 || h.max(w) > MAX_SIDE {
        format!("size {w}x{h}: this model's heights and widths are multiples of {step}, at most {MAX_SIDE}")
    } else {
        return Ok(());
    };
    Err(Error::Options(problem))
}

/// A guidance classifier must be trained on the images that the model makes, at the same timesteps.
fn check_classifier(config: &ModelConfig, classifier: &ModelConfig) -> Result<()> {
    let image = |c: &ModelConfig| (c.unet.image_size, c.image_channels());
    let process = |c: &ModelConfig| (c.diffusion.diffusion_steps, c.diffusion.noise_schedule);
    let problem = if classifier.role != Role::Classifier {
        "the file given as classifier is a diffusion model; give a noisy-image classifier".into()
    } else if image(config) != image(classifier) {
        let (size, channels) = image(classifier);
        format!("the classifier takes {size}x{size} images of {channels} channels, which this model does not make")
    } else if config.unet.num_classes > 0 && config.shown_classes() != classifier.classes() {
        let (model, classes) = (config.shown_classes(), classifier.classes());
        format!(
            "the classifier tells {classes} classes apart, the model makes images of {model}; give one of the same classes"
        )
    } else if config.diffusion.process != ProcessKind::Discrete {
        "a classifier can only guide models of a discrete process".into()
    } else if process(config) != process(classifier) {
        "the classifier was trained on another noise schedule than the model".into()
    } else {
        return Ok(());
    };
    Err(Error::Options(problem))
}
