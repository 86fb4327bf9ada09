//! Gradients of elementwise ops and of resampling, with respect to their input.

use super::dispatch::DispatchBuilder;
use super::fused::Prologue;
use super::lowering::Lowering;
use super::modulate::materialize_scaled;
use super::operator::{Operator, ensure, operands};
use super::resample::Resample;
use super::unary::{Unary, silu_derivative};
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// Inputs: the forward op's x, the incoming gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct UnaryGrad {
    /// The forward op.
    pub unary: Unary,
}

impl Operator for UnaryGrad {
    fn name(&self) -> &'static str {
        "unary_grad"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [x, incoming] = operands(inputs)?;
        ensure(x == incoming, || format!("gradient {incoming} for {x}"))?;
        Ok(x)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let kernel = Kernel::new("unary_grad").with("SILU", self.unary == Unary::Silu);
        let mut step = DispatchBuilder::new(kernel);
        step.bind("x", lowering.input(0))
            .bind("incoming", lowering.input(1))
            .bind("out", lowering.output())
            .elements(lowering.output_shape().elements());
        lowering.emit(step)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let derivative = |x: f32| match self.unary {
            Unary::Silu => silu_derivative(f64::from(x)) as f32,
            Unary::Relu => f32::from(x > 0.0),
        };
        let data = inputs[0].data.iter().zip(&inputs[1].data).map(|(x, g)| derivative(*x) * g).collect();
        Tensor { shape: output, data }
    }
}

/// Inputs: the incoming gradient, the embedding. Always fused into the norm's gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaleShiftGrad;

impl Operator for ScaleShiftGrad {
    fn name(&self) -> &'static str {
        "scale_shift_grad"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [incoming, embedding] = operands(inputs)?;
        let expected = Shape::vector(incoming.n, 2 * incoming.c);
        ensure(embedding == expected, || format!("the embedding is {embedding} for {incoming}"))?;
        Ok(incoming)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        Err(lowering.misfit("it must precede a group norm's gradient, and the graph be fused".into()))
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        Tensor::from_fn(output, |n, y, x, c| inputs[0].at(n, y, x, c) * (1.0 + inputs[1].at(n, 0, 0, c)))
    }
}

/// Inputs: the incoming gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct ResampleGrad {
    /// The forward op.
    pub forward: Resample,
}

impl ResampleGrad {
    /// The adjoint is the opposite resampling, times this.
    fn adjoint(&self) -> (Resample, f32) {
        match self.forward {
            Resample::Up => (Resample::Down, 4.0),
            Resample::Down => (Resample::Up, 0.25),
        }
    }
}

impl Operator for ResampleGrad {
    fn name(&self) -> &'static str {
        "resample_grad"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [incoming] = operands(inputs)?;
        Resample::apply(Some(self.adjoint().0), incoming)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let (resample, gain) = self.adjoint();
        let output = lowering.output();
        let prologue = Prologue { resample: Some(resample), ..Prologue::default() };
        materialize_scaled(lowering, &prologue, output, gain)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], _: Shape) -> Tensor {
        let (resample, gain) = self.adjoint();
        let mut result = Resample::reference(Some(resample), inputs[0]);
        result.data.iter_mut().for_each(|v| *v *= gain);
        result
    }
}
