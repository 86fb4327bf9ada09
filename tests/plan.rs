//! Plans without a device: how much memory they take, parameters, fusing, limits, the printed table.

mod common;

use std::collections::BTreeSet;

use common::{cases_of, fixture, model_config, sizes, synth};
use guided_diffusion::checkpoint::synthetic;
use guided_diffusion::config::{Flags, ModelConfig, Role, parameters, presets};
use guided_diffusion::device::{Caps, Precision, mebibytes};
use guided_diffusion::graph::{Graph, fuse, reference};
use guided_diffusion::model::{UNetInputs, classifier, guidance_gradient, sampling_graph, unet};
use guided_diffusion::op::variant::{Sharing, Variant};
use guided_diffusion::plan::tuning::{Tunable, tunable};
use guided_diffusion::plan::{Buffer, PlanOptions};
use guided_diffusion::tensor::Shape;
use guided_diffusion::tensor::nchw_to_nhwc;
use guided_diffusion::{Checkpoint, Error, Session, SessionOptions};

/// A device with room for every model.
fn ample() -> Caps {
    Caps { max_buffer_size: 1 << 40, max_binding_size: 1 << 40, ..Caps::webgpu_defaults() }
}

fn fashion() -> ModelConfig {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fashion32.safetensors");
    Checkpoint::open(path).unwrap().config(&Flags::default()).unwrap().config
}

fn small_cases(kind: &str) -> Vec<serde_json::Value> {
    cases_of(kind).into_iter().filter(|c| c.get("stride").is_none()).collect()
}

#[test]
fn memory_stays_within_what_was_promised() {
    println!(
        "{:<28} {:>12} {:>12} {:>12} {:>14}",
        "file, batch 1", "activations", "weights", "as float16", "default limits"
    );
    for preset in &presets::PRESETS {
        let config = preset.config();
        if config.role == Role::Classifier {
            continue;
        }
        let plan = |precision| {
            let plan = PlanOptions { precision, ..PlanOptions::default() };
            SessionOptions { plan, ..SessionOptions::default() }
        };
        let wide = Session::plan(&ample(), &config, None, &plan(Precision::F32)).unwrap();
        let half = Session::plan(&ample(), &config, None, &plan(Precision::F16Weights)).unwrap();
        let fits = Session::plan(&Caps::webgpu_defaults(), &config, None, &plan(Precision::F32));
        println!(
            "{:<28} {:>12} {:>12} {:>12} {:>14}",
            preset.name,
            mebibytes(wide.activation_bytes()),
            mebibytes(wide.weight_bytes()),
            mebibytes(half.weight_bytes()),
            fits.map_or_else(|e| e.to_string(), |_| "fits".into())
        );
        if preset.name == "256x256_diffusion" {
            assert!(wide.activation_bytes() <= 600 << 20, "{}", mebibytes(wide.activation_bytes()));
            assert!(half.weight_bytes() <= 1_200 << 20, "{}", mebibytes(half.weight_bytes()));
        }
    }
    // One image at a time, products in parts take as much as activations.
    for (batch, most) in [(1, 6), (16, 64)] {
        let plan = Session::plan(
            &Caps::webgpu_defaults(),
            &fashion(),
            None,
            &SessionOptions { batch, ..SessionOptions::default() },
        );
        let plan = plan.unwrap();
        println!("fashion32, batch {batch}: {}", mebibytes(plan.activation_bytes()));
        assert!(plan.activation_bytes() <= most << 20, "{}", mebibytes(plan.activation_bytes()));
    }
}

#[test]
fn graphs_declare_exactly_the_configured_parameters() {
    let declared = |graph: &Graph, prefix: &str| -> BTreeSet<(String, Vec<usize>)> {
        let own = graph.params.iter().filter_map(|p| p.name.strip_prefix(prefix).map(|name| (name, p)));
        let own = own.filter(|(name, _)| !prefix.is_empty() || !name.starts_with("classifier."));
        own.map(|(name, p)| (name.to_owned(), p.shape.clone())).collect()
    };
    let check = |name: &str, config: &ModelConfig, low_size: Option<usize>| {
        let wanted: BTreeSet<_> = parameters(config).unwrap().into_iter().collect();
        let mut graph = Graph::default();
        if config.role == Role::Classifier {
            let (size, channels) = (config.unet.image_size, config.unet.in_channels);
            let x = graph.input("x", Shape::new(1, size, size, channels));
            let timesteps = graph.input("timesteps", Shape::vector(1, 1));
            classifier(&mut graph, &config.unet, "classifier.", x, timesteps).unwrap();
            assert_eq!(declared(&graph, "classifier."), wanted, "{name}");
        } else {
            let inputs = UNetInputs::declare(
                &mut graph,
                &config.unet,
                1,
                [config.unet.image_size; 2],
                low_size.map(|low: usize| [low; 2]),
            );
            unet(&mut graph, &config.unet, inputs).unwrap();
            assert_eq!(declared(&graph, ""), wanted, "{name}");
        }
    };
    for preset in presets::all() {
        let config = preset.config();
        check(preset.name, &config, (config.role == Role::Upsampler).then_some(config.unet.image_size / 4));
    }
    for case in small_cases("unet").iter().chain(&small_cases("classifier")) {
        let low_size = case.get("low_res").map(|low| sizes(low)[2]);
        check(case["name"].as_str().unwrap(), &model_config(&case["config"]), low_size);
    }
    check("fashion32", &fashion(), None);
}

