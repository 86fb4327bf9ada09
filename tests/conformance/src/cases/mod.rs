//! The table of op cases: small named problems of every op and fused form, with their results by the plain CPU reference.
//!
//! It drives the tests on every adapter and in browsers, and the check of the shaders' texts. Odd sizes, tails and batches
//! are the point: a kernel that is right here has met its edges.

mod convolution;
mod gradient;
mod network;
mod sampling;

use guided_diffusion::Result;
use guided_diffusion::device::{Caps, Precision};
use guided_diffusion::gpu::trial::Trial;
use guided_diffusion::graph::{Graph, TensorId, fuse};
use guided_diffusion::op::probe::{Operand, Probe};
use guided_diffusion::op::{Op, Variant};
use guided_diffusion::plan::tuning::VariantOverrides;
use guided_diffusion::plan::{Plan, PlanOptions};
use guided_diffusion::tensor::Shape;

/// Relative L2 error that a kernel may have. All sum in float32 (6e-8 per operation, a few hundred terms here, against a
/// reference in float64), and float16 weights are compared with weights so rounded. Two software drivers stay under
/// 1e-6, but for Winograd F(4x4), whose transforms cancel: 1.4e-6. The rest is room for drivers with other fused
/// multiply-adds and reciprocals.
pub const TOLERANCE: f64 = 1e-5;

/// The same where products are float16. Both factors are rounded by up to 2^-11 (of the weights the reference sees that
/// rounding, of the values it does not), as are the products and the sums of four: about 2^-12.5 each in the mean square,
/// 4e-4 together. Errors and terms of longer sums grow alike, with the root of their number. The rest is room for results
/// that are small beside what was summed, and for Winograd F(2x2), whose transforms double it (1e-3).
pub const F16_TOLERANCE: f64 = 4e-3;

/// The same of attention: softmax makes a score's absolute error a weight's relative one, the more the larger scores are. Of
/// the case of peaked scores (standard deviation 36), simulated in float64 with other numbers, 200 times for each way to round a
/// product of four: 1.8e-3 to 2.5e-3 in the mean, 6.7e-3 at most. Devices differ in that way (2.6e-3 and 4.0e-3 were measured).
const F16_ATTENTION_TOLERANCE: f64 = 8e-3;

/// The tolerance at a precision.
pub fn tolerance(precision: Precision) -> f64 {
    if precision == Precision::F16 { F16_TOLERANCE } else { TOLERANCE }
}

/// A small problem.
#[derive(Debug, Clone)]
pub struct Case {
    /// What is special about it.
    pub name: String,
    /// What is computed.
    pub trial: Trial,
    /// What is planned.
    fused: Graph,
}

impl Case {
    /// One node, planned as it is.
    pub(crate) fn new(
        name: impl Into<String>,
        op: impl Into<Op>,
        operands: Vec<Operand>,
        params: &[&[usize]],
    ) -> Result<Self> {
        let trial = Trial::of(Probe::new(op.into(), operands).with_params(params))?;
        let fused = trial.graph().clone();
        Ok(Self { name: name.into(), trial, fused })
    }

    /// A chain of primitive nodes, fused before it is planned.
    pub(crate) fn fused(
        name: impl Into<String>,
        operands: Vec<Operand>,
        build: impl FnOnce(&mut Graph, &[TensorId]) -> Result<TensorId>,
    ) -> Result<Self> {
        let trial = Trial::new(operands, build)?;
        let fused = fuse::fuse(trial.graph())?;
        Ok(Self { name: name.into(), trial, fused })
    }

    /// The ops that it covers, the primitive ones and those they are fused into.
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        let nodes = self.trial.graph().nodes.iter().chain(&self.fused.nodes);
        nodes.map(|node| &node.op).filter(|op| **op != Op::Input)
    }

    /// The name of the op that it is about, the last one.
    pub fn subject(&self) -> &'static str {
        self.ops().last().map_or("", |op| op.operator().name())
    }

    /// What its result may be off by.
    pub(crate) fn tolerance(&self, precision: Precision) -> f64 {
        let attention = precision == Precision::F16 && self.ops().any(|op| matches!(op, Op::Attention(_)));
        if attention { F16_ATTENTION_TOLERANCE } else { tolerance(precision) }
    }

    /// Whether float16 storage changes anything.
    pub fn has_matrices(&self) -> bool {
        self.fused.params.iter().any(|param| param.shape.len() > 1)
    }

    /// The kernels that may compute it.
    pub fn variants(&self, caps: &Caps) -> Vec<Variant> {
        let mut variants = Vec::new();
        for node in self.fused.nodes.iter().filter(|node| node.op != Op::Input) {
            let shapes: Vec<Shape> = node.inputs.iter().map(|id| self.fused.shape(*id)).collect();
            for variant in node.op.operator().variants(&shapes, node.shape, caps) {
                if !variants.contains(&variant) {
                    variants.push(variant);
                }
            }
        }
        variants
    }

    /// Its plan by `variant`. Winograd's weights come from the host in float32, from the kernel that transforms them else.
    ///
    /// # Errors
    /// A device that is too small.
    pub fn plan(&self, caps: &Caps, variant: Variant, precision: Precision) -> Result<Plan> {
        self.plan_by(caps, variant, precision, precision == Precision::F32)
    }

    /// The same, where `host` says who transforms Winograd's weights: the host at load, or a kernel at each step.
    pub(crate) fn plan_by(&self, caps: &Caps, variant: Variant, precision: Precision, host: bool) -> Result<Plan> {
        let overrides = VariantOverrides::from([("*".to_owned(), variant)]);
        let transform_budget = Some(if host { u64::MAX } else { 0 });
        Plan::new(&self.fused, caps, &PlanOptions { precision, overrides, transform_budget })
    }
}

/// The whole table.
///
/// # Errors
/// A case that its op's shape rule refuses, which is a defect of the table.
pub fn table() -> Result<Vec<Case>> {
    let parts = [convolution::cases()?, network::cases()?, gradient::cases()?, sampling::cases()?];
    Ok(parts.into_iter().flatten().collect())
}
