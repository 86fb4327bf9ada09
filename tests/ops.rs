//! Every op, by every kernel that may compute it and in every precision, against the plain CPU reference:
//! the case table of tests/conformance, on every adapter under test.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use common::gpu::{gpus, on_each, relative_l2};
use common::{golden, synth};
use conformance::cases::{self, Case, TOLERANCE};
use conformance::{Kinds, OpRun, Task, ample, kind, op_runs};
use guided_diffusion::device::{Caps, Precision};
use guided_diffusion::gpu::Gpu;
use guided_diffusion::gpu::trial::Trial;
use guided_diffusion::op::probe::{Operand, Probe, Values, labels, noise, spread};
use guided_diffusion::op::sampling::{HISTORY, row};
use guided_diffusion::op::variant::{AttentionTile, GemmTile, Sharing, Variant};
use guided_diffusion::op::{
    Attention, Conv2d, Epilogue, GroupNormAffine, LogSoftmaxGrad, Op, PredictXStart, Prologue, Resample, SamplerStep,
    Threshold, Unary,
};
use guided_diffusion::plan::tuning::VariantOverrides;
use guided_diffusion::plan::{Buffer, Dispatch, Plan, PlanOptions};
use guided_diffusion::shader::KERNELS;
use guided_diffusion::tensor::Shape;
use pollster::block_on;

fn op_name(op: &Op) -> String {
    let text = format!("{op:?}");
    text.split(['(', ' ']).next().unwrap_or_default().to_owned()
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
            let runs = op_runs(gpu.caps(), Kinds::Each);
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
    let caps = gpu.caps().at(Precision::F32);
    let small = Caps { max_binding_size: 20 << 10, ..caps.clone() };
    for variant in case.variants(&caps).into_iter().filter(|v| matches!(v, Variant::Winograd(..))) {
        let plan = case.plan(&small, variant, Precision::F32).unwrap();
        assert!(plan.dispatches().len() >= 6, "{variant:?}: {} steps", plan.dispatches().len());
        let error = relative_l2(&block_on(case.trial.run(gpu, plan)).unwrap(), &expected);
        assert!(error <= TOLERANCE, "{variant:?}: {error:.2e}");
    }
}

