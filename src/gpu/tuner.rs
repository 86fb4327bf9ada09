//! Measures which kernel is fastest for each tuning key of a graph, on the device at hand.
//!
//! Timings are noisy: other programs, clocks that change, a driver that compiles on first use. So candidates take turns,
//! the fastest round of each counts, and the default stays unless another beats it clearly and most of the time.

use std::sync::Arc;

use super::adapter::Gpu;
#[cfg(not(target_arch = "wasm32"))]
use super::pace::native_clock;
use super::program::Program;
use crate::error::{Error, Result};
use crate::graph::{Graph, Segment};
use crate::op::variant::Variant;
use crate::plan::tuning::VariantOverrides;
use crate::plan::tuning::{TuningCache, tunable};
use crate::plan::{Plan, PlanOptions};

/// A variant other than the default is chosen only if it takes at most this part of the default's time.
const CLEARLY: f64 = 0.95;
/// Rounds per tuning key, at least and at most.
const ROUNDS: (usize, usize) = (3, 9);
/// Seconds per tuning key after which the least number of rounds is enough.
const ENOUGH: f64 = 0.2;
/// Seconds that one timing should take, so that submitting it is a small part.
const TIMING: f64 = 2e-3;
/// Ticks of the clock that a timing takes at least: then one more or less is within what counts as noise.
const TICKS: f64 = 20.0;
/// A candidate that is so many times slower than the fastest is out, after one round and after more; the default stays in.
const EXCLUDED: [f64; 2] = [5.0, 2.0];

/// How to measure.
#[derive(Debug, Clone, Copy)]
pub struct TuneOptions {
    /// Seconds to spend, on compiling too; what is not reached keeps the default. Only a compilation that takes longer than all
    /// before it can go beyond. Without a budget all is measured.
    pub budget: Option<f64>,
    /// Also record the default for what is not reached, so that later runs keep it and make the same images.
    pub settle: bool,
    /// Tuning keys to measure, at most: a caller that shows progress or may stop calls again for the next ones.
    pub most: Option<usize>,
    /// Seconds since any moment. A browser's clock is its own.
    pub clock: fn() -> f64,
    /// Seconds between two readings of that clock that differ; browsers make it coarse.
    pub resolution: f64,
}

#[cfg(not(target_arch = "wasm32"))]
impl Default for TuneOptions {
    fn default() -> Self {
        Self { budget: Some(5.0), settle: true, most: None, clock: native_clock, resolution: 0.0 }
    }
}

/// The result of one tuning key.
#[derive(Debug, Clone)]
pub struct Tuned {
    /// The first node that has the key.
    pub node: String,
    /// How many have it.
    pub count: usize,
    /// The variants and the seconds of each one's fastest round; infinite where it failed.
    pub seconds: Vec<(Variant, f64)>,
    /// Index of the chosen one; 0 is the default.
    pub chosen: usize,
}

/// What was measured.
#[derive(Debug, Clone, Default)]
pub struct TuneReport {
    /// Results, those with the most work first.
    pub tuned: Vec<Tuned>,
    /// Tuning keys that were not reached: they keep the default.
    pub left: usize,
}

/// Measures the tuning keys of a fused graph that `tuning` does not have, and adds them. A second call measures nothing,
/// if the first one settled what the budget left.
///
/// # Errors
/// A lost device. A candidate that does not compile or fit is not an error: it is not chosen.
pub async fn tune(
    gpu: &Arc<Gpu>,
    graph: &Graph,
    options: &PlanOptions,
    tuning: &mut TuningCache,
    how: &TuneOptions,
) -> Result<TuneReport> {
    let mut report = TuneReport::default();
    // Winograd pays for its weights' transform at each step where those of the whole model do not fit the budget.
    let bytes = |transform_budget| {
        let plan = Plan::new(graph, gpu.caps(), &PlanOptions { transform_budget, ..options.clone() });
        plan.map(|plan| plan.weight_bytes())
    };
    let all_fit = bytes(options.transform_budget)? == bytes(Some(u64::MAX))?;
    let transform_budget = if all_fit { options.transform_budget } else { Some(0) };
    let end = how.budget.map(|seconds| (how.clock)() + seconds);
    let left = || end.map_or(f64::INFINITY, |end| end - (how.clock)());
    let late = || left() <= 0.0;
    // The longest compilation so far. One that begins cannot be stopped, so that it begins only where as much time is left. The
    // first one may take longer than the budget, but it is a default's, which a session needs anyway.
    let mut longest = 0.0_f64;
    for tunable in tunable(graph, &gpu.caps().at(options.precision)) {
        if tuning.knows(options.precision, &tunable.key) {
            continue;
        }
        let single = graph.single(tunable.node)?;
        let enough = how.most.is_some_and(|most| report.tuned.len() >= most);
        let mut candidates = Vec::new();
        'compiling: for variant in &tunable.variants {
            let overrides = VariantOverrides::from([(tunable.key.clone(), *variant)]);
            let plan = Plan::new(&single, gpu.caps(), &PlanOptions { overrides, transform_budget, ..options.clone() });
            // One after the other, since a compilation may take longer than all else.
            for kernel in plan.iter().flat_map(Plan::kernels) {
                if enough || left() <= longest {
                    break 'compiling;
                }
                let begin = (how.clock)();
                match gpu.compile(kernel).await {
                    Err(lost @ Error::DeviceLost(_)) => return Err(lost),
                    // A refused kernel is refused again below.
                    _ => longest = longest.max((how.clock)() - begin),
                }
            }
            candidates.push(prepare(gpu, plan).await?);
        }
        let reached = candidates.len() == tunable.variants.len();
        let samples = if reached { measure(&mut candidates, how, &late).await? } else { Vec::new() };
        let mut chosen = 0;
        // A measurement that was cut short says nothing.
        if !reached || late() {
            report.left += 1;
            if !how.settle {
                continue;
            }
        } else {
            chosen = decide(&samples);
            let seconds = tunable.variants.iter().copied().zip(samples.iter().map(|rounds| fastest(rounds))).collect();
            report.tuned.push(Tuned { node: tunable.node.name.clone(), count: tunable.count, seconds, chosen });
        }
        if let Some(variant) = tunable.variants.get(chosen) {
            tuning.insert(options.precision, &tunable.key, *variant);
        }
    }
    Ok(report)
}

