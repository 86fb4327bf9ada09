//! Joins two tensors along the channels. Consumers mostly read two sources instead.

use super::{Operator, Prologue, modulate::materialize};
use crate::error::Result;
use crate::graph::grad::Backward;
use crate::graph::{Shape, Tensor, TensorId};
use crate::plan::lowering::Lowering;

/// Inputs: two tensors of one grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Concat;

impl Concat {
    fn prologue() -> Prologue {
        Prologue { two_sources: true, ..Prologue::default() }
    }
}

impl Operator for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        Self::prologue().shape(inputs)
    }

    fn gradient(&self, backward: &mut Backward<'_>, operand: usize) -> Result<TensorId> {
        let [first, second] = [0, 1].map(|i| backward.graph.shape(backward.node.inputs[i]).c);
        let (first, channels) = if operand == 0 { (0, first) } else { (first, second) };
        backward.push(super::Slice { first, channels }, &[backward.incoming], &[])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let output = lowering.output();
        materialize(lowering, &Self::prologue(), output)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], _: Shape) -> Tensor {
        Self::prologue().reference(inputs)
    }
}
