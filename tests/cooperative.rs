//! The matrix product on tensor cores where there are none: its text with cooperative matrices spelt out as loops, run on a
//! software driver. What wgpu and a driver make of the real ones is left to the self-test; what is checked is all else:
//! tiles, edges, sources, windows, parts, where sums go.

mod common;

use std::collections::BTreeSet;
use std::time::Instant;

use common::gpu::{adapters, open, relative_l2};
use conformance::cases;
use guided_diffusion::device::{Caps, Precision};
use guided_diffusion::gpu::trial::Trial;
use guided_diffusion::gpu::{TensorCores, selftest};
use guided_diffusion::op::probe::{Probe, noise};
use guided_diffusion::op::variant::{GemmTile, Sharing, Variant};
use guided_diffusion::op::{Conv2d, Epilogue, Op, Prologue};
use guided_diffusion::plan::tuning::VariantOverrides;
use guided_diffusion::plan::{Plan, PlanOptions};
use guided_diffusion::shader::Kernel;
use guided_diffusion::tensor::Shape;
use guided_diffusion::{AdapterChoice, Error, Gpu, OpenOptions};
use pollster::block_on;

/// The kernel with cooperative matrices spelt out: a factor is a place in workgroup memory, of a sum each of 32 invocations
/// has its share. Subgroups are known by number.
fn spelt_out(kernel: &Kernel, mut text: String) -> String {
    if !kernel.uses_cooperative_matrices() {
        return text;
    }
    let (size, share) = (kernel.defines["COOPERATIVE"], kernel.defines["COOPERATIVE"].pow(2) / 32);
    for (from, to) in [
        ("enable wgpu_cooperative_matrix;\n", String::new()),
        (&format!("coop_mat{size}x{size}<f16, A>"), "vec2<u32>".into()),
        (&format!("coop_mat{size}x{size}<f16, B>"), "vec2<u32>".into()),
        (&format!("coop_mat{size}x{size}<f32, C>"), format!("array<f32, {share}>")),
        ("    @builtin(subgroup_id) subgroup: u32,\n", String::new()),
        (
            ") {\n    // Not by",
            ") {\n    let subgroup = worker / 32u;\n    lane_of = worker % 32u;\n    // Not by".into(),
        ),
        ("coopLoadT<Left>(&a_tile[", "vec2((".into()),
        ("coopLoadT<Right>(&w_tile[", "vec2((".into()),
        ("coopLoadT<Sum>(&sums[sums_line]", "load((sums_line)".into()),
        ("coopMultiplyAdd(", "multiply_add(".into()),
        ("coopStoreT(", "store_sums(".into()),
        (", &sums[", ", (".into()),
        // The end of an index; no other is followed by a comma at once but in vectors' elements.
        ("u], ", "u), ".into()),
    ] {
        assert!(text.contains(from), "no `{from}` in\n{text}");
        text = text.replace(from, &to);
    }
    text = text.replace("sums[place + 1u)", "sums[place + 1u]").replace("sums[place + 2u)", "sums[place + 2u]");
    // An element is a scalar or a vec4's part.
    let element = |array: &str, line: &str, column: &str| match size {
        8 => format!("{array}[{line} + {column}]"),
        _ => format!("{array}[{line} + {column} / 4u][{column} % 4u]"),
    };
    let sum = element("sums", "at + y * stride", "x");
    let (a, w) = (element("a_tile", "a.x + y * a.y", "k"), element("w_tile", "b.x + k * b.y", "x"));
    let each = format!(
        "for (var e = 0u; e < {share}u; e++) {{ let y = (32u * e + lane_of) / {size}u; let x = lane_of % {size}u;"
    );
    text + &format!(
        "var<private> lane_of: u32;
        fn load(at: u32, stride: u32) -> Sum {{
            var loaded: Sum;
            {each} loaded[e] = {sum}; }}
            return loaded;
        }}
        fn store_sums(given: Sum, at: u32, stride: u32) {{
            var stored = given;
            {each} {sum} = stored[e]; }}
        }}
        fn multiply_add(a: Left, b: Right, given: Sum) -> Sum {{
            var added = given;
            {each} for (var k = 0u; k < {size}u; k++) {{ added[e] += f32({a}) * f32({w}); }} }}
            return added;
        }}
        "
    )
}

/// The tile of a variant on tensor cores.
fn tile(variant: &Variant) -> Option<GemmTile> {
    match variant {
        Variant::Gemm(tile) | Variant::Winograd(_, tile) => {
            matches!(tile.sharing, Sharing::Cooperative(_)).then_some(*tile)
        }
        _ => None,
    }
}