/// Both graphs' outputs by the plain reference.
fn same_values(name: &str, graph: &Graph) {
    let fused = fuse::fuse(graph).unwrap();
    assert!(fused.nodes.len() < graph.nodes.len(), "{name}");
    let evaluate = |graph: &Graph| {
        let input = |name: &str| {
            let id = graph.find_input(name).unwrap();
            let shape = graph.shape(id);
            Ok(match name {
                "timesteps" => (0..shape.n).map(|i| 977.0 - 400.0 * i as f32).collect(),
                "labels" => (0..shape.n).map(|i| (7 * i + 1) as f32).collect(),
                _ => nchw_to_nhwc(&synth::noise_of(name, &[shape.n, shape.c, shape.h, shape.w], 5), shape),
            })
        };
        let values = reference::evaluate(graph, input, |p| Ok(synthetic::weight(&p.name, &p.shape, 5))).unwrap();
        graph.outputs.iter().map(|(_, id)| values[id.0].data.clone()).collect::<Vec<_>>()
    };
    for (a, b) in evaluate(graph).iter().zip(&evaluate(&fused)) {
        let error = common::gpu::relative_l2(a, b);
        println!("{name}: {error:.1e}");
        // Only where float32 rounds between two nodes may they differ.
        assert!(error <= 2e-6, "{name}: {error:.1e}");
    }
}

#[test]
fn fusing_changes_no_value() {
    let names =
        ["additive_embedding", "conv_resample", "conv_resample_additive_new_order", "upsampler_x4", "half_multiplier"];
    for case in small_cases("unet").iter().filter(|c| names.iter().any(|name| c["name"] == *name)) {
        let mut config = model_config(&case["config"]).unet;
        // The reference takes its time: fewer blocks, with all that matters.
        config.num_res_blocks = 1;
        let mut graph = Graph::default();
        let inputs = UNetInputs::declare(
            &mut graph,
            &config,
            1,
            [config.image_size; 2],
            case.get("low_res").map(|low| [sizes(low)[2]; 2]),
        );
        let out = unet(&mut graph, &config, inputs).unwrap();
        graph.output("out", out);
        same_values(case["name"].as_str().unwrap(), &graph);
    }
    for case in small_cases("classifier").iter().filter(|c| c["name"] != "spatial") {
        let mut config = model_config(&case["config"]).unet;
        config.num_res_blocks = 1;
        let mut graph = Graph::default();
        let x = graph.input("x", Shape::new(1, 16, 16, 3));
        let timesteps = graph.input("timesteps", Shape::vector(1, 1));
        let labels = graph.input("labels", Shape::vector(1, 1));
        let logits = classifier(&mut graph, &config, "", x, timesteps).unwrap();
        let gradient = guidance_gradient(&mut graph, logits, labels, x).unwrap();
        graph.output("logits", logits);
        graph.output("gradient", gradient);
        same_values(case["name"].as_str().unwrap(), &graph);
    }
}

/// Nothing recurses to the depth of the network, or of a classifier with its gradient.
#[test]
fn the_deepest_networks_plan_within_a_small_stack() {
    let deepest = |mut config: ModelConfig| {
        config.unet.model_channels = 32;
        config.unet.channel_mult = vec![1.0; 2];
        config.unet.image_size = 16;
        config.unet.attention_resolutions = vec![16, 8];
        config.unet.num_head_channels = 32;
        config.unet.num_res_blocks = if config.role == Role::Classifier { 64 } else { 62 };
        config.validate().unwrap();
        config
    };
    let model = deepest(presets::by_name("64x64_diffusion").unwrap().config());
    let guide = deepest(presets::by_name("64x64_classifier").unwrap().config());
    let beyond = |mut config: ModelConfig| {
        config.unet.channel_mult = vec![1.0; 5];
        config.unet.num_res_blocks = 64;
        config.validate().unwrap_err().to_string()
    };
    for text in [beyond(model.clone()), beyond(guide.clone())] {
        assert!(text.contains("num_res_blocks 64") && text.contains("256"), "{text}");
    }
    // The same network in more levels: as many blocks.
    let mut steep = guide.clone();
    steep.unet.channel_mult = vec![1.0; 4];
    steep.unet.num_res_blocks = 62;
    let plan = move || {
        for guide in [None, Some(&guide), Some(&steep)] {
            Session::plan(&ample(), &model, guide, &SessionOptions::default()).unwrap();
        }
    };
    std::thread::Builder::new().stack_size(256 << 10).spawn(plan).unwrap().join().unwrap();
}

