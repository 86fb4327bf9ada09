//! Elementwise functions of one tensor, and their gradients.

use super::dispatch::DispatchBuilder;
use super::lowering::Lowering;
use super::operator::{Operator, ensure, operands};
use super::probe::{Probe, TINY, noise, spread};
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

/// Inputs: x; of the adjoint, the forward x and the incoming gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unary {
    /// The function.
    pub function: Function,
    /// The gradient with respect to x.
    pub adjoint: bool,
}

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// x * sigmoid(x).
    Silu,
    /// max(x, 0); what is not finite stays.
    Relu,
}

impl Unary {
    /// x * sigmoid(x).
    pub const SILU: Self = Self { function: Function::Silu, adjoint: false };
    /// max(x, 0).
    pub const RELU: Self = Self { function: Function::Relu, adjoint: false };
}

impl Operator for Unary {
    fn name(&self) -> &'static str {
        match (self.function, self.adjoint) {
            (Function::Silu, false) => "silu",
            (Function::Silu, true) => "silu_grad",
            (Function::Relu, false) => "relu",
            (Function::Relu, true) => "relu_grad",
        }
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        if self.adjoint {
            let [x, incoming] = operands(inputs)?;
            ensure(x == incoming, || format!("gradient {incoming} for {x}"))?;
            return Ok(x);
        }
        let [x] = operands(inputs)?;
        Ok(x)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let kernel = Kernel::new("unary")
            .with("SILU", self.function == Function::Silu)
            .with("RELU", self.function == Function::Relu)
            .with("ADJOINT", self.adjoint);
        let mut dispatch = DispatchBuilder::new(kernel);
        dispatch.bind("x", lowering.input(0));
        if self.adjoint {
            dispatch.bind("incoming", lowering.input(1));
        }
        dispatch.bind("out", lowering.output()).elements(lowering.output_shape().elements());
        lowering.emit(dispatch)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let f = |x: f32| match (self.function, self.adjoint) {
            (Function::Silu, false) => silu(x),
            (Function::Silu, true) => silu_derivative(f64::from(x)) as f32,
            (Function::Relu, _) if !x.is_finite() => x,
            (Function::Relu, false) => x.max(0.0),
            (Function::Relu, true) => f32::from(x > 0.0),
        };
        let mut data: Vec<f32> = inputs[0].data.iter().map(|x| f(*x)).collect();
        if self.adjoint {
            data.iter_mut().zip(&inputs[1].data).for_each(|(slope, incoming)| *slope *= incoming);
        }
        Tensor { shape: output, data }
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        let mut operands = vec![spread(TINY, 4.0, 0.0)];
        operands.extend(self.adjoint.then(|| noise(TINY)));
        Some(Probe::new(*self, operands))
    }
}
