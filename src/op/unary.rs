//! Elementwise functions of one tensor.

use super::dispatch::DispatchBuilder;
use super::lowering::Lowering;
use super::operator::{Operator, operands};
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

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

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let kernel = Kernel::new("unary").with("SILU", *self == Self::Silu).with("RELU", *self == Self::Relu);
        let mut step = DispatchBuilder::new(kernel);
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
