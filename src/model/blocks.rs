//! The blocks of UNet and classifier: residual blocks, attention blocks, resampling, embeddings.

use crate::config::UNetConfig;
use crate::error::Result;
use crate::graph::{Graph, TensorId};
use crate::op::{Add, AddEmbedding, Attention, Conv2d, GroupNorm, LabelEmbedding, Resample, TimestepEmbedding, Unary};

/// Builds blocks of one network into a graph.
pub struct Blocks<'a> {
    /// The graph.
    pub graph: &'a mut Graph,
    /// The network's configuration.
    pub config: &'a UNetConfig,
    /// Before every parameter's name, where two networks share a graph.
    pub prefix: &'a str,
    /// SiLU of the timestep (and class) embedding `[N, 1, 1, 4 * model_channels]`, which every block projects.
    pub embedding: TensorId,
}

/// A convolution or linear layer `name` with `out` channels; `trailing` is the weight's shape after `[out, in]`.
pub fn convolution(
    graph: &mut Graph,
    name: &str,
    conv: Conv2d,
    x: TensorId,
    out: usize,
    trailing: &[usize],
) -> Result<TensorId> {
    let mut shape = vec![out, graph.shape(x).c];
    shape.extend_from_slice(trailing);
    let weight = graph.param(format!("{name}.weight"), &shape);
    let bias = graph.param(format!("{name}.bias"), &[out]);
    graph.push(name, conv, &[x], &[weight, bias])
}

/// A linear layer `name`.
pub fn linear(graph: &mut Graph, name: &str, x: TensorId, out: usize) -> Result<TensorId> {
    convolution(graph, name, Conv2d::linear(), x, out, &[])
}

/// A group norm `name`; with an embedding `[N, 1, 1, scale C | shift C]`, an adaptive one.
pub fn group_norm(graph: &mut Graph, name: &str, x: TensorId, embedding: Option<TensorId>) -> Result<TensorId> {
    let channels = graph.shape(x).c;
    let weight = graph.param(format!("{name}.weight"), &[channels]);
    let bias = graph.param(format!("{name}.bias"), &[channels]);
    let operands: Vec<TensorId> = [x].into_iter().chain(embedding).collect();
    graph.push(name, GroupNorm { scale_shift: embedding.is_some() }, &operands, &[weight, bias])
}

/// The embedding of timesteps `[N, 1, 1, 1]` and, where the network is conditional, labels `[N, 1, 1, 1]`; activated.
pub fn embedding(
    graph: &mut Graph,
    config: &UNetConfig,
    prefix: &str,
    timesteps: TensorId,
    labels: Option<TensorId>,
) -> Result<TensorId> {
    let width = 4 * config.model_channels;
    let sinusoid = TimestepEmbedding { width: config.model_channels };
    let x = graph.push(format!("{prefix}timesteps"), sinusoid, &[timesteps], &[])?;
    let x = linear(graph, &format!("{prefix}time_embed.0"), x, width)?;
    let x = graph.push(format!("{prefix}time_embed.1"), Unary::SILU, &[x], &[])?;
    let mut x = linear(graph, &format!("{prefix}time_embed.2"), x, width)?;
    if let Some(labels) = labels {
        let table = graph.param(format!("{prefix}label_emb.weight"), &[config.num_classes, width]);
        x = graph.push(format!("{prefix}label_emb"), LabelEmbedding, &[x, labels], &[table])?;
    }
    graph.push(format!("{prefix}emb_layers.0"), Unary::SILU, &[x], &[])
}

