//! Kernels for subgroups of 16 and 32, which no software driver has (lavapipe's are of 4 or 8, SwiftShader's of 4): in their
//! text, what another lane lends is read as that lane would read it. What is checked is all that depends on the size: tiles,
//! edges, who reads what, and from which lane it is taken.

mod common;

use std::collections::BTreeSet;
use std::time::Instant;

use common::gpu::{adapters, open, relative_l2};
use conformance::cases;
use guided_diffusion::device::{Caps, Precision};
use guided_diffusion::gpu::selftest;
use guided_diffusion::op::variant::{Sharing, Variant};
use guided_diffusion::shader::Kernel;
use pollster::block_on;

const BROADCAST: &str = "subgroupBroadcast(";

/// The names in an expression.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    expression.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// `let NAME = VALUE;`
fn definition(line: &str) -> Option<(&str, &str)> {
    line.trim().strip_prefix("let ")?.strip_suffix(';')?.split_once(" = ")
}

/// An expression as the invocation `of` has it, of which `own` are the names that differ.
fn seen_by(expression: &str, of: &str, lane: &str, own: &BTreeSet<&str>) -> String {
    let mut result = String::new();
    let mut rest = expression;
    while let Some(name) = names(rest).next() {
        let (before, after) = rest.split_once(name).expect("it is there");
        let is_member = before.ends_with('.');
        result += before;
        result += &match name {
            _ if is_member => name.to_owned(),
            _ if name == lane => format!("{of}u"),
            _ if own.contains(name) => format!("{name}_of{of}"),
            _ => name.to_owned(),
        };
        rest = after;
    }
    result + rest
}

/// The kernel without subgroup operations, for a workgroup that would be one subgroup: instead of what a lane lends it, an
/// invocation has the statements by which that lane comes to it.
fn spelt_out(kernel: &Kernel, text: String) -> String {
    if !kernel.uses_subgroups() {
        return text;
    }
    let size = *kernel.defines.get("WORKERS").or(kernel.defines.get("WX")).expect("a workgroup");
    let builtin = |name: &str, lane: &str| format!("@builtin({name}) {lane}: u32");
    let lane = ["worker", "lane"].into_iter().find(|lane| text.contains(&builtin("subgroup_invocation_id", lane)));
    let lane = lane.expect("a lane");
    let text = text.replace(&builtin("subgroup_invocation_id", lane), &builtin("local_invocation_index", lane));
    let definitions: Vec<(&str, &str)> = text.lines().filter_map(definition).collect();
    let mut differ = BTreeSet::from([lane]);
    for (name, value) in &definitions {
        if names(value).any(|name| differ.contains(name)) {
            differ.insert(*name);
        }
    }
    let mut own: BTreeSet<&str> = text.split(BROADCAST).skip(1).filter_map(|after| names(after).next()).collect();
    for (name, value) in definitions.iter().rev() {
        if own.contains(name) {
            own.extend(names(value).filter(|name| *name != lane && differ.contains(name)));
        }
    }
    let mut result = String::new();
    for line in text.lines() {
        let mut line = line.to_owned();
        while let Some((before, after)) = line.split_once(BROADCAST) {
            // `value, 3u)` or, of one component, `value[1], 3u)`.
            let (argument, after) = after.split_once("u)").expect("a lane");
            let (value, from) = argument.split_once(", ").expect("two arguments");
            line = format!("{before}{}{after}", seen_by(value, from, lane, &own));
        }
        result += &line;
        result.push('\n');
        if let Some((name, value)) = definition(&line).filter(|(name, _)| own.contains(name)) {
            result.extend((0..size).map(|of| {
                let of = of.to_string();
                format!("let {name}_of{of} = {};\n", seen_by(value, &of, lane, &own))
            }));
        }
    }
    assert!(!result.contains("subgroup"), "{result}");
    result
}

/// Sums of an invocation, in vec4s, of a variant with broadcasts.
fn vec4s(variant: Variant) -> Option<usize> {
    match variant {
        Variant::Gemm(tile) | Variant::Winograd(_, tile) => {
            (tile.sharing == Sharing::Subgroup).then_some(tile.rows * tile.columns4)
        }
        Variant::Attention(tile) => (tile.subgroup > 0).then_some(tile.queries),
        _ => None,
    }
}

/// Size, case of the table, precision, and the largest tile, in vec4s of sums. Drivers that compute on the CPU compile the larger
/// ones for ten seconds or more, and wide heads and residuals for longer: they are left out.
const RUNS: [(usize, &str, Precision, usize); 7] = [
    (16, "1x1, to 10", Precision::F32, 64),
    (16, "1x1, two sources", Precision::F32, 16),
    (16, "3x3 stride 2, odd", Precision::F16, 16),
    (16, "three heads of 4", Precision::F32, 2),
    (16, "three heads of 4", Precision::F16, 1),
    (32, "1x1, to 10", Precision::F32, 32),
    (32, "three heads of 4", Precision::F32, 1),
];

#[test]
fn subgroups_of_16_and_32_equal_the_reference() {
    let gpu = open(&adapters()[0]);
    selftest::plant(&gpu, Some(spelt_out));
    let table = cases::table().unwrap();
    let mut stems = BTreeSet::new();
    for (size, name, precision, most) in RUNS {
        let caps = Caps { subgroup: Some(size), ..gpu.caps().clone() };
        // Attention and its gradient share their names.
        for case in table.iter().filter(|case| case.name == name) {
            let expected = case.trial.expected(precision).unwrap();
            let variants = case.variants(&caps.at(precision)).into_iter();
            for variant in variants.filter(|variant| vec4s(*variant).is_some_and(|count| count <= most)) {
                let plan = case.plan(&caps, variant, precision).unwrap();
                stems.extend(plan.kernels().iter().filter(|kernel| kernel.uses_subgroups()).map(|k| (size, k.stem)));
                let start = Instant::now();
                let error = relative_l2(&block_on(case.trial.run(&gpu, plan)).unwrap(), &expected);
                println!(
                    "{size}, {name}, {precision:?}: {error:.1e}, {:.1} s, {variant:?}",
                    start.elapsed().as_secs_f64()
                );
                assert!(
                    error <= cases::tolerance(precision),
                    "{size}, {name}, {precision:?}, {variant:?}: {error:.1e}"
                );
            }
        }
    }
    let kernels = ["attention", "attention_grad_key", "attention_grad_query", "gemm"];
    assert_eq!(stems, [16, 32].iter().flat_map(|size| kernels.map(|stem| (*size, stem))).collect());
}
