//! A small numerical check of every kernel that a plan would use, on the device at hand, before the plan is trusted.
//!
//! A driver that miscompiles one kernel yields wrong images without a word. So each kind of node is computed once, tiny,
//! by the same kernels, and compared with the host; where it differs, the next legal variant is tried and the change
//! reported. Verdicts are kept with the device: a second session tests nothing again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use super::adapter::Gpu;
use super::program::Program;
use super::signal::lock;
use crate::device::Precision;
use crate::error::{Error, Result};
use crate::graph::{Graph, Segment};
use crate::op::cases::{self, Case};
use crate::op::variant::{GemmTile, Sharing, Variant};
use crate::plan::tuning;
use crate::plan::tuning::VariantOverrides;
use crate::plan::{Plan, PlanOptions};
use crate::tensor::Shape;

/// Relative L2 error above which a kernel is wrong. Right ones stay under 1e-5 on every driver that was tried; a driver
/// may be less exact, while wrong ones miss by far more.
const WRONG: f64 = 1e-3;
/// The same at float16 arithmetic, whose right kernels stay under 3e-3.
const WRONG_F16: f64 = 1e-2;

/// What the check found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The choices to plan with: the given ones but for variants that failed.
    pub overrides: VariantOverrides,
    /// One line for each kind of kernel that was replaced.
    pub warnings: Vec<String>,
}

/// Whether a kernel's expectation shall be made wrong: by the op's name and the variant.
pub type Fault = fn(&str, Variant) -> bool;

/// A device's verdicts: why a kernel is wrong, or `None` where it is right.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    known: Mutex<HashMap<String, Option<String>>>,
    fault: Mutex<Option<Fault>>,
}

/// Checks the kernels of a fused graph, and chooses others for those that fail.
///
/// # Errors
/// [`Error::SelfTest`] where no variant of an op is right, a lost device, out of memory.
pub async fn verify(gpu: &Arc<Gpu>, graph: &Graph, options: &PlanOptions) -> Result<Report> {
    let caps = &gpu.caps().at(options.precision);
    let mut report = Report { overrides: options.overrides.clone(), warnings: Vec::new() };
    let mut chosen = VariantOverrides::new();
    let (mut seen, mut told) = (HashSet::new(), HashSet::new());
    for node in &graph.nodes {
        let Some(case) = cases::shrunken(graph, node)? else { continue };
        let shapes: Vec<Shape> = node.inputs.iter().map(|id| graph.shape(*id)).collect();
        // A device on which no variant is legal gets its error from the plan.
        let Some(first) = tuning::choose(node, &shapes, caps, &options.overrides) else { continue };
        let problem = tuning::key(node, &shapes);
        if !seen.insert(problem.clone()) {
            continue;
        }
        let others = node.op.operator().variants(&shapes, node.shape, caps);
        let candidates = std::iter::once(first).chain(others.into_iter().filter(|v| *v != first));
        let op = node.op.operator().name();
        let mut wrong: Vec<(String, String)> = Vec::new();
        let mut right = None;
        for variant in candidates {
            match verdict(gpu, &case, op, variant, options.precision).await? {
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
            return Err(Error::SelfTest(format!("{reasons} on {adapter}, and there is no other kernel")));
        };
        // Nodes differ in how far off they are: one line for all that lose the same kernels.
        let lost: Vec<String> = wrong.into_iter().map(|(kernel, _)| kernel).collect();
        if right != first && told.insert((lost, right)) {
            report.warnings.push(format!("self-test: {reasons} on {adapter}; {} is used instead", describe(right)));
        }
        chosen.insert(problem, right);
    }
    if !report.warnings.is_empty() {
        // What was asked for everywhere (`*`) is in `chosen`, node by node.
        let given = options.overrides.iter().filter(|(problem, _)| *problem != "*");
        report.overrides = given.map(|(problem, variant)| (problem.clone(), *variant)).chain(chosen).collect();
    }
    Ok(report)
}

/// Why `variant` computes `case` wrongly, if it does.
async fn verdict(
    gpu: &Arc<Gpu>,
    case: &Case,
    op: &'static str,
    variant: Variant,
    precision: Precision,
) -> Result<Option<String>> {
    let key = format!("{variant:?} {precision:?} {}", case.key());
    if let Some(known) = lock(&gpu.verdicts.known).get(&key) {
        return Ok(known.clone());
    }
    let reason = match run(gpu, case, variant, precision).await {
        Ok(result) => {
            let mut expected = case.expected(precision)?;
            if (*lock(&gpu.verdicts.fault)).is_some_and(|fault| fault(op, variant)) {
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
    lock(&gpu.verdicts.known).insert(key, reason.clone());
    Ok(reason)
}

/// Computes a case by one variant.
///
/// # Errors
/// A refused shader, a lost device.
pub async fn run(gpu: &Arc<Gpu>, case: &Case, variant: Variant, precision: Precision) -> Result<Vec<f32>> {
    run_plan(gpu, case, case.plan(gpu.caps(), variant, precision)?).await
}

/// Computes a case by a plan of it.
///
/// # Errors
/// A refused shader, a lost device.
pub async fn run_plan(gpu: &Arc<Gpu>, case: &Case, plan: Plan) -> Result<Vec<f32>> {
    let mut program = Program::new(gpu, plan).await?;
    for (name, data) in case.weights() {
        program.upload(name, &data).await?;
    }
    program.seal()?;
    for (name, data) in case.inputs() {
        program.write(&name, &data)?;
    }
    program.run(Segment::Network).await?;
    program.read(cases::OUT).await
}

/// How many kinds of kernel were tested on this device.
#[doc(hidden)]
pub fn count(gpu: &Gpu) -> usize {
    lock(&gpu.verdicts.known).len()
}

/// Makes kernels seem wrong, to test what follows.
#[doc(hidden)]
pub fn inject(gpu: &Gpu, fault: Fault) {
    lock(&gpu.verdicts.known).clear();
    *lock(&gpu.verdicts.fault) = Some(fault);
}

fn describe(variant: Variant) -> String {
    match variant {
        Variant::Naive => "the general kernel".into(),
        Variant::Serial => "one invocation a group".into(),
        Variant::Gemm(GemmTile { sharing: Sharing::Cooperative(size), .. }) => {
            format!("a matrix product of {size}x{size} cooperative matrices")
        }
        Variant::Gemm(tile) => format!("a matrix product of {}x{} tiles", tile.rows, 4 * tile.columns4),
        Variant::Block => "blocks of 4x4 pixels".into(),
        Variant::Winograd(t, _) => format!("Winograd F({t}x{t}, 3x3)"),
        Variant::Attention(tile) if tile.subgroup > 0 => {
            format!("{} queries an invocation of a subgroup", tile.queries)
        }
        Variant::Attention(tile) => format!("{} queries an invocation", tile.queries),
    }
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
