//! The diffusion UNet and its super-resolution variant (Dhariwal & Nichol 2021; `UNetModel` and `SuperResModel` of the
//! public code).

use super::blocks::{Blocks, convolution, embedding, group_norm};
use crate::config::UNetConfig;
use crate::error::{Error, Result};
use crate::graph::{Graph, TensorId};
use crate::op::{Concat, ConcatLowRes, Conv2d, Unary};
use crate::tensor::Shape;

/// What a UNet reads.
#[derive(Debug, Clone, Copy)]
pub struct UNetInputs {
    /// x_t `[N, H, W, C]`.
    pub x: TensorId,
    /// Original timesteps `[N, 1, 1, 1]`.
    pub timesteps: TensorId,
    /// Classes `[N, 1, 1, 1]`, for a conditional model.
    pub labels: Option<TensorId>,
    /// The low-resolution image `[N, h, w, C]`, for an upsampler.
    pub low_res: Option<TensorId>,
}

impl UNetInputs {
    /// Declares the inputs that `config` needs, for a batch of `n` of height and width `size`; `low_size` is an
    /// upsampler's input size.
    pub fn declare(
        graph: &mut Graph,
        config: &UNetConfig,
        n: usize,
        [h, w]: [usize; 2],
        low_size: Option<[usize; 2]>,
    ) -> Self {
        let all = config.in_channels;
        let channels = if low_size.is_some() { all / 2 } else { all };
        Self {
            x: graph.input("x", Shape::new(n, h, w, channels)),
            timesteps: graph.input("timesteps", Shape::vector(n, 1)),
            labels: (config.num_classes > 0).then(|| graph.input("labels", Shape::vector(n, 1))),
            low_res: low_size.map(|[h, w]| graph.input("low_res", Shape::new(n, h, w, channels))),
        }
    }
}

/// Appends the UNet; returns its output `[N, H, W, out_channels]`.
///
/// # Errors
/// [`Error::Config`] where the configuration's sizes do not fit together.
pub fn unet(graph: &mut Graph, config: &UNetConfig, inputs: UNetInputs) -> Result<TensorId> {
    let mut x = inputs.x;
    if let Some(low_res) = inputs.low_res {
        x = graph.push("low_res", ConcatLowRes, &[x, low_res], &[])?;
    }
    let embedding = embedding(graph, config, "", inputs.timesteps, inputs.labels)?;
    let mut blocks = Blocks { graph, config, prefix: "", embedding };
    let mut skips = blocks.encoder(x)?;
    let mut h = skips.last().copied().ok_or_else(|| Error::Config("channel_mult is empty".into()))?;
    h = blocks.middle(h)?;
    let levels = config.channel_mult.len();
    let mut downsampling = 1usize << (levels - 1);
    let mut block = 0;
    for level in (0..levels).rev() {
        for i in 0..=config.num_res_blocks {
            let name = |layer: usize| format!("output_blocks.{block}.{layer}");
            let skip = skips.pop().ok_or_else(|| Error::Config("the UNet's encoder and decoder differ".into()))?;
            h = blocks.graph.push(format!("output_blocks.{block}.concat"), Concat, &[h, skip], &[])?;
            h = blocks.residual(&name(0), h, config.width(level), None)?;
            let mut layer = 1;
            if config.attention_at(downsampling) {
                h = blocks.attention(&name(layer), h)?;
                layer += 1;
            }
            if level > 0 && i == config.num_res_blocks {
                h = blocks.upsample(&name(layer), h)?;
                downsampling /= 2;
            }
            block += 1;
        }
    }
    h = group_norm(graph, "out.0", h, None)?;
    h = graph.push("out.1", Unary::SILU, &[h], &[])?;
    convolution(graph, "out.2", Conv2d::new(3, 1), h, config.out_channels, &[3, 3])
}