/// Problems of several tiles in both directions and of whole steps, beside those of the table.
fn larger() -> Vec<(&'static str, Probe<Op>)> {
    let s = |channels| Shape::new(2, 9, 17, channels);
    let two = Conv2d { prologue: Prologue { two_sources: true, ..Prologue::default() }, ..Conv2d::linear() };
    let added = Conv2d { epilogue: Epilogue { embedding: true, residual: Some(None) }, ..Conv2d::new(3, 1) };
    vec![
        ("1x1", Probe::new(two.into(), vec![noise(s(36)), noise(s(64))]).with_params(&[&[140, 100, 1, 1], &[140]])),
        (
            "3x3",
            Probe::new(added.into(), vec![noise(s(64)), noise(Shape::vector(2, 72)), noise(s(72))])
                .with_params(&[&[72, 64, 3, 3], &[72]]),
        ),
    ]
}

/// Cases of the table: windows and strides, edges of all kinds, sources, parts, what is added.
const CASES: [&str; 8] = [
    "3x3, channels 36 to 10",
    "3x3 stride 2, odd",
    "norm, 2x2 pooled",
    "embedding and residual, to 10",
    "1x1, to 10",
    "1x1, in parts, residual",
    "1x1, two sources",
    "linear, one vector",
];

/// Sums of an invocation's subgroup / 4 at most, of matrices of 8 and 16: a software driver compiles larger tiles for minutes, which
/// differ in counts alone.
const LARGEST: [usize; 2] = [128, 256];

#[test]
fn tiles_edges_and_sources_are_right() {
    let gpu = open(&adapters()[0]);
    selftest::plant(&gpu, Some(spelt_out));
    let table = cases::table().unwrap();
    let small = CASES.map(|name| (name, table.iter().find(|case| case.name == name).unwrap().trial.clone()));
    let larger = larger().into_iter().map(|(name, probe)| (name, Trial::of(probe).unwrap()));
    let (mut turn, mut kinds) = (0, BTreeSet::new());
    for (name, trial) in small.into_iter().chain(larger) {
        let expected = trial.expected(Precision::F16).unwrap();
        for size in [16, 8] {
            let caps = Caps { cooperative: Some(size), ..gpu.caps().clone() };
            let node = trial.graph().nodes.last().unwrap();
            let shapes: Vec<Shape> = node.inputs.iter().map(|id| trial.graph().shape(*id)).collect();
            let variants = node.op.operator().variants(&shapes, node.shape, &caps.at(Precision::F16));
            let mut found: Vec<(bool, GemmTile, Variant)> = Vec::new();
            for variant in variants {
                let tile = tile(&variant).filter(|tile| tile.rows * tile.columns4 <= LARGEST[(size == 16) as usize]);
                found.extend(tile.map(|tile| (matches!(variant, Variant::Winograd(..)), tile, variant)));
            }
            // Of each kind the tiles in turns, since compiling them takes seconds.
            for (winograd, split) in [(false, false), (false, true), (true, false)] {
                let of_kind: Vec<_> =
                    found.iter().filter(|(w, tile, _)| (*w, tile.parts > 1) == (winograd, split)).collect();
                let Some((_, tile, variant)) = of_kind.get(turn % of_kind.len().max(1)) else { continue };
                turn += 1;
                kinds.insert((size, winograd, split));
                let overrides = VariantOverrides::from([("*".to_owned(), *variant)]);
                let options = PlanOptions { precision: Precision::F16, overrides, transform_budget: Some(u64::MAX) };
                let plan = Plan::new(trial.graph(), &caps, &options).unwrap();
                assert!(plan.kernels().iter().any(|kernel| kernel.uses_cooperative_matrices()), "{variant:?}\n{plan}");
                let start = Instant::now();
                let error = relative_l2(&block_on(trial.run(&gpu, plan)).unwrap(), &expected);
                println!("{name}: {error:.1e}, {:.1} s, winograd {winograd}, {tile:?}", start.elapsed().as_secs_f64());
                assert!(error <= cases::tolerance(Precision::F16), "{name}: {error:.1e}, {variant:?}");
            }
        }
    }
    assert_eq!(kinds.len(), 6, "{kinds:?}");
}

#[test]
fn an_adapter_without_them_is_told() {
    for name in adapters() {
        // SAFETY: the device is not opened.
        let tensor_cores = Some(unsafe { TensorCores::enabled() });
        let options = OpenOptions { tensor_cores, ..OpenOptions::default() };
        let error = block_on(Gpu::open_with(&AdapterChoice::Named(name), options)).unwrap_err();
        assert!(matches!(&error, Error::Feature { name: "wgpu-cooperative-matrix", .. }), "{error}");
        assert!(error.to_string().contains("without --tensor-cores"), "{error}");
    }
}