/// Tensors that are larger than a binding, as those of 512x512 pixels are by WebGPU's default limits, are bound in parts.
#[test]
fn bands_equal_the_whole() {
    let gpu = &gpus()[0];
    let two = Prologue { two_sources: true, affine: true, silu: true, resample: None };
    let block = |prologue: Prologue, residual| Conv2d {
        prologue,
        epilogue: Epilogue { embedding: true, residual: Some(residual) },
        ..Conv2d::new(3, 1)
    };
    let s = |size: usize, c: usize| Shape::new(2, size, size, c);
    let vector = |c: usize| spread(Shape::vector(2, c), 0.5, 0.5);
    let weights = |inner: usize, out: usize, kernel: usize| vec![vec![out, inner, kernel, kernel], vec![out]];
    let up = Prologue { affine: true, silu: true, resample: Some(Resample::Up), ..Prologue::default() };
    let (sources, embedding) = ([noise(s(48, 32)), noise(s(48, 32))], noise(Shape::vector(2, 64)));
    let probes: [(Probe<Op>, u64, &str); 5] = [
        (
            Probe {
                op: block(two.clone(), None).into(),
                operands: [&sources[..], &[vector(128), embedding.clone(), noise(s(48, 64))]].concat(),
                params: weights(64, 64, 3),
            },
            620 << 10,
            "winograd_output",
        ),
        (
            Probe {
                op: block(up, Some(Resample::Up)).into(),
                operands: vec![noise(s(24, 64)), vector(128), embedding, noise(s(24, 64))],
                params: weights(64, 64, 3),
            },
            620 << 10,
            "winograd_output",
        ),
        (
            Probe {
                op: Conv2d { prologue: two.clone(), ..Conv2d::new(3, 1) }.into(),
                operands: [&sources[..], &[vector(128)]].concat(),
                params: weights(64, 4, 3),
            },
            260 << 10,
            "winograd_input",
        ),
        (
            Probe {
                op: Conv2d { prologue: Prologue { two_sources: true, ..Prologue::default() }, ..Conv2d::linear() }
                    .into(),
                operands: sources.to_vec(),
                params: weights(64, 64, 1),
            },
            100 << 10,
            "gemm",
        ),
        (
            Probe {
                op: GroupNormAffine { two_sources: true, scale_shift: false }.into(),
                operands: sources.to_vec(),
                params: vec![vec![64], vec![64]],
            },
            100 << 10,
            "group_norm_stats",
        ),
    ];
    for (probe, max_binding_size, stem) in probes {
        let trial = Trial::of(probe).unwrap();
        let expected = trial.expected(Precision::F32).unwrap();
        let small = Caps { max_binding_size, ..gpu.caps().at(Precision::F32) };
        let node = trial.graph().nodes.last().unwrap();
        let shapes: Vec<Shape> = node.inputs.iter().map(|id| trial.graph().shape(*id)).collect();
        let variants = node.op.operator().variants(&shapes, node.shape, &small);
        let (mut done, mut kinds) = (0, BTreeSet::new());
        for variant in variants {
            let t = if let Variant::Winograd(t, _) = variant { t } else { 0 };
            if !kinds.insert(t) || t == 0 && stem.starts_with("winograd") {
                continue;
            }
            let overrides = VariantOverrides::from([("*".to_owned(), variant)]);
            let plan = Plan::new(trial.graph(), &small, &PlanOptions { overrides, ..PlanOptions::default() }).unwrap();
            let dispatches = || plan.dispatches().iter().filter(|step| step.kernel.stem.starts_with(stem));
            let in_parts =
                |step: &Dispatch| step.buffers.iter().any(|(buffer, _)| matches!(buffer, Buffer::Part { .. }));
            assert!(dispatches().count() >= 4 && dispatches().all(in_parts), "{stem} {variant:?}\n{plan}");
            let error = relative_l2(&block_on(trial.run(gpu, plan)).unwrap(), &expected);
            println!("{stem} {variant:?}: {error:.1e}");
            assert!(error <= TOLERANCE, "{stem} {variant:?}: {error:.2e}");
            done += 1;
        }
        assert!(done > 0, "{stem}");
    }
}

#[test]
fn dispatches_in_pieces_equal_the_whole() {
    let gpu = &gpus()[0];
    let small = Caps { most_work: 1000, ..gpu.caps().clone() };
    let names = ["3x3, wider than a tile", "1x1, in parts, residual", "3x3 stride 2, odd", "three heads of 4"];
    for case in cases::table().unwrap().iter().filter(|case| names.contains(&case.name.as_str())) {
        let expected = case.trial.expected(Precision::F32).unwrap();
        let mut pieces = BTreeSet::new();
        for variant in case.variants(gpu.caps()) {
            let whole = case.plan(gpu.caps(), variant, Precision::F32).unwrap();
            let plan = case.plan(&small, variant, Precision::F32).unwrap();
            if plan.dispatches().len() > whole.dispatches().len() {
                pieces.extend(plan.dispatches().iter().map(|step| step.kernel.stem));
                let error = relative_l2(&block_on(case.trial.run(gpu, plan)).unwrap(), &expected);
                assert!(error <= TOLERANCE, "{} {variant:?}: {error:.2e}", case.name);
            }
        }
        println!("{}: {pieces:?}", case.name);
        assert!(!pieces.is_empty(), "{}", case.name);
    }
}

#[test]
fn lines_beyond_a_grids_dimension_go_on_in_z() {
    let gpu = &gpus()[0];
    let linear = Probe::new(Conv2d::linear().into(), vec![noise(Shape::vector(65_540, 4))]).with_params(&[&[4, 4]]);
    let op = Attention { heads: 2, new_order: true };
    let attention = Probe::new(op.into(), vec![noise(Shape::new(32_770, 1, 1, 24))]);
    let tile = AttentionTile { workgroup: true, queries: 2, ..AttentionTile::GENERAL };
    for (probe, variant) in [(linear, Variant::Gemm(GemmTile::FLAT)), (attention, Variant::Attention(tile))] {
        let trial = Trial::of(probe).unwrap();
        let overrides = VariantOverrides::from([("*".to_owned(), variant)]);
        let options = PlanOptions { overrides, ..PlanOptions::default() };
        let plan = Plan::new(trial.graph(), gpu.caps(), &options).unwrap();
        assert_eq!(plan.dispatches()[0].workgroups[2], 2, "{variant:?}");
        let error = relative_l2(&block_on(trial.run(gpu, plan)).unwrap(), &trial.expected(Precision::F32).unwrap());
        assert!(error <= TOLERANCE, "{variant:?}: {error:.2e}");
    }
}

