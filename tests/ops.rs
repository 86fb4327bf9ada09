//! Every op, by every kernel that may compute it and in every precision, against the plain CPU reference:
//! the case table of tests/conformance, on every adapter under test.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use common::golden;
use common::gpu::{gpus, relative_l2};
use conformance::cases::{self, Case, TOLERANCE};
use conformance::{OpRun, Task, ample, op_runs};
use guided_diffusion::device::{Caps, Precision};
use guided_diffusion::gpu::Gpu;
use guided_diffusion::op::Op;
use guided_diffusion::op::variant::Variant;
use guided_diffusion::shader::KERNELS;
use pollster::block_on;

fn op_name(op: &Op) -> String {
    let text = format!("{op:?}");
    text.split(['(', ' ']).next().unwrap_or_default().to_owned()
}

/// The op that a case is about: the last one.
fn subject(case: &Case) -> &'static str {
    case.ops().last().unwrap().operator().name()
}

fn check(gpu: &Arc<Gpu>, runs: &[OpRun]) -> Vec<String> {
    let start = Instant::now();
    let adapter = &gpu.summary().name;
    let mut failures = Vec::new();
    let mut worst: BTreeMap<String, f64> = BTreeMap::new();
    for run in runs {
        match block_on(Task::Op(run.clone()).run(gpu, golden())) {
            Ok(checks) => checks.iter().for_each(|check| {
                let entry = worst.entry(run.kind()).or_default();
                *entry = entry.max(check.error);
                if !check.passed() {
                    failures.push(format!("{adapter}: {check}"));
                }
            }),
            Err(error) => failures.push(format!("{adapter}: {}: {}: {error}", run.kind(), run.case.name)),
        }
    }
    let lines: Vec<String> = worst.iter().map(|(kind, error)| format!("  {error:.1e} {kind}")).collect();
    println!(
        "{adapter}: {} runs, {} pipelines, {:.1} s\n{}",
        runs.len(),
        gpu.pipelines_created(),
        start.elapsed().as_secs_f64(),
        lines.join("\n")
    );
    failures
}

#[test]
fn every_case_by_every_kernel_equals_the_reference() {
    // Compiling is what takes time, and it takes one core a thread.
    let failures: Vec<String> = std::thread::scope(|scope| {
        let parts = gpus().iter().flat_map(|gpu| {
            let runs = op_runs(gpu.caps());
            [0, 1].map(|k| (gpu, runs.iter().skip(k).step_by(2).cloned().collect::<Vec<_>>()))
        });
        let threads: Vec<_> = parts.map(|(gpu, part)| scope.spawn(move || check(gpu, &part))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn winograd_in_chunks_equals_the_whole() {
    // A limit that lets no more than a part of the tiles into one workspace.
    let cases = cases::table().unwrap();
    let case = cases.iter().find(|c| c.name == "3x3, many tiles").unwrap();
    let expected = case.trial.expected(Precision::F32).unwrap();
    let gpu = &gpus()[0];
    let small = Caps { max_binding_size: 20 << 10, ..gpu.caps().clone() };
    for variant in case.variants(gpu.caps()).into_iter().filter(|v| matches!(v, Variant::Winograd(..))) {
        let plan = case.plan(&small, variant, Precision::F32).unwrap();
        assert!(plan.dispatches().len() >= 6, "{variant:?}: {} steps", plan.dispatches().len());
        let error = relative_l2(&block_on(case.trial.run(gpu, plan)).unwrap(), &expected);
        assert!(error <= TOLERANCE, "{variant:?}: {error:.2e}");
    }
}

#[test]
fn the_table_covers_every_op_and_every_kernel() {
    let cases = cases::table().unwrap();
    let covered: BTreeSet<String> = cases.iter().flat_map(|case| case.ops().map(op_name)).collect();
    let all: BTreeSet<String> = Op::NAMES.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(covered, all, "a new op needs a row in tests/conformance/src/cases");

    let caps = Caps { shader_f16: true, cooperative: Some(16), ..Caps::webgpu_defaults() };
    let mut used = BTreeSet::new();
    for case in &cases {
        for precision in [Precision::F32, Precision::F16] {
            for variant in case.variants(&caps.at(precision)) {
                used.extend(
                    case.plan(&caps, variant, precision).unwrap().dispatches().iter().map(|step| step.kernel.stem),
                );
            }
        }
    }
    let listed: BTreeSet<&str> = KERNELS.iter().map(|(stem, _)| *stem).collect();
    assert_eq!(used, listed, "a new kernel needs a case that uses it");

    // Variants take turns: each has one.
    let caps = Caps { subgroup: Some(8), wide_registers: true, ..ample() };
    let of_f32 = op_runs(&caps).into_iter().filter(|run| run.precision == Precision::F32);
    let run: Vec<Variant> = of_f32.map(|run| run.variant).collect();
    for variant in cases.iter().flat_map(|case| case.variants(&caps)) {
        assert!(variant.is_legal(&run), "{variant:?}");
    }

    let mut names = BTreeSet::new();
    for case in &cases {
        let name = format!("{} {}", subject(case), case.name);
        assert!(names.insert(name.clone()), "{name} is there twice");
    }
}
