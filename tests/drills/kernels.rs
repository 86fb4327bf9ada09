//! Drills of wrong kernels: a wrong value is planted in a kernel's text, and what must notice it is the self-test that every
//! session begins with, or the check of what a network yields.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use conformance::cases;
use conformance::{kind, relative_l2};
use guided_diffusion::checkpoint::Checkpoint;
use guided_diffusion::device::Precision;
use guided_diffusion::gpu::{AdapterChoice, OpenOptions, selftest};
use guided_diffusion::graph::{Graph, fuse};
use guided_diffusion::plan::tuning::VariantOverrides;
use guided_diffusion::plan::{Plan, PlanOptions};
use guided_diffusion::run::SampleOptions;
use guided_diffusion::shader::{Access, KERNELS, Kernel};
use guided_diffusion::{Error, Gpu, Session, SessionOptions};
use pollster::block_on;

use crate::common::gpu::{adapters, open};

/// Kernels in which a wrong value is not noticed here, and why.
const UNNOTICED: [(&str, &str); 1] = [(
    "gemm_cooperative",
    "no software driver has tensor cores; tests/cooperative.rs runs its text, spelt out in loops",
)];

/// The kernel that is wrong now, and how.
static WRONG: Mutex<(&str, Plant)> = Mutex::new(("", Plant::Scale));

#[derive(Debug, Clone, Copy)]
enum Plant {
    /// Every value is 1 % too large.
    Scale,
    /// One value of eleven is too large by 1.
    Some,
    /// One value of eleven is no number.
    Nan,
}

const PLANTS: [Plant; 3] = [Plant::Scale, Plant::Some, Plant::Nan];

/// The text of a kernel with a wrong value in everything that it stores in a buffer.
fn plant(kernel: &Kernel, text: String) -> String {
    let (stem, plant) = *WRONG.lock().expect("one drill at a time");
    if kernel.stem != stem {
        return text;
    }
    let shader = kernel.expand().expect("it expanded before");
    let outputs = || shader.bindings.iter().filter(|binding| binding.access == Access::ReadWrite);
    let wrong = |line: &str| {
        let (place, value) = line.trim().strip_suffix(';')?.split_once("] = ")?;
        let (buffer, index) = place.split_once('[')?;
        outputs().any(|binding| binding.name == buffer).then_some(())?;
        // The smallest problem's result is four vectors.
        let is_hit = format!("u32({index}) % 11u == 1u");
        Some(match plant {
            Plant::Scale => format!("{place}] = ({value}) * 1.01;\n"),
            Plant::Some => format!("{place}] = ({value}) + select(0.0, 1.0, {is_hit});\n"),
            // Without a constant expression, which would be refused.
            Plant::Nan => {
                format!("{place}] = ({value}) * select(1.0, bitcast<f32>(0x7fc00000u | u32({index})), {is_hit});\n")
            }
        })
    };
    let altered: String = text.lines().map(|line| wrong(line).unwrap_or_else(|| format!("{line}\n"))).collect();
    assert_ne!(altered.trim_end(), text.trim_end(), "{kernel} stores nothing that could be wrong");
    altered
}

/// A small problem by a kernel of one kind.
struct Problem {
    name: String,
    graph: Graph,
    options: PlanOptions,
    /// The kernels of which it is the first problem for its op and that kind.
    stems: Vec<&'static str>,
}

/// Problems of the case table that between them have every kernel, for each op and kind that uses it, beyond those `met`.
fn problems(gpu: &Gpu, met: &mut BTreeSet<String>) -> Vec<Problem> {
    let mut problems = Vec::new();
    // Winograd's weights are transformed by a kernel where they are float16, and where there is no memory for them.
    for (precision, budget) in [(Precision::F32, None), (Precision::F16Weights, None), (Precision::F32, Some(0))] {
        for case in
            cases::table().expect("a table").iter().filter(|case| precision == Precision::F32 || case.has_matrices())
        {
            // What is fused already is planned as it is.
            let graph = fuse::fuse(case.trial.graph()).unwrap_or_else(|_| case.trial.graph().clone());
            for variant in case.variants(&gpu.caps().at(precision)) {
                let overrides = VariantOverrides::from([("*".to_owned(), variant)]);
                let options = PlanOptions { precision, overrides, transform_budget: budget };
                let plan = Plan::new(&graph, gpu.caps(), &options).expect("a plan");
                // Attention of another width of heads is another kernel in all but name.
                let mut is_new = |kernel: &Kernel| {
                    let width = kernel.defines.get("D4");
                    met.insert(format!("{} {width:?} {} {} {precision:?}", kernel.stem, case.subject(), kind(variant)))
                };
                let kernels = plan.dispatches().iter().map(|step| &step.kernel);
                let stems: Vec<&'static str> =
                    kernels.filter(|kernel| is_new(kernel)).map(|kernel| kernel.stem).collect();
                if !stems.is_empty() {
                    let name = format!("{} by {variant:?}, {precision:?}: {}", case.subject(), case.name);
                    problems.push(Problem { name, graph: graph.clone(), options, stems });
                }
            }
        }
    }
    problems
}

