//! Elementwise functions of one tensor.

use super::{Operator, operands};
use crate::error::Result;
use crate::graph::grad::Backward;
use crate::graph::{Shape, Tensor, TensorId};
use crate::plan::lowering::Lowering;
use crate::shader::Kernel;

/// x * sigmoid(x).
pub fn silu(x: f32) -> f32 {
    x / (1.0 + (-x).exp())
}

/// Its derivative.
pub fn silu_derivative(x: f64) -> f64 {
    let s = 1.0 / (1.0 + (-x).exp());
    s * (1.0 + x * (1.0 - s))
}

/// The function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unary {
    /// x * sigmoid(x).
    Silu,
    /// max(x, 0).
    Relu,
}

impl Operator for Unary {
    fn name(&self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::Relu => "relu",
        }
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [x] = operands(inputs)?;
        Ok(x)
    }

    fn gradient(&self, backward: &mut Backward<'_>, _: usize) -> Result<TensorId> {
        let x = backward.node.inputs[0];
        backward.push(super::UnaryGrad { unary: *self }, &[x, backward.incoming], &[])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let kernel = Kernel::new("unary").with("SILU", *self == Self::Silu).with("RELU", *self == Self::Relu);
        let mut step = lowering.step(kernel);
        step.bind("x", lowering.input(0)).bind("out", lowering.output()).elements(lowering.output_shape().elements());
        lowering.emit(step)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let f = |v: &f32| match self {
            Self::Silu => silu(*v),
            Self::Relu => v.max(0.0),
        };
        Tensor { shape: output, data: inputs[0].data.iter().map(f).collect() }
    }
}
