//! The self-test: silent on a sound driver; where a kernel is wrong, another one is used, with a warning.
//! Wrong kernels are made by wrong expectations, on devices of the test's own.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use common::gpu::{adapters, open, relative_l2};
use common::{cases_of, model_config, sizes};
use guided_diffusion::config::{ModelConfig, Role, presets};
use guided_diffusion::device::{Caps, Precision};
use guided_diffusion::gpu::selftest;
use guided_diffusion::gpu::trial::Trial;
use guided_diffusion::graph::fuse;
use guided_diffusion::model::sampling_graph;
use guided_diffusion::op::Op;
use guided_diffusion::op::variant::Variant;
use guided_diffusion::plan::tuning;
use guided_diffusion::plan::tuning::VariantOverrides;
use guided_diffusion::plan::{Plan, PlanOptions};
use guided_diffusion::run::SampleOptions;
use guided_diffusion::sampler::Settings;
use guided_diffusion::shader::Kernel;
use guided_diffusion::tensor::Shape;
use guided_diffusion::{Checkpoint, Error, Gpu, Result, Session, SessionOptions};
use pollster::block_on;

fn config() -> ModelConfig {
    let mut config = model_config(&cases_of("unet")[0]["config"]);
    config.unet.num_res_blocks = 1;
    config.unet.channel_mult = vec![1.0, 1.0];
    config
}

fn load(gpu: &Arc<Gpu>, self_test: bool) -> Result<Session> {
    let checkpoint = Checkpoint::synthetic(&config(), 1)?;
    let options = SessionOptions { self_test, ..SessionOptions::default() };
    block_on(Session::load(gpu, &checkpoint, &config(), &options))
}

fn image(session: &mut Session) -> Vec<f32> {
    let settings = Settings { steps: Some("2".parse().unwrap()), ..Settings::default() };
    let options = SampleOptions { settings, labels: vec![3], ..SampleOptions::default() };
    block_on(async { session.sample(options)?.finish().await }).unwrap().data().to_vec()
}

fn uses(session: &Session, stem: &str, t: i64) -> bool {
    let kernels = session.program().plan().dispatches().iter().map(|step| &step.kernel);
    kernels.into_iter().any(|k| k.stem == stem && k.defines.get("T") == Some(&t))
}

#[test]
fn a_sound_driver_is_tested_once() {
    for name in adapters() {
        let gpu = open(&name);
        let start = Instant::now();
        let mut session = load(&gpu, true).unwrap();
        assert_eq!(session.warnings(), &[] as &[String]);
        let (count, pipelines) = (selftest::count(&gpu), gpu.pipelines_created());
        println!("{name}: {count} kinds of kernel, loaded in {:.2} s", start.elapsed().as_secs_f64());
        assert!(count > 10);
        assert_eq!(
            pipelines,
            kernels(session.program().plan()).len(),
            "the test compiles what the plan needs, no more"
        );
        // The same again compiles and tests nothing.
        let start = Instant::now();
        let mut second = load(&gpu, true).unwrap();
        println!("{name}: again in {:.3} s", start.elapsed().as_secs_f64());
        assert_eq!((selftest::count(&gpu), gpu.pipelines_created()), (count, pipelines));
        // What the check itself takes, once the kernels are compiled: results are forgotten, and nothing is wrong.
        selftest::inject(&gpu, |_, _| false);
        let start = Instant::now();
        load(&gpu, true).unwrap();
        println!("{name}: tested again in {:.3} s", start.elapsed().as_secs_f64());
        assert_eq!(image(&mut session), image(&mut second));
        assert_eq!(gpu.pipelines_created(), pipelines);
    }
}