impl Blocks<'_> {
    /// The network's first convolution.
    pub fn stem(&mut self, x: TensorId) -> Result<TensorId> {
        let (name, out) = (format!("{}input_blocks.0.0", self.prefix), self.config.width(0));
        convolution(self.graph, &name, Conv2d::new(3, 1), x, out, &[3, 3])
    }

    /// GroupNorm, SiLU, `[up/down]`, conv; + timestep embedding; GroupNorm, SiLU, conv; + skip.
    pub fn residual(&mut self, name: &str, x: TensorId, out: usize, resample: Option<Resample>) -> Result<TensorId> {
        let g = &mut *self.graph;
        let name = format!("{}{name}", self.prefix);
        let channels = g.shape(x).c;
        let conv3 = || Conv2d::new(3, 1);
        let mut h = group_norm(g, &format!("{name}.in_layers.0"), x, None)?;
        h = g.push(format!("{name}.in_layers.1"), Unary::SILU, &[h], &[])?;
        let mut skip = x;
        if let Some(resample) = resample {
            h = g.push(format!("{name}.h_upd"), resample, &[h], &[])?;
            skip = g.push(format!("{name}.x_upd"), resample, &[x], &[])?;
        }
        h = convolution(g, &format!("{name}.in_layers.2"), conv3(), h, out, &[3, 3])?;
        let projection = format!("{name}.emb_layers.1");
        if self.config.use_scale_shift_norm {
            let e = linear(g, &projection, self.embedding, 2 * out)?;
            h = group_norm(g, &format!("{name}.out_layers.0"), h, Some(e))?;
        } else {
            let e = linear(g, &projection, self.embedding, out)?;
            h = g.push(format!("{name}.add_emb"), AddEmbedding, &[h, e], &[])?;
            h = group_norm(g, &format!("{name}.out_layers.0"), h, None)?;
        }
        h = g.push(format!("{name}.out_layers.1"), Unary::SILU, &[h], &[])?;
        h = convolution(g, &format!("{name}.out_layers.3"), conv3(), h, out, &[3, 3])?;
        if channels != out {
            skip = convolution(g, &format!("{name}.skip_connection"), Conv2d::new(1, 1), skip, out, &[1, 1])?;
        }
        g.push(name, Add, &[skip, h], &[])
    }

    /// GroupNorm, qkv, multi-head attention, projection; + x.
    pub fn attention(&mut self, name: &str, x: TensorId) -> Result<TensorId> {
        let g = &mut *self.graph;
        let name = format!("{}{name}", self.prefix);
        let channels = g.shape(x).c;
        let heads = self.config.heads(channels);
        let attention = Attention { heads, new_order: self.config.use_new_attention_order };
        let h = group_norm(g, &format!("{name}.norm"), x, None)?;
        let ones: &[usize] = if self.config.attention_conv2d { &[1, 1] } else { &[1] };
        let h = convolution(g, &format!("{name}.qkv"), Conv2d::new(1, 1), h, 3 * channels, ones)?;
        let h = g.push(format!("{name}.attention"), attention, &[h], &[])?;
        let h = convolution(g, &format!("{name}.proj_out"), Conv2d::new(1, 1), h, channels, ones)?;
        g.push(name, Add, &[x, h], &[])
    }

    /// 2x downsampling between two levels: a residual block, or a strided convolution.
    pub fn downsample(&mut self, name: &str, x: TensorId) -> Result<TensorId> {
        let channels = self.graph.shape(x).c;
        if self.config.resblock_updown {
            return self.residual(name, x, channels, Some(Resample::Down));
        }
        let name = format!("{}{name}.op", self.prefix);
        convolution(self.graph, &name, Conv2d::new(3, 2), x, channels, &[3, 3])
    }

    /// 2x upsampling between two levels: a residual block, or nearest neighbour and a convolution.
    pub fn upsample(&mut self, name: &str, x: TensorId) -> Result<TensorId> {
        let channels = self.graph.shape(x).c;
        if self.config.resblock_updown {
            return self.residual(name, x, channels, Some(Resample::Up));
        }
        let name = format!("{}{name}", self.prefix);
        let h = self.graph.push(format!("{name}.nearest"), Resample::Up, &[x], &[])?;
        convolution(self.graph, &format!("{name}.conv"), Conv2d::new(3, 1), h, channels, &[3, 3])
    }

    /// The encoder. Returns every block's output, in order.
    pub fn encoder(&mut self, x: TensorId) -> Result<Vec<TensorId>> {
        let mut outputs = vec![self.stem(x)?];
        let (mut h, mut downsampling) = (outputs[0], 1);
        let levels = self.config.channel_mult.len();
        for level in 0..levels {
            for _ in 0..self.config.num_res_blocks {
                let block = outputs.len();
                h = self.residual(&format!("input_blocks.{block}.0"), h, self.config.width(level), None)?;
                if self.config.attention_at(downsampling) {
                    h = self.attention(&format!("input_blocks.{block}.1"), h)?;
                }
                outputs.push(h);
            }
            if level + 1 < levels {
                h = self.downsample(&format!("input_blocks.{}.0", outputs.len()), h)?;
                outputs.push(h);
                downsampling *= 2;
            }
        }
        Ok(outputs)
    }

    /// The middle: a residual block, attention, a residual block.
    pub fn middle(&mut self, x: TensorId) -> Result<TensorId> {
        let channels = self.graph.shape(x).c;
        let h = self.residual("middle_block.0", x, channels, None)?;
        let h = self.attention("middle_block.1", h)?;
        self.residual("middle_block.2", h, channels, None)
    }
}