#[test]
fn a_device_that_is_too_small_gives_an_error_with_its_limit() {
    let defaults = Caps::webgpu_defaults;
    let config = model_config(&small_cases("unet")[0]["config"]);
    let refused =
        |caps: Caps, config: &ModelConfig| match Session::plan(&caps, config, None, &SessionOptions::default()) {
            Err(Error::Limit { name, what, needed, limit, .. }) => {
                assert!(!what.is_empty() && !needed.is_empty() && !limit.is_empty());
                name
            }
            other => panic!("{other:?}"),
        };
    assert_eq!(refused(Caps { max_binding_size: 1 << 10, ..defaults() }, &config), "maxStorageBufferBindingSize");
    assert_eq!(refused(Caps { max_workgroups: 1, ..defaults() }, &config), "maxComputeWorkgroupsPerDimension");
    assert_eq!(refused(Caps { max_storage_buffers: 3, ..defaults() }, &config), "maxStorageBuffersPerShaderStage");
    // A weight within the binding but not the buffer, and an activation that is larger than any weight.
    assert_eq!(refused(Caps { max_buffer_size: 1 << 10, ..defaults() }, &config), "maxBufferSize");
    // Advice is given for what it can change.
    let text = |caps: Caps| Session::plan(&caps, &config, None, &SessionOptions::default()).unwrap_err().to_string();
    assert!(text(Caps { max_workgroups: 1, ..defaults() }).contains("a smaller batch"));
    assert!(!text(Caps { max_storage_buffers: 3, ..defaults() }).contains("a smaller batch"));
    let lacking = text(Caps { max_buffer_size: 1 << 10, ..defaults() });
    assert!(lacking.contains("--precision f16-weights"), "{lacking}");
    let wide = presets::by_name("128_512_upsampler").unwrap().config();
    assert_eq!(refused(defaults(), &wide), "maxStorageBufferBindingSize");
    let text = Session::plan(&defaults(), &wide, None, &SessionOptions::default()).unwrap_err().to_string();
    assert!(text.contains("128.0 MiB") && text.contains("default limits"), "{text}");
}

#[test]
fn tensors_larger_than_a_binding_are_bound_in_parts() {
    let model = presets::by_name("512x512_diffusion").unwrap().config();
    let guide = presets::by_name("512x512_classifier").unwrap().config();
    for (software, precision) in
        [(true, Precision::F32), (false, Precision::F32), (false, Precision::F16Weights), (false, Precision::F16)]
    {
        let caps = Caps { software, shader_f16: true, wide_registers: true, ..Caps::webgpu_defaults() };
        let options =
            SessionOptions { plan: PlanOptions { precision, ..PlanOptions::default() }, ..SessionOptions::default() };
        let plan = Session::plan(&caps, &model, Some(&guide), &options).unwrap();
        assert!(plan.slots().iter().any(|bytes| *bytes > caps.max_binding_size), "or this tests nothing");
        assert!(plan.slots().iter().all(|bytes| *bytes <= caps.max_buffer_size));
        for dispatch in plan.dispatches() {
            for (buffer, _) in &dispatch.buffers {
                let (slot, first, bytes) = match *buffer {
                    Buffer::Slot(slot) => (slot, 0, plan.slots()[slot]),
                    Buffer::Part { slot, offset, bytes } => (slot, offset, bytes),
                    _ => continue,
                };
                assert!(first % 256 == 0 && first + bytes <= plan.slots()[slot], "{}: {buffer:?}", dispatch.node);
                assert!(bytes <= caps.max_binding_size, "{}: {}", dispatch.node, mebibytes(bytes));
            }
        }
    }
}

#[test]
fn float16_arithmetic_needs_the_feature() {
    let options = |precision| SessionOptions {
        plan: PlanOptions { precision, transform_budget: Some(0), ..PlanOptions::default() },
        ..SessionOptions::default()
    };
    let plan = |shader_f16, precision| {
        let caps = Caps { shader_f16, wide_registers: true, ..Caps::webgpu_defaults() };
        Session::plan(&caps, &fashion(), None, &options(precision))
    };
    let error = plan(false, Precision::F16).unwrap_err();
    assert!(matches!(error, Error::Feature { name: "shader-f16", .. }), "{error:?}");
    let text = error.to_string();
    for part in ["float16 arithmetic", &Caps::webgpu_defaults().adapter, "--precision f16-weights"] {
        assert!(text.contains(part), "{text} lacks {part}");
    }
    // The other precisions do not use it where it is there.
    for precision in [Precision::F32, Precision::F16Weights] {
        assert!(!plan(true, precision).unwrap().uses_f16());
    }
    let (half, stored) = (plan(true, Precision::F16).unwrap(), plan(true, Precision::F16Weights).unwrap());
    assert!(half.uses_f16());
    assert_eq!(half.weights(), stored.weights(), "both store the same");
    assert!(half.activation_bytes() <= stored.activation_bytes());
}

