//! What classifier heads pool: means over pixels, and CLIP's tokens for attention pooling. Each with its adjoint.

use super::dispatch::DispatchBuilder;
use super::lowering::{Layout, Lowering};
use super::operator::{Operator, ensure, operands};
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// Mean over pixels. Inputs: x `[N, H, W, C]`. Result: `[N, 1, 1, C]`.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalMean;

impl Operator for GlobalMean {
    fn name(&self) -> &'static str {
        "global_mean"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [x] = operands(inputs)?;
        ensure(x.c % 4 == 0, || format!("{} channels are no multiple of 4", x.c))?;
        Ok(Shape::vector(x.n, x.c))
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let (full, out) = (lowering.input_shape(0), lowering.output_shape());
        lower(lowering, "global_mean", full, out.elements() / 4, false)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        Tensor::from_fn(output, |n, _, _, c| mean(inputs[0], n, c))
    }
}

/// Inputs: the incoming gradient `[N, 1, 1, C]`. Result: each pixel's share.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalMeanGrad {
    /// Shape of the forward input.
    pub shape: Shape,
}

impl Operator for GlobalMeanGrad {
    fn name(&self) -> &'static str {
        "global_mean_grad"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [incoming] = operands(inputs)?;
        ensure(incoming == Shape::vector(self.shape.n, self.shape.c), || format!("gradient {incoming}"))?;
        Ok(self.shape)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        lower(lowering, "global_mean", self.shape, self.shape.elements() / 4, true)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        Tensor::from_fn(output, |n, _, _, c| inputs[0].at(n, 0, 0, c) / output.pixels() as f32)
    }
}

/// The mean pixel and then every pixel, each plus its positional embedding. Inputs: x `[N, H, W, C]`. Parameters:
/// `[C, H W + 1]`. Result: `[N, 1, H W + 1, C]`.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolTokens;

impl Operator for PoolTokens {
    fn name(&self) -> &'static str {
        "pool_tokens"
    }

    fn shape(&self, inputs: &[Shape], params: &[&[usize]]) -> Result<Shape, String> {
        let ([x], [embedding]) = (operands(inputs)?, operands(params)?);
        let tokens = x.pixels() + 1;
        ensure(*embedding == [x.c, tokens] && x.c % 4 == 0, || format!("embedding {embedding:?} for {x}"))?;
        Ok(Shape::new(x.n, 1, tokens, x.c))
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let (full, out) = (lowering.input_shape(0), lowering.output_shape());
        lower(lowering, "pool_tokens", full, out.elements() / 4, false)
    }

    fn reference(&self, inputs: &[&Tensor], params: &[&[f32]], output: Shape) -> Tensor {
        let x = inputs[0];
        Tensor::from_fn(output, |n, _, token, c| {
            let position = params[0][c * output.w + token];
            position + token.checked_sub(1).map_or_else(|| mean(x, n, c), |p| x.at(n, p / x.shape.w, p % x.shape.w, c))
        })
    }
}

/// Inputs: the incoming gradient `[N, 1, H W + 1, C]`.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolTokensGrad {
    /// Shape of the forward input.
    pub shape: Shape,
}

impl Operator for PoolTokensGrad {
    fn name(&self) -> &'static str {
        "pool_tokens_grad"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [incoming] = operands(inputs)?;
        let expected = Shape::new(self.shape.n, 1, self.shape.pixels() + 1, self.shape.c);
        ensure(incoming == expected, || format!("gradient {incoming}"))?;
        Ok(self.shape)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        lower(lowering, "pool_tokens", self.shape, self.shape.elements() / 4, true)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        Tensor::from_fn(output, |n, y, x, c| {
            inputs[0].at(n, 0, y * output.w + x + 1, c) + inputs[0].at(n, 0, 0, c) / output.pixels() as f32
        })
    }
}

/// The first token, the pool's result. Inputs: `[N, 1, T, C]`. Result: `[N, 1, 1, C]`.
#[derive(Debug, Clone, PartialEq)]
pub struct FirstToken;

impl Operator for FirstToken {
    fn name(&self) -> &'static str {
        "first_token"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [x] = operands(inputs)?;
        ensure(x.c % 4 == 0, || format!("{} channels are no multiple of 4", x.c))?;
        Ok(Shape::vector(x.n, x.c))
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let (full, out) = (lowering.input_shape(0), lowering.output_shape());
        lower(lowering, "first_token", full, out.elements() / 4, false)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        Tensor::from_fn(output, |n, _, _, c| inputs[0].at(n, 0, 0, c))
    }
}

/// Inputs: the incoming gradient `[N, 1, 1, C]`. Result: zero but for the first token.
#[derive(Debug, Clone, PartialEq)]
pub struct FirstTokenGrad {
    /// Shape of the forward input.
    pub shape: Shape,
}

impl Operator for FirstTokenGrad {
    fn name(&self) -> &'static str {
        "first_token_grad"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [incoming] = operands(inputs)?;
        ensure(incoming == Shape::vector(self.shape.n, self.shape.c), || format!("gradient {incoming}"))?;
        Ok(self.shape)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        lower(lowering, "first_token", self.shape, self.shape.elements() / 4, true)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        Tensor::from_fn(output, |n, y, x, c| if y + x == 0 { inputs[0].at(n, 0, 0, c) } else { 0.0 })
    }
}

fn mean(x: &Tensor, n: usize, c: usize) -> f32 {
    let s = x.shape;
    let sum: f64 = (0..s.pixels()).map(|p| f64::from(x.data[(n * s.pixels() + p) * s.c + c])).sum();
    (sum / s.pixels() as f64) as f32
}

/// A kernel with one invocation a vec4 of the result; `full` is the shape of the larger side.
fn lower(lowering: &mut dyn Lowering, stem: &'static str, full: Shape, invocations: usize, grad: bool) -> Result<()> {
    let mut kernel = Kernel::new(stem).with("GRAD", grad);
    let embeds = stem == "pool_tokens" && !grad;
    if stem == "pool_tokens" {
        kernel = kernel.with("F16", if embeds { lowering.f16() } else { 0 });
    }
    let mut step = DispatchBuilder::new(kernel);
    step.bind("x", lowering.input(0));
    if embeds {
        step.bind("w", lowering.weight(0, Layout::Taps));
    }
    step.bind("out", lowering.output()).word("pixels", full.pixels()).word("c4", full.c / 4).elements(invocations);
    lowering.emit(step)
}
