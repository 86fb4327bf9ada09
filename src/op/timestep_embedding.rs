//! Sinusoidal embeddings of timesteps (Vaswani et al. 2017), as the public code computes them in float32.

use super::dispatch::DispatchBuilder;
use super::lowering::Lowering;
use super::operator::{Operator, ensure, operands};
use super::probe::{Probe, scalars};
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// Inputs: timesteps `[N, 1, 1, 1]`, which may be fractional. Result: `[N, 1, 1, width]`, cosines first.
#[derive(Debug, Clone, PartialEq)]
pub struct TimestepEmbedding {
    /// Width of the embedding.
    pub width: usize,
}

impl TimestepEmbedding {
    /// exp(-ln(10000) i / half), each operation rounded to float32.
    fn frequencies(&self) -> Vec<f32> {
        let half = self.width / 2;
        let log = -(10000f64.ln()) as f32;
        (0..half).map(|i| (log * i as f32 / half as f32).exp()).collect()
    }
}

impl Operator for TimestepEmbedding {
    fn name(&self) -> &'static str {
        "timestep_embedding"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [t] = operands(inputs)?;
        ensure(t == Shape::vector(t.n, 1) && self.width >= 2, || format!("timesteps {t}, width {}", self.width))?;
        Ok(Shape::vector(t.n, self.width))
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let out = lowering.output_shape();
        let frequencies = lowering.constant(self.frequencies());
        let mut dispatch = DispatchBuilder::new(Kernel::new("timestep_embedding"));
        dispatch
            .bind("timesteps", lowering.input(0))
            .bind("frequencies", frequencies)
            .bind("out", lowering.output())
            .word("samples", out.n)
            .word("width", self.width)
            .groups([out.elements().div_ceil(64), 1, 1]);
        lowering.emit(dispatch)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let frequencies = self.frequencies();
        let half = frequencies.len();
        Tensor::from_fn(output, |n, _, _, i| {
            let angle = frequencies.get(i % half.max(1)).map_or(0.0, |f| inputs[0].data[n] * f) as f64;
            match i {
                i if i < half => angle.cos() as f32,
                i if i < 2 * half => angle.sin() as f32,
                _ => 0.0,
            }
        })
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        Some(Probe::new(Self { width: 8 }, vec![scalars(&[3.0, 977.5])]))
    }
}