/// What lies between a network's output or a gradient and the check of the images: what is not finite goes through it,
/// although it clamps.
#[test]
fn what_is_not_finite_stays() {
    let shape = Shape::new(2, 5, 5, 3);
    let wrong = [(7, f32::NAN), (20, f32::INFINITY), (41, f32::NEG_INFINITY)];
    let planted = |shape: Shape, place: &dyn Fn(usize) -> usize| {
        let mut values = synth::noise("planted", shape.elements(), 0);
        wrong.iter().for_each(|(at, value)| values[place(*at)] = *value);
        Operand { shape, values: Values::Floats(values) }
    };
    let same = |at| at;
    // Where a network's output has the variance that belongs to a value of the image.
    let variance = planted(shape.with_channels(6), &|at| at / 3 * 6 + 3 + at % 3);
    let plain = row(|_| ());
    let history = noise(Shape { n: HISTORY * shape.n, ..shape });
    let step = SamplerStep { learn_sigma: true, guided: false };
    let operands = vec![noise(shape), noise(shape), variance, noise(shape), plain.clone(), history, noise(shape)];
    let logits = Shape::vector(1, 75);
    let relu_grad = Unary { adjoint: true, ..Unary::RELU };
    let probes: [Probe<Op>; 7] = [
        Probe::new(PredictXStart { guided: false }, vec![noise(shape), planted(shape, &same), plain]).into(),
        Probe::new(Threshold, vec![planted(shape, &same)]).into(),
        Probe::new(step, operands).into(),
        Probe::new(Unary::RELU, vec![planted(shape, &same)]).into(),
        Probe::new(relu_grad, vec![planted(shape, &same), noise(shape)]).into(),
        Probe::new(relu_grad, vec![noise(shape), planted(shape, &same)]).into(),
        Probe::new(LogSoftmaxGrad, vec![planted(logits, &same), labels(&[3])]).into(),
    ];
    let mut failures = Vec::new();
    for probe in probes {
        let name = probe.op.operator().name();
        let trial = Trial::of(probe).unwrap();
        let found = on_each(|gpu| {
            let plan = Plan::new(trial.graph(), gpu.caps(), &PlanOptions::default()).unwrap();
            block_on(trial.run(gpu, plan)).unwrap()
        });
        for (gpu, found) in gpus().iter().zip(found) {
            let hidden = wrong.iter().filter(|(at, _)| found[*at].is_finite());
            failures.extend(
                hidden.map(|(at, value)| format!("{}: {name}: {value} became {}", gpu.summary().name, found[*at])),
            );
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Softmax clamps too: what is not finite among queries, keys or values must show in some result, by every kind of kernel.
#[test]
fn attention_of_what_is_not_finite_is_not_finite() {
    let shape = Shape::new(1, 1, 130, 12);
    let tile = AttentionTile { workgroup: true, queries: 4, ..AttentionTile::GENERAL };
    let tiles = [tile, AttentionTile { parts: 2, ..tile }].map(Variant::Attention);
    let mut failures = Vec::new();
    for (channel, what) in [(1, "query"), (5, "key"), (9, "value")] {
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = synth::noise("planted", shape.elements(), 0);
            values[7 * shape.c + channel] = wrong;
            let operand = Operand { shape, values: Values::Floats(values) };
            let trial = Trial::of(Probe::new(Attention { heads: 1, new_order: true }.into(), vec![operand])).unwrap();
            for variant in [None, Some(Variant::Naive), Some(tiles[0]), Some(tiles[1])] {
                let overrides = variant.map(|variant| ("*".to_owned(), variant)).into_iter().collect();
                let options = PlanOptions { overrides, ..PlanOptions::default() };
                for gpu in gpus() {
                    let plan = Plan::new(trial.graph(), gpu.caps(), &options).unwrap();
                    if block_on(trial.run(gpu, plan)).unwrap().iter().all(|value| value.is_finite()) {
                        failures.push(format!("{}: {wrong} in a {what}: {variant:?}", gpu.summary().name));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A variant that is asked for everywhere computes what it can, whatever its parts.
#[test]
fn parts_that_cannot_be_are_none() {
    let gpu = &gpus()[0];
    let tile = AttentionTile { workgroup: true, queries: 2, ..AttentionTile::GENERAL };
    let sharing = Sharing::Workgroup { ahead: gpu.caps().reads_ahead };
    let gemm = GemmTile { parts: 0, sharing, ..GemmTile::SHARED[2] };
    let attention = [0, 1, 2, 3, usize::MAX].map(|parts| Variant::Attention(AttentionTile { parts, ..tile }));
    let table = cases::table().unwrap();
    let runs = table.iter().flat_map(|case| match case.name.as_str() {
        "three heads of 4" => attention.map(|variant| (case, variant)).into(),
        "1x1, two sources" => vec![(case, Variant::Gemm(gemm))],
        _ => Vec::new(),
    });
    for (case, variant) in runs {
        let plan = case.plan(gpu.caps(), variant, Precision::F32).unwrap();
        let error =
            relative_l2(&block_on(case.trial.run(gpu, plan)).unwrap(), &case.trial.expected(Precision::F32).unwrap());
        assert!(error <= TOLERANCE, "{} {} {variant:?}: {error:.2e}", case.subject(), case.name);
    }
}

#[test]
fn the_table_covers_every_op_and_every_kernel() {
    let cases = cases::table().unwrap();
    let covered: BTreeSet<String> = cases.iter().flat_map(|case| case.ops().map(op_name)).collect();
    let all: BTreeSet<String> = Op::NAMES.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(covered, all, "a new op needs a row in tests/conformance/src/cases");

    let gpu = Caps { shader_f16: true, cooperative: Some(16), ..Caps::webgpu_defaults() };
    let software = Caps { software: true, ..gpu.clone() };
    let mut used = BTreeSet::new();
    for case in &cases {
        for (caps, precision) in [(&gpu, Precision::F32), (&gpu, Precision::F16), (&software, Precision::F32)] {
            for variant in case.variants(&caps.at(precision)) {
                used.extend(
                    case.plan(caps, variant, precision).unwrap().dispatches().iter().map(|step| step.kernel.stem),
                );
            }
        }
    }
    let listed: BTreeSet<&str> = KERNELS.iter().map(|(stem, _)| *stem).collect();
    assert_eq!(used, listed, "a new kernel needs a case that uses it");

    // Variants take turns: each has one.
    let caps = Caps { subgroup: Some(8), software: true, ..ample() };
    let of_f32 = op_runs(&caps, Kinds::Each).into_iter().filter(|run| run.precision == Precision::F32);
    let run: Vec<Variant> = of_f32.map(|run| run.variant).collect();
    for variant in cases.iter().flat_map(|case| case.variants(&caps)) {
        assert!(variant.is_legal(&run), "{variant:?}");
    }
    // Kinds of kernel take turns with float16 weights, and in browsers at every precision: of each op, each has one.
    let kind_of = |case: &Case, variant| format!("{} {}", case.subject(), kind(variant));
    for (kinds, precision) in [(Kinds::Each, Precision::F16Weights), (Kinds::InTurns, Precision::F32)] {
        let runs = op_runs(&caps, kinds).into_iter().filter(|run| run.precision == precision);
        let run: BTreeSet<String> = runs.map(|run| kind_of(&run.case, run.variant)).collect();
        let cases = cases.iter().filter(|case| precision == Precision::F32 || case.has_matrices());
        let all: BTreeSet<String> = cases
            .flat_map(|case| case.variants(&caps.at(precision)).into_iter().map(|variant| kind_of(case, variant)))
            .collect();
        assert_eq!(run, all, "{kinds:?}");
    }

    let mut names = BTreeSet::new();
    for case in &cases {
        let name = format!("{} {}", case.subject(), case.name);
        assert!(names.insert(name.clone()), "{name} is there twice");
    }
}
