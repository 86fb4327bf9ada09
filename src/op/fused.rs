//! The parts of a fused convolution: how its input is read, and what is added to its result.

use super::dispatch::{DispatchBuilder, ValueId};
use super::lowering::Lowering;
use super::operator::ensure;
use super::probe::{Operand, noise, spread};
use super::resample::Resample;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// How the input is read. Operands in order: x, the second source, the affine map.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Prologue {
    /// A skip connection follows x along the channels.
    pub two_sources: bool,
    /// GroupNorm as an affine map per (sample, channel).
    pub affine: bool,
    /// SiLU.
    pub silu: bool,
    /// Resampling, last.
    pub resample: Option<Resample>,
}

impl Prologue {
    /// How many operands it takes.
    pub fn operands(&self) -> usize {
        1 + self.two_sources as usize + self.affine as usize
    }

    /// It only reads one tensor.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// The shape that the convolution sees.
    ///
    /// # Errors
    /// Sources of different grids, an affine map of another size, 2x2 pooling of an odd size.
    pub fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        ensure(inputs.len() >= self.operands(), || format!("{} operands given", inputs.len()))?;
        let mut s = inputs[0];
        if self.two_sources {
            let second = inputs[1];
            ensure(second.with_channels(s.c) == s, || format!("{s} cannot be joined with {second}"))?;
            s.c += second.c;
        }
        if self.affine {
            let affine = inputs[self.operands() - 1];
            ensure(affine == Shape::vector(s.n, 2 * s.c), || format!("the affine map is {affine} for {s}"))?;
        }
        let whole = s.c.is_multiple_of(4) && inputs[0].c.is_multiple_of(4);
        ensure(self.is_plain() || whole, || format!("the channels of {s} are not multiples of 4"))?;
        Resample::apply(self.resample, s)
    }

    /// The result on the CPU.
    pub fn reference(&self, inputs: &[&Tensor]) -> Tensor {
        let x = inputs[0];
        let (first, mut shape) = (x.shape.c, x.shape);
        if self.two_sources {
            shape.c += inputs[1].shape.c;
        }
        let activated = Tensor::from_fn(shape, |n, y, column, c| {
            let mut v = if c < first { x.at(n, y, column, c) } else { inputs[1].at(n, y, column, c - first) };
            if self.affine {
                let map = inputs[self.operands() - 1];
                v = v * map.at(n, 0, 0, c) + map.at(n, 0, 0, shape.c + c);
            }
            if self.silu { super::unary::silu(v) } else { v }
        });
        Resample::reference(self.resample, &activated)
    }

    /// Operands for the self-test: each source of the shape that becomes `s`, and the affine map.
    pub(crate) fn sources(&self, s: Shape) -> Vec<Operand> {
        let x = Resample::before(self.resample, s);
        let mut operands = vec![noise(x); 1 + self.two_sources as usize];
        if self.affine {
            operands.push(spread(Shape::vector(x.n, 2 * x.c * operands.len()), 0.5, 0.5));
        }
        operands
    }

    pub(crate) fn define(&self, kernel: Kernel) -> Kernel {
        kernel
            .with("SOURCES", 1 + self.two_sources as i64)
            .with("AFFINE", self.affine)
            .with("SILU", self.silu)
            .with("RESAMPLE", Resample::code(self.resample))
    }

    /// Binds its operands: the lowered node's first ones.
    pub(crate) fn bind(&self, dispatch: &mut DispatchBuilder, lowering: &dyn Lowering) {
        let operands: Vec<ValueId> = (0..self.operands()).map(|i| lowering.input(i)).collect();
        self.bind_values(dispatch, &operands);
    }

    /// Binds these values as its operands.
    pub(crate) fn bind_values(&self, dispatch: &mut DispatchBuilder, operands: &[ValueId]) {
        let names = ["x"].into_iter().chain(self.two_sources.then_some("skip")).chain(self.affine.then_some("affine"));
        for (name, value) in names.zip(operands) {
            dispatch.bind(name, *value);
        }
    }
}

/// What is added to the result. Operands in order: the embedding, the residual.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Epilogue {
    /// A vector per sample.
    pub embedding: bool,
    /// A tensor that has the result's shape, after resampling where one is given.
    pub residual: Option<Option<Resample>>,
}
