//! A convolution's input in one pass: concatenation, GroupNorm's affine map, SiLU, resampling; and `Resample` itself.

use super::dispatch::{DispatchBuilder, ValueId};
use super::fused::Prologue;
use super::lowering::Lowering;
use super::operator::{Operator, ensure, operands};
use super::resample::Resample;
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

impl Operator for Resample {
    fn name(&self) -> &'static str {
        "resample"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [x] = operands(inputs)?;
        Self::apply(Some(*self), x)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let output = lowering.output();
        let prologue = Prologue { resample: Some(*self), ..Prologue::default() };
        materialize(lowering, &prologue, output)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], _: Shape) -> Tensor {
        Self::reference(Some(*self), inputs[0])
    }
}

/// Inputs: x, the second source, the affine map, as the prologue says.
#[derive(Debug, Clone, PartialEq)]
pub struct Modulate {
    /// What is applied.
    pub prologue: Prologue,
}

impl Operator for Modulate {
    fn name(&self) -> &'static str {
        "modulate"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        ensure(inputs.len() == self.prologue.operands(), || format!("{} operands given", inputs.len()))?;
        self.prologue.shape(inputs)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let output = lowering.output();
        materialize(lowering, &self.prologue, output)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], _: Shape) -> Tensor {
        self.prologue.reference(inputs)
    }
}

/// Emits the step that evaluates `prologue` over the lowered node's first inputs into `output`.
pub(crate) fn materialize(lowering: &mut dyn Lowering, prologue: &Prologue, output: ValueId) -> Result<()> {
    materialize_scaled(lowering, prologue, output, 1.0)
}

/// The same, times `gain`.
pub(crate) fn materialize_scaled(
    lowering: &mut dyn Lowering,
    prologue: &Prologue,
    output: ValueId,
    gain: f32,
) -> Result<()> {
    let x = lowering.input_shape(0);
    let shape = prologue.shape(lowering.input_shapes()).map_err(|reason| lowering.misfit(reason))?;
    if !shape.c.is_multiple_of(4) || !x.c.is_multiple_of(4) {
        return Err(lowering.misfit(format!("the channels of {x} and {shape} must be multiples of 4")));
    }
    let kernel = prologue.define(Kernel::new("modulate"));
    let mut step = DispatchBuilder::new(kernel);
    prologue.bind(&mut step, lowering);
    step.bind("out", output)
        .word("rows", shape.rows())
        .word("height", shape.h)
        .word("width", shape.w)
        .word("source_height", x.h)
        .word("source_width", x.w)
        .word("c4", shape.c / 4)
        .word("c4_first", x.c / 4)
        .float("gain", gain)
        .tiles(shape.c / 4, shape.rows());
    lowering.emit(step)
}
