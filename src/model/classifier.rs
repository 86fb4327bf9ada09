//! The noisy-image classifier (Dhariwal & Nichol 2021, section 4; `EncoderUNetModel` of the public code) and the
//! gradient of its log probability with respect to the image.

use super::blocks::{Blocks, convolution, embedding, group_norm, linear};
use crate::config::{Pool, UNetConfig};
use crate::error::{Error, Result};
use crate::graph::{Graph, TensorId, grad};
use crate::op::pooling::Pooled;
use crate::op::{Attention, Concat, Conv2d, LogSoftmaxGrad, Unary};

/// Width of the hidden layer of the spatial heads.
const HIDDEN: usize = 2048;

/// Appends the classifier of x `[N, H, W, C]` at timesteps `[N, 1, 1, 1]`; returns its logits `[N, 1, 1, classes]`.
/// `prefix` goes before every parameter's name, for a graph that also holds a UNet.
///
/// # Errors
/// [`Error::Config`] where the configuration's sizes do not fit together, or no head is configured.
pub fn classifier(
    graph: &mut Graph,
    config: &UNetConfig,
    prefix: &str,
    x: TensorId,
    timesteps: TensorId,
) -> Result<TensorId> {
    let pool = config.pool.ok_or_else(|| Error::Config("a classifier needs classifier_pool".into()))?;
    let embedding = embedding(graph, config, prefix, timesteps, None)?;
    let mut blocks = Blocks { graph, config, prefix, embedding };
    let mut outputs = blocks.encoder(x)?;
    let last = outputs.last().copied().ok_or_else(|| Error::Config("channel_mult is empty".into()))?;
    let middle = blocks.middle(last)?;
    outputs.push(middle);
    let name = |layer: &str| format!("{prefix}out.{layer}");
    let classes = config.out_channels;
    match pool {
        Pool::Attention => {
            let h = normalized(graph, &name("0"), &name("1"), middle)?;
            attention_pool(graph, config, &name("2"), h)
        }
        Pool::Adaptive => {
            let h = normalized(graph, &name("0"), &name("1"), middle)?;
            let h = graph.push(name("2"), Pooled::Mean, &[h], &[])?;
            convolution(graph, &name("3"), Conv2d::new(1, 1), h, classes, &[1, 1])
        }
        Pool::Spatial => {
            let h = means(graph, &name("means"), &outputs)?;
            let h = linear(graph, &name("0"), h, HIDDEN)?;
            let h = graph.push(name("1"), Unary::RELU, &[h], &[])?;
            linear(graph, &name("2"), h, classes)
        }
        Pool::SpatialV2 => {
            let h = means(graph, &name("means"), &outputs)?;
            let h = linear(graph, &name("0"), h, HIDDEN)?;
            let h = normalized(graph, &name("1"), &name("2"), h)?;
            linear(graph, &name("3"), h, classes)
        }
    }
}

/// Appends d sum_n log `softmax(logits_n)[label_n]` / d x.
///
/// # Errors
/// None for a classifier's logits.
pub fn guidance_gradient(graph: &mut Graph, logits: TensorId, labels: TensorId, x: TensorId) -> Result<TensorId> {
    let seed = graph.push("log_softmax", LogSoftmaxGrad, &[logits, labels], &[])?;
    grad::gradient(graph, logits, seed, x)
}

fn normalized(graph: &mut Graph, norm: &str, activation: &str, x: TensorId) -> Result<TensorId> {
    let h = group_norm(graph, norm, x, None)?;
    graph.push(activation, Unary::SILU, &[h], &[])
}

/// The means of every block's output, joined.
fn means(graph: &mut Graph, name: &str, outputs: &[TensorId]) -> Result<TensorId> {
    let mut joined: Option<TensorId> = None;
    for output in outputs {
        let mean = graph.push(name, Pooled::Mean, &[*output], &[])?;
        joined = Some(match joined {
            None => mean,
            Some(h) => graph.push(name, Concat, &[h, mean], &[])?,
        });
    }
    joined.ok_or_else(|| Error::Config("the classifier has no blocks".into()))
}

/// CLIP's attention pooling: the query of the mean token, and its output is the result. Its qkv is in the new order.
fn attention_pool(graph: &mut Graph, config: &UNetConfig, name: &str, x: TensorId) -> Result<TensorId> {
    let shape = graph.shape(x);
    let positions = graph.param(format!("{name}.positional_embedding"), &[shape.c, shape.pixels() + 1]);
    let h = graph.push(format!("{name}.tokens"), Pooled::Tokens, &[x], &[positions])?;
    let h = convolution(graph, &format!("{name}.qkv_proj"), Conv2d::new(1, 1), h, 3 * shape.c, &[1])?;
    let attention = Attention { heads: config.heads(shape.c), new_order: true };
    let h = graph.push(format!("{name}.attention"), attention, &[h], &[])?;
    let h = graph.push(format!("{name}.first"), Pooled::FirstToken, &[h], &[])?;
    convolution(graph, &format!("{name}.c_proj"), Conv2d::new(1, 1), h, config.out_channels, &[1])
}
