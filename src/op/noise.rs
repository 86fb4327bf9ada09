//! A run's noise: each draw, and the first x that begins with it.

use super::dispatch::DispatchBuilder;
use super::lowering::Lowering;
use super::operator::{Operator, ensure, operands};
use super::philox;
use super::probe::{Probe, TINY, noise, words};
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// 32-bit words of the noise key: seed (low, high), index of the first sample, draw.
pub const NOISE_KEY: usize = 4;

/// Standard normal noise. Inputs: the key `[1, 1, 1, 4]`.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawNoise {
    /// Shape of the noise.
    pub shape: Shape,
}

impl Operator for DrawNoise {
    fn name(&self) -> &'static str {
        "noise"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        ensure(inputs == [Shape::vector(1, NOISE_KEY)], || "a noise key is needed".into())?;
        Ok(self.shape)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let elements = self.shape.elements() / self.shape.n.max(1);
        let mut dispatch = DispatchBuilder::new(Kernel::new("noise"));
        dispatch
            .bind("key", lowering.input(0))
            .bind("out", lowering.output())
            .word("elements", elements)
            .word("samples", self.shape.n)
            .groups([elements.div_ceil(4).div_ceil(64), self.shape.n, 1]);
        lowering.emit(dispatch)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let [low, high, first, draw] = [0, 1, 2, 3].map(|i| inputs[0].data[i].to_bits());
        let seed = u64::from(high) << 32 | u64::from(low);
        let elements = output.elements() / output.n.max(1);
        let data = (0..output.n as u32).flat_map(|i| philox::normals(seed, first + i, draw, elements)).collect();
        Tensor { shape: output, data }
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        Some(Probe::new(Self { shape: TINY }, vec![words(&[1, 2, 3, 4])]))
    }
}

/// The first x is the first draw. Inputs: x (overwritten in place), noise.
#[derive(Debug, Clone, PartialEq)]
pub struct StartFromNoise;

impl Operator for StartFromNoise {
    fn name(&self) -> &'static str {
        "start"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [x, noise] = operands(inputs)?;
        ensure(x == noise, || format!("noise {noise} for {x}"))?;
        Ok(x)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        lowering.in_place(0);
        let mut dispatch =
            DispatchBuilder::new(Kernel::new("unary").with("SILU", 0).with("RELU", 0).with("ADJOINT", 0));
        dispatch
            .bind("x", lowering.input(1))
            .bind("out", lowering.output())
            .elements(lowering.output_shape().elements());
        lowering.emit(dispatch)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], _: Shape) -> Tensor {
        inputs[1].clone()
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        Some(Probe::new(Self, vec![noise(TINY), noise(TINY)]))
    }
}
