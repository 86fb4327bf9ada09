//! What classifier heads pool: means over pixels, and CLIP's tokens for attention pooling. Each forward, and as its
//! adjoint.

use super::dispatch::DispatchBuilder;
use super::lowering::{Layout, Lowering};
use super::operator::{Operator, ensure, operands};
use super::probe::{Probe, TINY4, noise};
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// Inputs: x; of the adjoint, the incoming gradient of the forward result. Parameters of the forward [`Pooled::Tokens`]:
/// the positional embedding `[C, H W + 1]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pooling {
    /// What the forward op yields.
    pub pooled: Pooled,
    /// The adjoint, whose result has this shape: that of the forward input.
    pub adjoint: Option<Shape>,
}

/// What is pooled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooled {
    /// `[N, H, W, C]` to its mean pixel `[N, 1, 1, C]`.
    Mean,
    /// `[N, H, W, C]` to the mean pixel and then every pixel, each plus its positional embedding: `[N, 1, H W + 1, C]`.
    Tokens,
    /// `[N, 1, T, C]` to its first token `[N, 1, 1, C]`, the result of attention pooling.
    FirstToken,
}

impl From<Pooled> for Pooling {
    fn from(pooled: Pooled) -> Self {
        Self { pooled, adjoint: None }
    }
}

impl Pooled {
    /// The shape of the forward result for an input of shape `x`.
    fn of(self, x: Shape) -> Shape {
        match self {
            Self::Mean | Self::FirstToken => Shape::vector(x.n, x.c),
            Self::Tokens => Shape::new(x.n, 1, x.pixels() + 1, x.c),
        }
    }
}

impl Operator for Pooling {
    fn name(&self) -> &'static str {
        match (self.pooled, self.adjoint) {
            (Pooled::Mean, None) => "global_mean",
            (Pooled::Mean, Some(_)) => "global_mean_grad",
            (Pooled::Tokens, None) => "pool_tokens",
            (Pooled::Tokens, Some(_)) => "pool_tokens_grad",
            (Pooled::FirstToken, None) => "first_token",
            (Pooled::FirstToken, Some(_)) => "first_token_grad",
        }
    }

    fn shape(&self, inputs: &[Shape], params: &[&[usize]]) -> Result<Shape, String> {
        let [x] = operands(inputs)?;
        ensure(x.c % 4 == 0, || format!("{} channels are not a multiple of 4", x.c))?;
        if let Some(shape) = self.adjoint {
            let expected = self.pooled.of(shape);
            ensure(x == expected, || format!("the gradient is {x}, {expected} expected"))?;
            return Ok(shape);
        }
        if self.pooled == Pooled::Tokens {
            let [embedding] = operands(params)?;
            ensure(*embedding == [x.c, x.pixels() + 1], || format!("embedding {embedding:?} for {x}"))?;
        }
        Ok(self.pooled.of(x))
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let (x, out) = (lowering.input_shape(0), lowering.output_shape());
        let embeds = self.pooled == Pooled::Tokens && self.adjoint.is_none();
        let kernel = Kernel::new("pooling")
            .with("TOKENS", self.pooled == Pooled::Tokens)
            .with("MEAN", self.pooled == Pooled::Mean)
            .with("ADJOINT", self.adjoint.is_some())
            .with("F16", if embeds { lowering.f16() } else { 0 });
        let mut dispatch = DispatchBuilder::new(kernel);
        dispatch.bind("x", lowering.input(0));
        if embeds {
            dispatch.bind("w", lowering.weight(0, Layout::Taps));
        }
        dispatch
            .bind("out", lowering.output())
            .word("pixels", self.adjoint.unwrap_or(x).pixels())
            .word("c4", out.c / 4)
            .elements(out.elements() / 4);
        lowering.emit(dispatch)
    }

    fn reference(&self, inputs: &[&Tensor], params: &[&[f32]], output: Shape) -> Tensor {
        let x = inputs[0];
        let pixels = output.pixels() as f32;
        match (self.pooled, self.adjoint) {
            (Pooled::Mean, None) => Tensor::from_fn(output, |n, _, _, c| mean(x, n, c)),
            (Pooled::Mean, Some(_)) => Tensor::from_fn(output, |n, _, _, c| x.at(n, 0, 0, c) / pixels),
            (Pooled::Tokens, None) => Tensor::from_fn(output, |n, _, token, c| {
                let pixel = |p: usize| x.at(n, p / x.shape.w, p % x.shape.w, c);
                params[0][c * output.w + token] + token.checked_sub(1).map_or_else(|| mean(x, n, c), pixel)
            }),
            (Pooled::Tokens, Some(_)) => Tensor::from_fn(output, |n, y, column, c| {
                x.at(n, 0, y * output.w + column + 1, c) + x.at(n, 0, 0, c) / pixels
            }),
            (Pooled::FirstToken, None) => Tensor::from_fn(output, |n, _, _, c| x.at(n, 0, 0, c)),
            (Pooled::FirstToken, Some(_)) => {
                Tensor::from_fn(output, |n, y, column, c| if y + column == 0 { x.at(n, 0, 0, c) } else { 0.0 })
            }
        }
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        let forward = if self.pooled == Pooled::FirstToken { Shape::new(2, 1, 10, 8) } else { TINY4 };
        if self.adjoint.is_some() {
            let op = Self { pooled: self.pooled, adjoint: Some(forward) };
            return Some(Probe::new(op, vec![noise(self.pooled.of(forward))]));
        }
        let probe = Probe::new(self.clone(), vec![noise(forward)]);
        Some(if self.pooled == Pooled::Tokens { probe.with_params(&[&[8, 10]]) } else { probe })
    }
}

fn mean(x: &Tensor, n: usize, c: usize) -> f32 {
    let s = x.shape;
    let sum: f64 = (0..s.pixels()).map(|p| f64::from(x.data[(n * s.pixels() + p) * s.c + c])).sum();
    (sum / s.pixels() as f64) as f32
}
