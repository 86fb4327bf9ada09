//! Multi-head self-attention over the pixels of each sample, from one tensor of queries, keys and values.

use super::dispatch::DispatchBuilder;
use super::legal;
use super::lowering::Lowering;
use super::operator::{Operator, ensure, operands};
use super::probe::{Probe, noise};
use super::variant::{AttentionTile, Variant};
use crate::device::Caps;
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// Inputs: qkv `[N, H, W, 3C]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// Heads.
    pub heads: usize,
    /// Rows of qkv are (q|k|v)(head)(channel); else the legacy (head)(q|k|v)(channel).
    pub new_order: bool,
}

impl Attention {
    /// Distances in a row of qkv: of two heads, of a head's query and key, of its query and value.
    pub(crate) fn strides(&self, channels: usize) -> (usize, usize, usize) {
        let head = channels / self.heads;
        if self.new_order { (head, channels, 2 * channels) } else { (3 * head, head, 2 * head) }
    }
}

impl Attention {
    /// The parameters and the grid of a kernel.
    pub(crate) fn describe(&self, dispatch: &mut DispatchBuilder, out: Shape, tile: AttentionTile, work: u64) {
        let (head, key, value) = self.strides(out.c);
        dispatch
            .word("tokens", out.pixels())
            .word("width4", 3 * out.c / 4)
            .word("channels4", out.c / 4)
            .word("head4", head / 4)
            .word("key4", key / 4)
            .word("value4", value / 4)
            .word("heads", self.heads)
            .float("scale", 1.0 / ((out.c / self.heads) as f32).sqrt());
        let rows = match tile.workgroup {
            true => tile.shared(out.c / self.heads / 4).1,
            false => tile.workers() * tile.queries,
        };
        let blocks = out.pixels().div_ceil(rows);
        let parts = tile.count(out.pixels());
        dispatch.word("parts", parts).word("share", tile.share(out.pixels())).word("distance", out.elements() / 4);
        dispatch.lines(1, blocks, blocks * parts * self.heads * out.n, work);
    }

    /// The kernel of tiles in workgroup memory, in one of its modes.
    pub(crate) fn tile(&self, out: Shape, tile: AttentionTile, mode: i64) -> Kernel {
        let head4 = out.c / self.heads / 4;
        let kernel = Kernel::new("attention_tile").with("MODE", mode).with("ROWS", tile.queries as i64);
        let kernel = kernel.with("D4", head4 as i64).with("LANES", tile.shared(head4).0 as i64);
        kernel.with("SPLIT", tile.parts > 1)
    }
}

impl Attention {
    /// Some tokens, more than a tile of the keys, of at most two heads of the same channels, for which kernels are specialised.
    pub(crate) fn few_heads(&self, output: Shape) -> (Self, Shape) {
        let heads = self.heads.clamp(1, 2);
        let channels = output.c / self.heads.max(1) * heads;
        (Self { heads, ..self.clone() }, Shape::new(2, 3, 11, channels))
    }
}

impl Operator for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [qkv] = operands(inputs)?;
        let channels = qkv.c / 3;
        ensure(qkv.c % 3 == 0 && self.heads > 0 && channels % (4 * self.heads) == 0, || {
            format!("{channels} channels cannot form {} heads of a multiple of 4 channels", self.heads)
        })?;
        Ok(qkv.with_channels(channels))
    }

    fn variants(&self, _: &[Shape], output: Shape, caps: &Caps) -> Vec<Variant> {
        legal::attention(output, self.heads, false, caps)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let out = lowering.output_shape();
        let size = out.c / self.heads;
        let tile = AttentionTile::of(lowering.variant());
        // It has no weights: how those are stored makes no other kernel.
        let f16 = if lowering.f16_products() == 2 { 2 } else { 0 };
        let kernel = match tile.workgroup {
            true => self.tile(out, tile, 0),
            false => tile.define(Kernel::new("attention").with("D4", (size / 4) as i64).with("F16", f16)),
        };
        let mut dispatch = DispatchBuilder::new(kernel);
        dispatch.bind("qkv", lowering.input(0));
        self.describe(&mut dispatch, out, tile, self.flops(&[], out));
        if tile.parts == 1 {
            dispatch.bind("out", lowering.output());
            return lowering.emit(dispatch);
        }
        let parts = tile.count(out.pixels());
        let sums = lowering.temporary("sums", parts * out.elements());
        let softmaxes = lowering.temporary("softmaxes", 2 * parts * out.n * self.heads * out.pixels());
        dispatch.bind("out", sums).bind("softmaxes", softmaxes);
        lowering.emit(dispatch)?;
        let mut sum = DispatchBuilder::new(Kernel::new("attention_sum"));
        sum.bind("sums", sums).bind("softmaxes", softmaxes).bind("out", lowering.output());
        sum.word("channels4", out.c / 4).word("tokens", out.pixels()).word("heads", self.heads).word("parts", parts);
        sum.elements(out.elements() / 4);
        lowering.emit(sum)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let (qkv, tokens, size) = (inputs[0], output.pixels(), output.c / self.heads);
        let (head, key, value) = self.strides(output.c);
        let mut result = Tensor { shape: output, data: vec![0.0; output.elements()] };
        for n in 0..output.n {
            let row = |token: usize| &qkv.data[(n * tokens + token) * 3 * output.c..][..3 * output.c];
            for h in 0..self.heads {
                for t in 0..tokens {
                    let q = &row(t)[h * head..][..size];
                    let dot = |s: usize| {
                        let k = &row(s)[h * head + key..][..size];
                        q.iter().zip(k).map(|(a, b)| *a as f64 * *b as f64).sum::<f64>() / (size as f64).sqrt()
                    };
                    let scores: Vec<f64> = (0..tokens).map(dot).collect();
                    let peak = scores.iter().copied().fold(f64::MIN, f64::max);
                    let weights: Vec<f64> = scores.iter().map(|s| (s - peak).exp()).collect();
                    let total: f64 = weights.iter().sum();
                    for d in 0..size {
                        let sum: f64 = (0..tokens).map(|s| weights[s] * row(s)[h * head + value + d] as f64).sum();
                        result.data[(n * tokens + t) * output.c + h * size + d] = (sum / total) as f32;
                    }
                }
            }
        }
        result
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], output: Shape) -> Option<Probe<Self>> {
        let (op, out) = self.few_heads(output);
        Some(Probe::new(op, vec![noise(out.with_channels(3 * out.c))]))
    }

    fn flops(&self, _: &[Shape], output: Shape) -> u64 {
        4 * output.elements() as u64 * output.pixels() as u64
    }
}