#[test]
fn tensor_cores_are_used_where_they_are_and_for_float16_alone() {
    let model = presets::by_name("64x64_diffusion").unwrap().config();
    let guide = presets::by_name("64x64_classifier").unwrap().config();
    let kernels = |caps: &Caps, precision| {
        let plan = PlanOptions { precision, ..PlanOptions::default() };
        let options = SessionOptions { batch: 4, plan, ..SessionOptions::default() };
        let plan = Session::plan(caps, &model, Some(&guide), &options).unwrap();
        let steps = plan.dispatches().iter().filter(|step| step.kernel.uses_cooperative_matrices());
        assert!(steps.clone().all(|step| step.kernel.uses_f16()), "gradients stay float32");
        steps.map(|step| step.kernel.defines["COOPERATIVE"]).collect::<Vec<i64>>()
    };
    for size in [8, 16] {
        let caps = Caps { shader_f16: true, subgroup: Some(32), cooperative: Some(size), ..ample() };
        let used = kernels(&caps, Precision::F16);
        println!("{size}: {} products on tensor cores", used.len());
        assert!(!used.is_empty() && used.iter().all(|s| *s == size as i64), "large products take them first");
        for precision in [Precision::F32, Precision::F16Weights] {
            assert_eq!(kernels(&caps, precision), [0i64; 0]);
        }
        assert_eq!(kernels(&Caps { cooperative: None, ..caps }, Precision::F16), [0i64; 0]);
    }
}

/// F(4x4) multiplies in float32 at every precision, so that no tensor core takes part: F(2x2) on tensor cores, which multiplies
/// 1.8 times as much, is the default and is measured first.
#[test]
fn tensor_cores_come_before_winograd_in_larger_tiles() {
    let on_tensor_cores = |v: &Variant| matches!(v, Variant::Gemm(tile) | Variant::Winograd(2, tile) if tile.sharing == Sharing::Cooperative(16));
    let models = presets::PRESETS.iter().map(|preset| (preset.name, preset.config()));
    let mut failures = Vec::new();
    for (name, config) in models.filter(|(_, config)| config.role != Role::Classifier) {
        let low_size = (config.role == Role::Upsampler).then_some(config.unet.image_size / 4);
        for (batch, memory) in [(1, None), (8, None), (1, Some(80 << 30)), (8, Some(80 << 30))] {
            let caps = Caps {
                shader_f16: true,
                subgroup: Some(32),
                cooperative: Some(16),
                wide_registers: true,
                transformed_weights: Caps::transformed_weights(memory, false),
                ..ample()
            };
            let graph = fuse::fuse(&sampling_graph(&config, None, batch, low_size, None).unwrap()).unwrap();
            let mut found = 0;
            for Tunable { node, variants, .. } in tunable(&graph, &caps.at(Precision::F16)) {
                let Some(larger) = variants.iter().position(|v| matches!(v, Variant::Winograd(4, _))) else { continue };
                found += 1;
                if !variants[..larger].iter().any(on_tensor_cores) {
                    failures.push(format!("{name}, batch {batch}: {} to {}: {variants:?}", node.name, node.shape));
                }
            }
            assert!(found > 0, "{name}");
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_plan_prints_as_a_table() {
    let plan = Session::plan(&Caps::webgpu_defaults(), &fashion(), None, &SessionOptions::default()).unwrap();
    let text = plan.to_string();
    println!("{text}");
    let lines: Vec<&str> = text.lines().collect();
    let is_step = |line: &&str| line.trim_start().starts_with(|c: char| c.is_ascii_digit());
    let rows: Vec<&str> = lines.iter().copied().filter(is_step).collect();
    // Every step, and the totals, which begin with a number too.
    assert_eq!(rows.len(), plan.dispatches().len() + 1);
    assert!(rows[plan.dispatches().len() - 1].ends_with("  step"), "the node's name comes last");
    let path = fixture("plan.txt");
    // The head, the segments and the totals; the rows between change with every kernel.
    let shown: Vec<&str> = lines.iter().copied().filter(|line| !is_step(line)).chain(rows.last().copied()).collect();
    let shown = shown.join("\n") + "\n";
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &shown).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(shown, expected, "set UPDATE_SNAPSHOTS=1 and look at the difference to tests/fixtures/plan.txt");
}
