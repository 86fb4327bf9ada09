//! A numerical check of every kernel that a plan would use, on the device, before the plan is used.
//!
//! A driver that miscompiles one kernel yields wrong images without an error. So each kind of node is computed once, with small
//! sizes, by the same kernels, and compared with the host; where it differs, the next legal variant is tried and the change
//! reported. Results are kept with the device: a second session tests nothing again.

use std::collections::HashSet;
use std::sync::Arc;

use super::adapter::Gpu;
use super::pipeline::Alter;
use super::results::Fault;
use super::signal::lock;
use super::trial::Trial;
use crate::device::Precision;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::op::Variant;
use crate::op::variant::{GemmTile, Sharing};
use crate::plan::tuning::{self, VariantOverrides};
use crate::plan::{Plan, PlanOptions};
use crate::tensor::Shape;

/// Relative L2 error above which a kernel is wrong. Correct ones stay under 1e-5 on lavapipe and SwiftShader; other
/// drivers may be less exact, and wrong kernels are off by far more.
const WRONG: f64 = 1e-3;
/// The same at float16 arithmetic, whose correct kernels stay under 3e-3.
const WRONG_F16: f64 = 1e-2;

/// The result for a graph.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The variants to plan with: the given ones, except those that failed.
    pub overrides: VariantOverrides,
    /// One line for each kind of kernel that was replaced.
    pub warnings: Vec<String>,
}

/// Checks the kernels of a fused graph, and chooses others for those that fail.
///
/// # Errors
/// [`Error::SelfTest`] where no variant of an op is right, a lost device, out of memory.
pub async fn verify(gpu: &Arc<Gpu>, graph: &Graph, options: &PlanOptions) -> Result<Report> {
    let caps = &gpu.caps().at(options.precision);
    let mut report = Report { overrides: options.overrides.clone(), warnings: Vec::new() };
    let mut chosen = VariantOverrides::new();
    // Where weights are transformed at each step a kernel does it, for which small problems' weights are too few by default.
    let transforms = |plan: Plan| plan.kernels().iter().any(|kernel| kernel.stem == "winograd_filter");
    let budget = Plan::new(graph, gpu.caps(), options).is_ok_and(transforms).then_some(0);
    let (mut seen, mut reported) = (HashSet::new(), HashSet::new());
    for node in &graph.nodes {
        let shapes: Vec<Shape> = node.inputs.iter().map(|id| graph.shape(*id)).collect();
        let params: Vec<&[usize]> = node.params.iter().map(|id| graph.params[id.0].shape.as_slice()).collect();
        let Some(probe) = node.op.probe(&shapes, &params, node.shape) else { continue };
        // Where no variant is legal, the plan gives the error.
        let Some(first) = tuning::choose(node, &shapes, caps, &options.overrides) else { continue };
        let key = tuning::key(node, &shapes);
        if !seen.insert(key.clone()) {
            continue;
        }
        let trial = Trial::of(probe)?;
        let others = node.op.operator().variants(&shapes, node.shape, caps);
        let candidates = std::iter::once(first).chain(others.into_iter().filter(|v| *v != first));
        let op = node.op.operator().name();
        let mut wrong: Vec<(String, String)> = Vec::new();
        let mut right = None;
        for variant in candidates {
            match test(gpu, &trial, op, variant, options.precision, budget).await? {
                None => {
                    right = Some(variant);
                    break;
                }
                Some(reason) => wrong.push((format!("{op} by {}", describe(variant)), reason)),
            }
        }
        let adapter = &gpu.summary().name;
        let reasons: Vec<String> = wrong.iter().map(|(kernel, reason)| format!("{kernel} {reason}")).collect();
        let reasons = reasons.join("; ");
        let Some(right) = right else {
            return Err(Error::SelfTest(format!("{reasons} on {adapter}, and there is no other kernel to use")));
        };
        // Nodes differ in how far off they are: one line for all that lose the same kernels.
        let lost: Vec<String> = wrong.into_iter().map(|(kernel, _)| kernel).collect();
        if right != first && reported.insert((lost, right)) {
            report.warnings.push(format!("self-test: {reasons} on {adapter}; {} is used instead", describe(right)));
        }
        chosen.insert(key, right);
    }
    if !report.warnings.is_empty() {
        // What was asked for everywhere (`*`) is in `chosen`, node by node.
        let given = options.overrides.iter().filter(|(key, _)| *key != "*");
        report.overrides = given.map(|(key, variant)| (key.clone(), *variant)).chain(chosen).collect();
    }
    Ok(report)
}

