//! Dynamic thresholding of the predicted x_0 (Saharia et al. 2022).

use super::dispatch::DispatchBuilder;
use super::lowering::Lowering;
use super::operator::{Operator, operands};
use super::probe::{Probe, TINY, spread};
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// The share of values below dynamic thresholding's quantile.
pub const QUANTILE: f64 = 0.995;

/// Dynamic thresholding. Inputs: x_0 (overwritten in place).
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold;

impl Threshold {
    /// The rank of the quantile's lower neighbour among so many values, and the share of the upper one.
    fn rank(elements: usize) -> (usize, f64) {
        let at = QUANTILE * elements.saturating_sub(1) as f64;
        (at as usize, at.fract())
    }
}

impl Operator for Threshold {
    fn name(&self) -> &'static str {
        "threshold"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [x0] = operands(inputs)?;
        Ok(x0)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        lowering.in_place(0);
        let shape = lowering.output_shape();
        let elements = shape.elements() / shape.n.max(1);
        let (rank, share) = Self::rank(elements);
        let mut dispatch = DispatchBuilder::new(Kernel::new("threshold"));
        dispatch
            .bind("x0", lowering.output())
            .word("elements", elements)
            .word("rank", rank)
            .float("share", share as f32)
            .groups([shape.n, 1, 1]);
        lowering.emit(dispatch)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let elements = output.elements() / output.n.max(1);
        let (rank, share) = Self::rank(elements);
        let threshold = |image: &[f32]| {
            let mut sorted: Vec<f32> = image.iter().map(|v| v.abs()).collect();
            sorted.sort_by(f32::total_cmp);
            let lower = sorted[rank];
            let upper = sorted.get(rank + 1).copied().unwrap_or(lower);
            let s = (lower + share as f32 * (upper - lower)).max(1.0);
            image.iter().map(|v| if v.is_finite() { v.clamp(-s, s) / s } else { *v }).collect::<Vec<_>>()
        };
        let data = inputs[0].data.chunks(elements.max(1)).flat_map(threshold).collect();
        Tensor { shape: output, data }
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        Some(Probe::new(Self, vec![spread(TINY, 3.0, 0.0)]))
    }
}
