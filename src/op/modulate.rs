//! Concatenation, GroupNorm's affine map, SiLU and resampling in one pass, where no convolution applies them; and the op
//! `Resample`.

use super::dispatch::{DispatchBuilder, ValueId};
use super::fused::Prologue;
use super::lowering::Lowering;
use super::operator::{Operator, ensure, operands};
use super::probe::{Probe, noise};
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
        ensure(x.c % 4 == 0, || format!("{} channels are not a multiple of 4", x.c))?;
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

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        Some(Probe::new(*self, vec![noise(Resample::before(Some(*self), Shape::new(2, 6, 6, 8)))]))
    }
}

/// Inputs: x, the second source, the affine map, as the prologue says.
#[derive(Debug, Clone, PartialEq)]
pub struct Modulate {
    /// What is applied.
    pub prologue: Prologue,
    /// What the result is multiplied by.
    pub gain: f32,
}

impl Modulate {
    /// The gradient of a resampling with respect to its input: the opposite resampling, times 4 or a quarter.
    pub fn resample_grad(forward: Resample) -> Self {
        let (opposite, gain) = match forward {
            Resample::Up => (Resample::Down, 4.0),
            Resample::Down => (Resample::Up, 0.25),
        };
        Self { prologue: Prologue { resample: Some(opposite), ..Prologue::default() }, gain }
    }
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
        let operands: Vec<ValueId> = (0..self.prologue.operands()).map(|i| lowering.input(i)).collect();
        let output = lowering.output();
        emit(lowering, &self.prologue, &operands, output, self.gain)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], _: Shape) -> Tensor {
        let mut result = self.prologue.reference(inputs);
        result.data.iter_mut().for_each(|v| *v *= self.gain);
        result
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        Some(Probe::new(self.clone(), self.prologue.sources(Shape::new(2, 6, 6, 8))))
    }
}

/// Emits the dispatch that evaluates `prologue` over the lowered node's first inputs into `output`.
pub(crate) fn materialize(lowering: &mut dyn Lowering, prologue: &Prologue, output: ValueId) -> Result<()> {
    let operands: Vec<ValueId> = (0..prologue.operands()).map(|i| lowering.input(i)).collect();
    emit(lowering, prologue, &operands, output, 1.0)
}

/// Emits the dispatch that evaluates `prologue` over `operands`, of which the sources are the lowered node's first inputs,
/// times `gain`, into `output`.
pub(crate) fn emit(
    lowering: &mut dyn Lowering,
    prologue: &Prologue,
    operands: &[ValueId],
    output: ValueId,
    gain: f32,
) -> Result<()> {
    let x = lowering.input_shape(0);
    let sources = Prologue { affine: false, ..prologue.clone() };
    let shape = sources.shape(lowering.input_shapes()).map_err(|reason| lowering.misfit(reason))?;
    let mut dispatch = DispatchBuilder::new(prologue.define(Kernel::new("modulate")));
    prologue.bind_values(&mut dispatch, operands);
    dispatch
        .bind("out", output)
        .word("rows", shape.rows())
        .word("height", shape.h)
        .word("width", shape.w)
        .word("source_height", x.h)
        .word("source_width", x.w)
        .word("c4", shape.c / 4)
        .word("c4_first", x.c / 4)
        .float("gain", gain)
        .tiles(shape.c / 4, shape.rows());
    lowering.emit(dispatch)
}
