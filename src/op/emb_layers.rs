//! The linear layers that read one vector per sample, in one dispatch: emb_layers.1 of every residual block, which project
//! the embedding of the timestep (and class).
//!
//! There is one per residual block, and each by itself is too small to keep a device busy.

use super::conv2d::Conv2d;
use super::dispatch::DispatchBuilder;
use super::lowering::{Layout, Lowering};
use super::operator::{Operator, ensure, operands};
use super::probe::{Probe, noise};
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// Each layer's result begins at a multiple of this many elements: bindings begin at multiples of 256 bytes.
const ALIGNMENT: usize = 64;

/// Inputs: x `[N, 1, 1, K]`. Parameters: weight `[out, K]`, bias `[out]` of each layer in turn. The result holds each
/// layer's `[N, out]`, one after the other; [`EmbLayer`] is one of them.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbLayers {
    /// Output channels of each layer.
    pub channels: Vec<usize>,
}

/// The result of one of [`EmbLayers`], where it lies: nothing is computed or copied. Inputs: theirs.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbLayer {
    /// Its first element in theirs.
    pub first: usize,
    /// Samples.
    pub samples: usize,
    /// Output channels.
    pub channels: usize,
}

impl EmbLayers {
    /// Samples per invocation, at most: each weight is read once for all of them.
    pub const ROWS: usize = 8;

    /// Whether a node is one that can be gathered: a plain linear layer of a vector per sample, in whole vec4s.
    pub fn takes(op: &Conv2d, input: Shape, output: Shape, params: usize) -> bool {
        let vectors = input.pixels() == 1 && input.c.is_multiple_of(4) && output.c.is_multiple_of(4);
        *op == Conv2d::linear() && vectors && params == 2
    }

    /// Each layer's part of the result for `samples`.
    pub fn layers(&self, samples: usize) -> Vec<EmbLayer> {
        let mut first = 0;
        let layer = |channels: &usize| {
            let layer = EmbLayer { first, samples, channels: *channels };
            first += (samples * channels).next_multiple_of(ALIGNMENT);
            layer
        };
        self.channels.iter().map(layer).collect()
    }

    /// Layers `from..to` as one dispatch: their weights in one packed buffer, their biases in another.
    fn lower_some(&self, lowering: &mut dyn Lowering, from: usize, to: usize) -> Result<()> {
        let x = lowering.input_shape(0);
        let (mut columns, mut place) = (Vec::new(), 0);
        for layer in &self.layers(x.n)[from..to] {
            let n4 = layer.channels / 4;
            for column in 0..n4 {
                columns.push([place + column, n4, layer.first / 4 + column, 0]);
            }
            place += x.c * n4;
        }
        let words = columns.iter().flatten().map(|word| f32::from_bits(*word as u32)).collect();
        let weights: Vec<usize> = (from..to).map(|i| 2 * i).collect();
        let biases: Vec<usize> = (from..to).map(|i| 2 * i + 1).collect();
        let rows = x.n.min(Self::ROWS);
        let kernel = Kernel::new("emb_layers").with("F16", lowering.f16()).with("ROWS", rows as i64);
        let mut dispatch = DispatchBuilder::new(kernel);
        dispatch
            .bind("x", lowering.input(0))
            .bind("columns", lowering.constant(words))
            .bind("w", lowering.packed_weights(&weights, Layout::Taps))
            .bind("bias", lowering.packed_weights(&biases, Layout::Vector))
            .bind("out", lowering.output())
            .word("count", columns.len())
            .word("samples", x.n)
            .word("k4", x.c / 4)
            .groups([columns.len().div_ceil(64), x.n.div_ceil(rows), 1]);
        lowering.emit(dispatch)
    }
}

impl Operator for EmbLayers {
    fn name(&self) -> &'static str {
        "emb_layers"
    }

    fn shape(&self, inputs: &[Shape], params: &[&[usize]]) -> Result<Shape, String> {
        let [x] = operands(inputs)?;
        ensure(x.pixels() == 1 && x.c.is_multiple_of(4), || format!("{x} is not a vector per sample"))?;
        let fits = |(i, channels): (usize, &usize)| {
            let bias = params.get(2 * i + 1).is_some_and(|bias| **bias == [*channels]);
            bias && params[2 * i] == [*channels, x.c] && channels.is_multiple_of(4)
        };
        let all = params.len() == 2 * self.channels.len() && self.channels.iter().enumerate().all(fits);
        ensure(all, || format!("parameters {params:?} for layers of {:?} channels", self.channels))?;
        let end = self.layers(x.n).last().map_or(0, |layer| layer.first + layer.samples * layer.channels);
        Ok(Shape::vector(1, end))
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let x = lowering.input_shape(0);
        let width = if lowering.f16() == 0 { 4 } else { 2 };
        let bytes: Vec<u64> = self.channels.iter().map(|channels| width * (x.c * channels) as u64).collect();
        let mut from = 0;
        while from < bytes.len() {
            // A binding has a limit: beyond it, another dispatch begins.
            let to = from + lowering.packable(&bytes[from..]);
            self.lower_some(lowering, from, to)?;
            from = to;
        }
        Ok(())
    }

    fn reference(&self, inputs: &[&Tensor], params: &[&[f32]], output: Shape) -> Tensor {
        let x = inputs[0];
        let mut data = vec![0.0; output.elements()];
        for (i, layer) in self.layers(x.shape.n).into_iter().enumerate() {
            let shape = Shape::vector(layer.samples, layer.channels);
            let y = Conv2d::linear().reference(&[x], &params[2 * i..2 * i + 2], shape);
            data[layer.first..layer.first + y.data.len()].copy_from_slice(&y.data);
        }
        Tensor { shape: output, data }
    }

    fn probe(&self, inputs: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        // More samples than one invocation handles, and layers whose results leave no gap.
        let n = inputs.first()?.n.min(Self::ROWS);
        let probe = Probe::new(Self { channels: vec![64, 128] }, vec![noise(Shape::vector(n, 12))]);
        Some(probe.with_params(&[&[64, 12], &[64], &[128, 12], &[128]]))
    }

    fn flops(&self, inputs: &[Shape], _: Shape) -> u64 {
        let channels: usize = self.channels.iter().sum();
        inputs.first().map_or(0, |x| 2 * (x.n * x.c * channels) as u64)
    }
}

impl Operator for EmbLayer {
    fn name(&self) -> &'static str {
        "emb_layer"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [all] = operands(inputs)?;
        let end = self.first + self.samples * self.channels;
        ensure(end <= all.elements(), || format!("elements {} to {end} of {all}", self.first))?;
        Ok(Shape::vector(self.samples, self.channels))
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        lowering.part(0, self.first)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let data = inputs[0].data[self.first..self.first + output.elements()].to_vec();
        Tensor { shape: output, data }
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        None
    }
}