#[test]
fn a_wrong_value_in_every_kernel() {
    let (mut met, mut caught, mut missed) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut replaced, mut refused) = (0, 0);
    let mut listed = String::new();
    for assume_gpu in [false, true] {
        let options = OpenOptions { checked: true, assume_gpu, ..OpenOptions::default() };
        let gpu = block_on(Gpu::open_with(&AdapterChoice::Named(adapters()[0].clone()), options)).expect("a device");
        let problems = problems(&gpu, &mut met);
        let verify = |problem: &Problem| block_on(selftest::verify(&gpu, &problem.graph, &problem.options));
        for problem in &problems {
            let warnings = verify(problem).expect("a sound driver").warnings;
            assert!(warnings.is_empty(), "{}: {warnings:?}", problem.name);
        }
        for stem in problems.iter().flat_map(|problem| problem.stems.iter().copied()).collect::<BTreeSet<_>>() {
            for how in PLANTS {
                *WRONG.lock().expect("one drill at a time") = (stem, how);
                selftest::plant(&gpu, Some(plant));
                for problem in problems.iter().filter(|problem| problem.stems.contains(&stem)) {
                    let reason = match verify(problem) {
                        Ok(report) => {
                            replaced += usize::from(!report.warnings.is_empty());
                            report.warnings.join("")
                        }
                        Err(Error::SelfTest(reason)) => {
                            refused += 1;
                            reason
                        }
                        Err(error) => panic!("{stem}, {how:?}, {}: {error}", problem.name),
                    };
                    // A text that a compiler refuses is no wrong value.
                    assert!(!reason.contains("fails"), "{stem}, {how:?}, {}: {reason}", problem.name);
                    let kernel = match problem.options.transform_budget {
                        None => stem.to_owned(),
                        Some(_) => format!("{stem} without memory"),
                    };
                    if reason.is_empty() {
                        listed += &format!("{kernel}, {how:?}, {}\n", problem.name);
                        missed.insert(kernel);
                    } else {
                        caught.insert(kernel);
                    }
                }
            }
        }
    }
    println!(
        "a wrong value planted in each of {} kernels, as each op and kind of kernel uses it, in three ways: {replaced} replaced \
         with a warning, {refused} refused",
        caught.difference(&missed).count()
    );
    let all = KERNELS.iter().map(|(stem, _)| (*stem).to_owned()).chain(missed.clone());
    let unnoticed: BTreeSet<String> =
        all.filter(|kernel| missed.contains(kernel) || !caught.contains(kernel)).collect();
    assert_eq!(unnoticed, UNNOTICED.iter().map(|(kernel, _)| (*kernel).to_owned()).collect(), "{listed}");
}

/// fashion32 on a device of which nothing is known.
fn load(gpu: &Arc<Gpu>) -> Result<Session, Error> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fashion32.safetensors");
    let checkpoint = Checkpoint::open(path)?;
    let config = checkpoint.config(&Default::default())?.config;
    block_on(Session::load(gpu, &checkpoint, &config, &SessionOptions::default()))
}

fn image(session: &mut Session) -> Result<Vec<f32>, Error> {
    let mut options = SampleOptions { count: 1, labels: vec![3], ..SampleOptions::default() };
    options.settings.steps = Some("2".parse().expect("steps"));
    Ok(block_on(async { session.sample(options)?.finish().await })?.data().to_vec())
}

#[test]
fn a_wrong_value_in_a_session() {
    let gpu = open(&adapters()[0]);
    let mut sound = load(&gpu).expect("a sound driver");
    let expected = image(&mut sound).expect("an image");
    let mut stems: Vec<&str> = sound.program().plan().dispatches().iter().map(|step| step.kernel.stem).collect();
    stems.sort_unstable();
    stems.dedup();
    let mut missed = Vec::new();
    let (mut replaced, mut refused, mut not_finite) = (0, 0, 0);
    for stem in &stems {
        for how in PLANTS {
            *WRONG.lock().expect("one drill at a time") = (stem, how);
            selftest::plant(&gpu, Some(plant));
            match load(&gpu) {
                Err(Error::SelfTest(reason)) => {
                    assert!(!reason.is_empty());
                    refused += 1;
                }
                Err(error) => panic!("{stem}, {how:?}: {error}"),
                Ok(mut session) => {
                    let warned = session.warnings().iter().any(|line| line.contains("self-test"));
                    match image(&mut session) {
                        Ok(image) if warned => {
                            let error = relative_l2(&image, &expected);
                            assert!(error < 1e-3, "{stem}, {how:?}: {error:.1e} off by other kernels");
                            replaced += 1;
                        }
                        Ok(image) => missed.push(format!("{stem}, {how:?}: {:.1e}", relative_l2(&image, &expected))),
                        Err(Error::NotFinite(_)) => not_finite += 1,
                        Err(error) => panic!("{stem}, {how:?}: {error}"),
                    }
                }
            }
        }
    }
    selftest::plant(&gpu, None);
    println!(
        "a wrong value planted in each of {} kernels, in three ways: {replaced} replaced with a warning, {refused} refused at \
         the start, {not_finite} found in the images, {} missed",
        stems.len(),
        missed.len()
    );
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
