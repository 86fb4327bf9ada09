//! Every op, by every kernel that may compute it and with both storages of weights, against the plain CPU reference:
//! the case table of src/op/cases, on every adapter under test.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use common::gpu::{gpus, relative_l2};
use guided_diffusion::gpu::{Gpu, selftest};
use guided_diffusion::op::Op;
use guided_diffusion::op::cases::{self, Case, TOLERANCE};
use guided_diffusion::plan::select::Variant;
use guided_diffusion::plan::{Caps, Precision};
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

fn check(gpu: &Arc<Gpu>, cases: &[Case]) -> Vec<String> {
    let start = Instant::now();
    let adapter = &gpu.summary().name;
    let (mut failures, mut runs) = (Vec::new(), 0);
    let mut worst: BTreeMap<String, f64> = BTreeMap::new();
    for case in cases {
        for precision in [Precision::F32, Precision::F16Weights] {
            if precision == Precision::F16Weights && !case.has_matrices() {
                continue;
            }
            let expected = case.expected(precision).unwrap();
            for variant in case.variants(gpu.caps()) {
                let error = match block_on(selftest::run(gpu, case, variant, precision)) {
                    Ok(result) => relative_l2(&result, &expected),
                    Err(error) => {
                        failures.push(format!("{adapter}: {} {}: {variant:?}: {error}", subject(case), case.name));
                        continue;
                    }
                };
                runs += 1;
                let kind = format!("{} {variant:?} {precision:?}", subject(case));
                let entry = worst.entry(kind).or_default();
                *entry = entry.max(error);
                if error.is_nan() || error > TOLERANCE {
                    let name = format!("{} {}", subject(case), case.name);
                    failures.push(format!("{adapter}: {name}: {variant:?} {precision:?}: {error:.2e}"));
                }
            }
        }
    }
    let lines: Vec<String> = worst.iter().map(|(kind, error)| format!("  {error:.1e} {kind}")).collect();
    println!(
        "{adapter}: {runs} runs, {} pipelines, {:.1} s\n{}",
        gpu.pipelines_created(),
        start.elapsed().as_secs_f64(),
        lines.join("\n")
    );
    failures
}

#[test]
fn every_case_by_every_kernel_equals_the_reference() {
    let cases = cases::table().unwrap();
    // Compiling is what takes time, and it takes one core a thread.
    let parts: Vec<Vec<Case>> = (0..2).map(|k| cases.iter().skip(k).step_by(2).cloned().collect()).collect();
    let failures: Vec<String> = std::thread::scope(|scope| {
        let work = gpus().iter().flat_map(|gpu| parts.iter().map(move |part| (gpu, part)));
        let threads: Vec<_> = work.map(|(gpu, part)| scope.spawn(|| check(gpu, part))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn winograd_in_chunks_equals_the_whole() {
    // A limit that lets no more than a part of the tiles into one workspace.
    let cases = cases::table().unwrap();
    let case = cases.iter().find(|c| c.name == "3x3, many tiles").unwrap();
    let expected = case.expected(Precision::F32).unwrap();
    let gpu = &gpus()[0];
    let small = Caps { max_binding_size: 20 << 10, ..gpu.caps().clone() };
    for variant in case.variants(gpu.caps()).into_iter().filter(|v| matches!(v, Variant::Winograd(..))) {
        let plan = case.plan(&small, variant, Precision::F32).unwrap();
        assert!(plan.steps().len() >= 6, "{variant:?}: {} steps", plan.steps().len());
        let error = relative_l2(&block_on(selftest::run_plan(gpu, case, plan)).unwrap(), &expected);
        assert!(error <= TOLERANCE, "{variant:?}: {error:.2e}");
    }
}

#[test]
fn the_table_covers_every_op_and_every_kernel() {
    let cases = cases::table().unwrap();
    let covered: BTreeSet<String> = cases.iter().flat_map(|case| case.ops().map(op_name)).collect();
    let all: BTreeSet<String> = Op::NAMES.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(covered, all, "a new op needs a row in src/op/cases");

    let caps = Caps::webgpu_defaults();
    let mut used = BTreeSet::new();
    for case in &cases {
        for precision in [Precision::F32, Precision::F16Weights] {
            for variant in case.variants(&caps) {
                used.extend(case.plan(&caps, variant, precision).unwrap().steps().iter().map(|step| step.kernel.stem));
            }
        }
    }
    let listed: BTreeSet<&str> = KERNELS.iter().map(|(stem, _)| *stem).collect();
    assert_eq!(used, listed, "a new kernel needs a case that uses it");

    let mut names = BTreeSet::new();
    for case in &cases {
        let name = format!("{} {}", subject(case), case.name);
        assert!(names.insert(name.clone()), "{name} is there twice");
    }
}
