//! Sums: of two tensors, and of a tensor and a vector per sample. Most are fused into a convolution's epilogue.

use super::dispatch::DispatchBuilder;
use super::lowering::Lowering;
use super::operator::{Operator, ensure, operands};
use super::probe::{Probe, TINY, noise};
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// Inputs: two tensors of one shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Add;

impl Operator for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [a, b] = operands(inputs)?;
        ensure(a == b, || format!("{a} and {b} differ"))?;
        Ok(a)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        lower(lowering, 0)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let data = inputs[0].data.iter().zip(&inputs[1].data).map(|(a, b)| a + b).collect();
        Tensor { shape: output, data }
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        Some(Probe::new(Self, vec![noise(TINY), noise(TINY)]))
    }
}

/// Inputs: x, a vector `[N, 1, 1, C]`.
#[derive(Debug, Clone, PartialEq)]
pub struct AddEmbedding;

impl Operator for AddEmbedding {
    fn name(&self) -> &'static str {
        "add_embedding"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [x, embedding] = operands(inputs)?;
        ensure(embedding == Shape::vector(x.n, x.c), || format!("the embedding is {embedding} for {x}"))?;
        Ok(x)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let pixels = lowering.output_shape().pixels();
        lower(lowering, pixels)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        Tensor::from_fn(output, |n, y, x, c| inputs[0].at(n, y, x, c) + inputs[1].at(n, 0, 0, c))
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        Some(Probe::new(Self, vec![noise(TINY), noise(Shape::vector(TINY.n, TINY.c))]))
    }
}

/// `pixels` is 0 where both operands have the same shape.
fn lower(lowering: &mut dyn Lowering, pixels: usize) -> Result<()> {
    let shape = lowering.output_shape();
    let mut dispatch = DispatchBuilder::new(Kernel::new("add").with("EMBEDDING", (pixels > 0) as i64));
    dispatch
        .bind("a", lowering.input(0))
        .bind("b", lowering.input(1))
        .bind("out", lowering.output())
        .word("pixels", pixels)
        .word("channels", shape.c)
        .elements(shape.elements());
    lowering.emit(dispatch)
}
