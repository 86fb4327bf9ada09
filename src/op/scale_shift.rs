//! Adaptive group normalization's modulation: x * (1 + scale) + shift. Always fused into the norm before it.

use super::lowering::Lowering;
use super::operator::{Operator, ensure, operands};
use crate::error::Result;
use crate::tensor::{Shape, Tensor};

/// Inputs: x, the embedding `[N, 1, 1, scale C | shift C]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaleShift;

impl Operator for ScaleShift {
    fn name(&self) -> &'static str {
        "scale_shift"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [x, embedding] = operands(inputs)?;
        ensure(embedding == Shape::vector(x.n, 2 * x.c), || format!("the embedding is {embedding} for {x}"))?;
        Ok(x)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        Err(lowering.misfit("it must follow a group norm, and the graph be fused before it is planned".into()))
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let (x, e) = (inputs[0], inputs[1]);
        Tensor::from_fn(output, |n, y, column, c| {
            x.at(n, y, column, c) * (1.0 + e.at(n, 0, 0, c)) + e.at(n, 0, 0, output.c + c)
        })
    }
}