#[test]
fn a_wrong_kernel_is_replaced_with_a_warning() {
    let gpu = open(&adapters()[0]);
    let mut sound = load(&gpu, true).unwrap();
    assert!(uses(&sound, "winograd_input", 4), "{}", sound.program().plan());
    let expected = image(&mut sound);

    selftest::inject(&gpu, |_, variant| matches!(variant, Variant::Winograd(4, _)));
    let mut session = load(&gpu, true).unwrap();
    assert!(!uses(&session, "winograd_input", 4));
    assert!(uses(&session, "winograd_input", 2), "the next legal variant");
    let warnings = session.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    for part in ["conv2d by Winograd F(4x4, 3x3)", "off", &gpu.summary().name, "Winograd F(2x2, 3x3) is used instead"] {
        assert!(warnings[0].contains(part), "{warnings:?} lacks {part}");
    }
    let error = relative_l2(&image(&mut session), &expected);
    assert!(error < 2e-5, "{error:.1e}");

    // Two variants of one op, one of another.
    selftest::inject(&gpu, |op, variant| match variant {
        Variant::Winograd(..) => true,
        Variant::Gemm(_) => op == "linear",
        Variant::Block | Variant::Attention(_) | Variant::Serial | Variant::Naive => false,
    });
    let mut session = load(&gpu, true).unwrap();
    assert!(session.program().plan().dispatches().iter().all(
        |s| !s.kernel.stem.starts_with("winograd") && (s.kernel.stem != "gemm" || s.kernel.defines["IM2COL"] == 1)
    ));
    assert!(
        session.warnings().iter().any(|w| w.contains("linear") && w.contains("the general kernel is used instead"))
    );
    let error = relative_l2(&image(&mut session), &expected);
    assert!(error < 2e-5, "{error:.1e}");

    let mut unchecked = load(&gpu, false).unwrap();
    assert!(unchecked.warnings().is_empty() && uses(&unchecked, "winograd_input", 4));
    assert_eq!(image(&mut unchecked), expected);
}

#[test]
fn without_a_right_kernel_there_is_no_session() {
    let gpu = open(&adapters()[0]);
    selftest::inject(&gpu, |op, _| op == "attention");
    let error = load(&gpu, true).unwrap_err();
    assert!(matches!(error, Error::SelfTest(_)), "{error:?}");
    let text = error.to_string();
    for part in ["attention", "the general kernel", &gpu.summary().name] {
        assert!(text.contains(part), "{text} lacks {part}");
    }
}

fn kernels(plan: &Plan) -> BTreeSet<Kernel> {
    plan.dispatches().iter().map(|step| step.kernel.clone()).collect()
}

#[test]
fn probes_run_the_kernels_of_the_real_nodes() {
    let (most, defaults) = (1 << 40, Caps::webgpu_defaults());
    let caps = Caps { max_buffer_size: most, max_binding_size: most, shader_f16: true, ..defaults };
    let mut graphs = Vec::new();
    for case in cases_of("unet").iter().filter(|c| c.get("stride").is_none()) {
        let low_size = case.get("low_res").map(|low| sizes(low)[2]);
        graphs
            .push(sampling_graph(&model_config(&case["config"]), None, sizes(&case["x"])[0], low_size, None).unwrap());
    }
    for case in cases_of("classifier").iter().filter(|c| c.get("stride").is_none()) {
        graphs.push(sampling_graph(&config(), Some(&model_config(&case["config"])), 2, None, None).unwrap());
    }
    for preset in presets::PRESETS.iter().filter(|p| p.role != Role::Classifier) {
        let config = preset.config();
        let low_size = (config.role == Role::Upsampler).then_some(config.unet.image_size / 4);
        graphs.push(sampling_graph(&config, None, 4, low_size, None).unwrap());
    }
    let mut done = BTreeSet::new();
    let mut kinds = BTreeSet::new();
    for graph in graphs {
        let graph = fuse::fuse(&graph).unwrap();
        for node in &graph.nodes {
            let shapes: Vec<Shape> = node.inputs.iter().map(|id| graph.shape(*id)).collect();
            let params: Vec<&[usize]> = node.params.iter().map(|id| graph.params[id.0].shape.as_slice()).collect();
            let Some(probe) = node.op.probe(&shapes, &params, node.shape) else {
                assert!(matches!(node.op, Op::Input | Op::EmbLayer(_)), "{:?}", node.op);
                continue;
            };
            let elements: usize = probe.operands.iter().map(|operand| operand.shape.elements()).sum();
            assert!(elements < 110_000, "{:?} takes time: {elements} elements", node.op);
            let trial = Trial::of(probe).unwrap();
            if !done.insert(tuning::key(node, &shapes)) {
                continue;
            }
            for variant in node.op.operator().variants(&shapes, node.shape, &caps) {
                for precision in [Precision::F32, Precision::F16Weights, Precision::F16] {
                    let overrides = VariantOverrides::from([("*".into(), variant)]);
                    let options = PlanOptions { precision, overrides, ..PlanOptions::default() };
                    let real = kernels(&Plan::new(&graph.single(node).unwrap(), &caps, &options).unwrap());
                    let tiny = kernels(&Plan::new(trial.graph(), &caps, &options).unwrap());
                    assert_eq!(real, tiny, "{} {:?} {variant:?}", node.name, node.op);
                    kinds.extend(tiny);
                }
            }
        }
    }
    println!("{} tuning keys, {} kernels", done.len(), kinds.len());
}
