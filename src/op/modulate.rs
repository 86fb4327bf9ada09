//! A convolution's input in one pass: concatenation, GroupNorm's affine map, SiLU, resampling; and `Resample` itself.

use super::{Operator, Prologue, ensure, operands};
use crate::error::Result;
use crate::graph::grad::Backward;
use crate::graph::{Shape, Tensor, TensorId};
use crate::plan::lowering::Lowering;
use crate::plan::recording::ValueId;
use crate::shader::Kernel;

/// Doubling by nearest neighbour, or halving by 2x2 averages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resample {
    /// Each pixel becomes 2 x 2.
    Up,
    /// Each 2 x 2 becomes its mean.
    Down,
}

impl Resample {
    /// The shader's code for it; 0 is none.
    pub fn code(resample: Option<Self>) -> i64 {
        match resample {
            None => 0,
            Some(Self::Up) => 1,
            Some(Self::Down) => 2,
        }
    }

    /// The resampled shape.
    ///
    /// # Errors
    /// Halving an odd size.
    pub fn apply(resample: Option<Self>, s: Shape) -> Result<Shape, String> {
        match resample {
            None => Ok(s),
            Some(Self::Up) => Ok(Shape { h: 2 * s.h, w: 2 * s.w, ..s }),
            Some(Self::Down) => {
                ensure(s.h.is_multiple_of(2) && s.w.is_multiple_of(2), || format!("{s} cannot be halved"))?;
                Ok(Shape { h: s.h / 2, w: s.w / 2, ..s })
            }
        }
    }

    /// The plain meaning.
    pub fn reference(resample: Option<Self>, x: &Tensor) -> Tensor {
        let s = x.shape;
        match resample {
            None => x.clone(),
            Some(Self::Up) => {
                Tensor::from_fn(Shape { h: 2 * s.h, w: 2 * s.w, ..s }, |n, y, column, c| x.at(n, y / 2, column / 2, c))
            }
            Some(Self::Down) => Tensor::from_fn(Shape { h: s.h / 2, w: s.w / 2, ..s }, |n, y, column, c| {
                let at = |dy, dx| x.at(n, 2 * y + dy, 2 * column + dx, c);
                0.25 * (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1))
            }),
        }
    }
}

impl Operator for Resample {
    fn name(&self) -> &'static str {
        "resample"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [x] = operands(inputs)?;
        Self::apply(Some(*self), x)
    }

    fn gradient(&self, backward: &mut Backward<'_>, _: usize) -> Result<TensorId> {
        backward.push(super::ResampleGrad { forward: *self }, &[backward.incoming], &[])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
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

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let output = lowering.output();
        materialize(lowering, &self.prologue, output)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], _: Shape) -> Tensor {
        self.prologue.reference(inputs)
    }
}

/// Emits the step that evaluates `prologue` over the lowered node's first inputs into `output`.
pub(crate) fn materialize(lowering: &mut Lowering<'_>, prologue: &Prologue, output: ValueId) -> Result<()> {
    materialize_scaled(lowering, prologue, output, 1.0)
}

/// The same, times `gain`.
pub(crate) fn materialize_scaled(
    lowering: &mut Lowering<'_>,
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
    let mut step = lowering.step(kernel);
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