/// A program of one node, with weights and inputs of zeros; `None` where it does not compile or fit.
async fn prepare(gpu: &Arc<Gpu>, plan: Result<Plan>) -> Result<Option<Program>> {
    let made = async {
        let mut program = Program::new(gpu, plan?).await?;
        program.seal_blank().await?;
        program.run(Segment::Network).await?;
        gpu.finish().await?;
        Ok(program)
    };
    match made.await {
        Ok(program) => Ok(Some(program)),
        Err(error @ Error::DeviceLost(_)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Seconds of each candidate in each round it took part in.
async fn measure(
    candidates: &mut [Option<Program>],
    how: &TuneOptions,
    late: &dyn Fn() -> bool,
) -> Result<Vec<Vec<f64>>> {
    let mut samples = vec![Vec::new(); candidates.len()];
    let start = (how.clock)();
    for round in 0..ROUNDS.1 {
        if late() || round >= ROUNDS.0 && (how.clock)() - start > ENOUGH {
            break;
        }
        for (candidate, samples) in candidates.iter_mut().zip(&mut samples) {
            let Some(program) = candidate else { continue };
            if late() {
                return Ok(Vec::new());
            }
            samples.push(time(program, fastest(samples), how, late).await?);
        }
        let leader = samples.iter().map(|rounds| fastest(rounds)).fold(f64::INFINITY, f64::min);
        for (candidate, samples) in candidates.iter_mut().zip(&samples).skip(1) {
            if fastest(samples) > EXCLUDED[round.min(1)] * leader {
                *candidate = None;
            }
        }
    }
    Ok(samples)
}

/// Seconds of one run, of which the fastest so far took `known`.
async fn time(program: &mut Program, known: f64, how: &TuneOptions, late: &dyn Fn() -> bool) -> Result<f64> {
    // A coarse clock cannot measure shorter runs.
    let precise = TICKS * how.resolution;
    let wanted = TIMING.max(precise) / known.max(1e-6);
    let mut times = if known.is_finite() { wanted.ceil() as usize } else { 1 };
    loop {
        let begin = (how.clock)();
        let mut run = 0;
        while run < times {
            run += program.run_times(times - run).await?;
        }
        program.gpu().finish().await?;
        let spent = (how.clock)() - begin;
        // What was cut short is not used.
        if spent >= precise || late() {
            return Ok(spent / run as f64);
        }
        times *= 4;
    }
}

/// The candidate to use: the first, unless another is clearly faster, in its best round and in most.
fn decide(samples: &[Vec<f64>]) -> usize {
    let Some(default) = samples.first().filter(|rounds| rounds.len() >= ROUNDS.0) else { return 0 };
    let best = samples.iter().enumerate().min_by(|a, b| fastest(a.1).total_cmp(&fastest(b.1)));
    let Some((chosen, rounds)) = best else { return 0 };
    let wins = default.iter().zip(rounds).filter(|(default, other)| other < default).count();
    if fastest(rounds) < CLEARLY * fastest(default) && 3 * wins >= 2 * default.len() { chosen } else { 0 }
}

fn fastest(rounds: &[f64]) -> f64 {
    rounds.iter().copied().fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_stays_unless_another_is_clearly_faster() {
        assert_eq!(decide(&[]), 0);
        assert_eq!(decide(&[vec![], vec![1.0, 1.0, 1.0]]), 0, "the default does not run");
        assert_eq!(decide(&[vec![1.0, 1.1], vec![0.5, 0.5]]), 0, "the time was over");
        assert_eq!(decide(&[vec![1.0, 1.1, 1.0], vec![0.97, 0.98, 0.97]]), 0, "3 % is noise");
        assert_eq!(decide(&[vec![1.0, 1.1, 1.0], vec![0.7, 0.8, 0.7]]), 1);
        assert_eq!(decide(&[vec![1.0, 1.0, 1.0], vec![0.7, 1.2, 1.3]]), 0, "one fast round is not enough");
        assert_eq!(decide(&[vec![1.0, 0.9, 1.0], vec![0.8, 0.9, 0.8], vec![0.7, 0.8, 0.6], vec![9.0]]), 2);
    }
}
