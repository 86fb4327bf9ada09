//! Joins two tensors along the channels. Consumers mostly read two sources instead.

use super::fused::Prologue;
use super::lowering::Lowering;
use super::modulate::materialize;
use super::operator::Operator;
use super::probe::{Probe, TINY4, noise};
use crate::error::Result;
use crate::tensor::{Shape, Tensor};

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

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let output = lowering.output();
        materialize(lowering, &Self::prologue(), output)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], _: Shape) -> Tensor {
        Self::prologue().reference(inputs)
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        Some(Probe::new(Self, vec![noise(TINY4), noise(TINY4)]))
    }
}