/// Why `variant` computes `trial` wrongly, if it does. `budget`: of weights that Winograd keeps transformed.
async fn test(
    gpu: &Arc<Gpu>,
    trial: &Trial,
    op: &'static str,
    variant: Variant,
    precision: Precision,
    budget: Option<u64>,
) -> Result<Option<String>> {
    let transform_budget = budget.filter(|_| matches!(variant, Variant::Winograd(..)));
    let key = format!("{variant:?} {precision:?} {transform_budget:?} {}", trial.key());
    if let Some(known) = lock(&gpu.self_test.known).get(&key) {
        return Ok(known.clone());
    }
    let overrides = VariantOverrides::from([("*".to_owned(), variant)]);
    let options = PlanOptions { precision, overrides, transform_budget };
    let computed = async { trial.run(gpu, Plan::new(trial.graph(), gpu.caps(), &options)?).await };
    let reason = match computed.await {
        Ok(result) => {
            let mut expected = trial.expected(precision)?;
            if (*lock(&gpu.self_test.fault)).is_some_and(|fault| fault(op, variant)) {
                expected.iter_mut().for_each(|v| *v = 1.5 * *v + 1.0);
            }
            let error = relative_l2(&result, &expected);
            let wrong = if precision == Precision::F16 { WRONG_F16 } else { WRONG };
            (error.is_nan() || error > wrong).then(|| format!("is {error:.1e} off"))
        }
        Err(error @ Error::DeviceLost(_)) => return Err(error),
        Err(Error::OutOfMemory(reason)) => return Err(Error::OutOfMemory(format!("{op}: {reason}"))),
        Err(error) => Some(format!("fails: {error}")),
    };
    lock(&gpu.self_test.known).insert(key, reason.clone());
    Ok(reason)
}

/// How many kinds of kernel were tested on this device.
#[doc(hidden)]
pub fn count(gpu: &Gpu) -> usize {
    lock(&gpu.self_test.known).len()
}

/// Makes kernels seem wrong, to test what follows.
#[doc(hidden)]
pub fn inject(gpu: &Gpu, fault: Fault) {
    lock(&gpu.self_test.known).clear();
    *lock(&gpu.self_test.fault) = Some(fault);
}

/// Alters the text of kernels, to test what notices a wrong one: what was compiled and tested is forgotten.
#[doc(hidden)]
pub fn plant(gpu: &Gpu, alter: Option<Alter>) {
    lock(&gpu.self_test.known).clear();
    gpu.pipelines.alter(alter);
}

fn describe(variant: Variant) -> String {
    match variant {
        Variant::Naive => "the general kernel".into(),
        Variant::Serial => "one invocation per group".into(),
        Variant::Gemm(GemmTile { sharing: Sharing::Cooperative(size), .. }) => {
            format!("a matrix product of {size}x{size} cooperative matrices")
        }
        Variant::Gemm(tile) => {
            format!("a matrix product of {}x{} tiles{}", tile.rows, 4 * tile.columns4, in_parts(tile.parts))
        }
        Variant::Block => "blocks of 4x4 pixels".into(),
        Variant::Winograd(t, _) => format!("Winograd F({t}x{t}, 3x3)"),
        Variant::Attention(tile) if tile.subgroup > 0 => {
            format!("{} queries per invocation of a subgroup", tile.queries)
        }
        Variant::Attention(tile) if tile.workgroup => {
            format!("tiles of {} queries per invocation{}", tile.queries, in_parts(tile.parts))
        }
        Variant::Attention(tile) => format!("{} queries per invocation", tile.queries),
    }
}

/// Another kernel than that of one part.
fn in_parts(parts: usize) -> &'static str {
    if parts > 1 { " in parts" } else { "" }
}

fn relative_l2(actual: &[f32], expected: &[f32]) -> f64 {
    if actual.len() != expected.len() {
        return f64::NAN;
    }
    let pairs = || actual.iter().zip(expected).map(|(a, e)| (f64::from(*a), f64::from(*e)));
    let difference: f64 = pairs().map(|(a, e)| (a - e) * (a - e)).sum();
    let size: f64 = pairs().map(|(_, e)| e * e).sum();
    (difference / size.max(1e-30)).sqrt()
}
