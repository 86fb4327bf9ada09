//! The gradient of group normalization, with the modulation and SiLU that follow it, with respect to its input.

use super::dispatch::DispatchBuilder;
use super::group_norm::{EPSILON, GROUPS, fold, statistics};
use super::lowering::{Layout, Lowering};
use super::operator::{Operator, ensure};
use super::probe::{Probe, noise, spread};
use super::unary::silu_derivative;
use super::variant::Variant;
use crate::device::Caps;
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// Inputs: x, the incoming gradient, the embedding where `scale_shift`. Parameters: weight `[C]`, bias `[C]`.
///
/// With g the incoming gradient times everything that follows the normalization, and x' the normalized input,
/// the result is g - mean(g) - x' mean(g x'), the means over a group. In five dispatches: statistics, moments, g and its sums,
/// means, result.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupNormGrad {
    /// Adaptive group normalization follows.
    pub scale_shift: bool,
    /// SiLU follows, last.
    pub silu: bool,
}

impl Operator for GroupNormGrad {
    fn name(&self) -> &'static str {
        "group_norm_grad"
    }

    fn shape(&self, inputs: &[Shape], params: &[&[usize]]) -> Result<Shape, String> {
        ensure(inputs.len() == 2 + self.scale_shift as usize, || format!("{} operands given", inputs.len()))?;
        let x = inputs[0];
        super::group_norm::check(x, params)?;
        ensure(inputs[1] == x, || format!("gradient {} for {x}", inputs[1]))?;
        if let Some(embedding) = inputs.get(2) {
            ensure(*embedding == Shape::vector(x.n, 2 * x.c), || format!("the embedding is {embedding} for {x}"))?;
        }
        Ok(x)
    }

    fn variants(&self, _: &[Shape], _: Shape, caps: &Caps) -> Vec<Variant> {
        if caps.software { vec![Variant::Serial, Variant::Naive] } else { vec![Variant::Naive, Variant::Serial] }
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let x = lowering.output_shape();
        let serial = lowering.variant() == Variant::Serial;
        let tasks = GROUPS * x.n;
        let statistics = statistics(lowering, x.c, false, serial)?;
        let rows = statistics.chunks * x.n;
        let moments = lowering.temporary("moments", 2 * tasks);
        let sums = lowering.temporary("sums", rows * 2 * x.c);
        let means = lowering.temporary("means", 2 * tasks);
        let kernel = Kernel::new("group_norm_affine").with("SCALE_SHIFT", false).with("MOMENTS", true);
        let mut dispatch = fold(kernel, tasks, serial);
        dispatch.bind("stats", statistics.stats).bind("out", moments);
        statistics.size(&mut dispatch);
        lowering.emit(dispatch)?;

        let kernel = Kernel::new("group_norm_grad_sums").with("SCALE_SHIFT", self.scale_shift).with("SILU", self.silu);
        let mut dispatch = DispatchBuilder::new(kernel);
        dispatch
            .bind("x", lowering.input(0))
            .bind("incoming", lowering.input(1))
            .bind("moments", moments)
            .bind("weight", lowering.weight(0, Layout::Vector))
            .bind("bias", lowering.weight(1, Layout::Vector));
        if self.scale_shift {
            dispatch.bind("embedding", lowering.input(2));
        }
        dispatch.bind("sums", sums).bind("out", lowering.output()).tiles(x.c / 4, rows);
        statistics.size(&mut dispatch);
        lowering.emit(dispatch)?;

        let mut dispatch = fold(Kernel::new("group_norm_grad_means"), tasks, serial);
        dispatch.bind("sums", sums).bind("out", means);
        statistics.size(&mut dispatch);
        lowering.emit(dispatch)?;

        let mut dispatch = DispatchBuilder::new(Kernel::new("group_norm_grad_apply"));
        dispatch
            .bind("x", lowering.input(0))
            .bind("moments", moments)
            .bind("means", means)
            .bind("out", lowering.output())
            .tiles(x.c / 4, rows);
        statistics.size(&mut dispatch);
        lowering.emit(dispatch)
    }

    fn reference(&self, inputs: &[&Tensor], params: &[&[f32]], output: Shape) -> Tensor {
        let (x, incoming, s) = (inputs[0], inputs[1], output);
        let size = s.c / GROUPS;
        let mut result = Tensor { shape: s, data: vec![0.0; s.elements()] };
        for n in 0..s.n {
            for group in 0..GROUPS {
                let channels = group * size..(group + 1) * size;
                let at: Vec<(usize, usize)> = (0..s.pixels())
                    .flat_map(|p| channels.clone().map(move |c| ((n * s.pixels() + p) * s.c + c, c)))
                    .collect();
                let count = at.len() as f64;
                let mean = at.iter().map(|(i, _)| f64::from(x.data[*i])).sum::<f64>() / count;
                let variance = at.iter().map(|(i, _)| (f64::from(x.data[*i]) - mean).powi(2)).sum::<f64>() / count;
                let deviation = 1.0 / (variance + f64::from(EPSILON)).sqrt();
                let normalized = |i: usize| (f64::from(x.data[i]) - mean) * deviation;
                let following = |i: usize, c: usize| {
                    let (mut factor, mut z) = (f64::from(params[0][c]), f64::from(params[1][c]));
                    z += normalized(i) * factor;
                    if let Some(e) = inputs.get(2) {
                        let scale = 1.0 + f64::from(e.at(n, 0, 0, c));
                        factor *= scale;
                        z = z * scale + f64::from(e.at(n, 0, 0, s.c + c));
                    }
                    f64::from(incoming.data[i]) * factor * if self.silu { silu_derivative(z) } else { 1.0 }
                };
                let g: Vec<f64> = at.iter().map(|(i, c)| following(*i, *c) * deviation).collect();
                let first = g.iter().sum::<f64>() / count;
                let second = at.iter().zip(&g).map(|((i, _), g)| g * normalized(*i)).sum::<f64>() / count;
                for ((i, _), g) in at.iter().zip(&g) {
                    result.data[*i] = (g - first - normalized(*i) * second) as f32;
                }
            }
        }
        result
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        let x = Shape::new(2, 5, 5, 64);
        let mut operands = vec![noise(x), noise(x)];
        if self.scale_shift {
            operands.push(spread(Shape::vector(x.n, 2 * x.c), 0.5, 0.0));
        }
        Some(Probe::new(self.clone(), operands).with_params(&[&[x.c], &[x.c]]))
    }
}
