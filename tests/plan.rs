//! Plans without a device: memory that is never shared by two living values, parameters, limits, the printed table.

mod common;

use std::collections::BTreeSet;

use common::{cases_of, fixture, model_config, sizes, synth};
use guided_diffusion::checkpoint::synthetic;
use guided_diffusion::config::{ModelConfig, Overrides, Role, parameters, presets};
use guided_diffusion::graph::tensor::nchw_to_nhwc;
use guided_diffusion::graph::{Graph, Segment, Shape, TensorId, fuse, reference};
use guided_diffusion::model::{UNetInputs, classifier, guidance_gradient, sampling_graph, unet};
use guided_diffusion::op::{Add, Attention, Concat, Conv2d, GroupNorm, Op, Resample, Unary};
use guided_diffusion::plan::lifetime::Lifetime;
use guided_diffusion::plan::lowering::{Lowering, Recording, Resource};
use guided_diffusion::plan::{Caps, Plan, PlanOptions, Precision, mebibytes, slots};
use guided_diffusion::shader::Access;
use guided_diffusion::{Checkpoint, Error, Session, SessionOptions};

/// A device with room for every model.
fn ample() -> Caps {
    Caps { max_buffer_size: 1 << 40, max_binding_size: 1 << 40, ..Caps::webgpu_defaults() }
}

fn builtin() -> ModelConfig {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fashion32.safetensors");
    Checkpoint::open(path).unwrap().config(&Overrides::default()).unwrap().config
}

fn small_cases(kind: &str) -> Vec<serde_json::Value> {
    cases_of(kind).into_iter().filter(|c| c.get("stride").is_none()).collect()
}

/// The sampling graphs of all golden networks (one guided by each head) and of all public files.
fn graphs() -> Vec<(String, Graph)> {
    let mut graphs = Vec::new();
    let mut add = |name: String, config: &ModelConfig, guide: Option<&ModelConfig>, batch, low_size| {
        graphs.push((name, fuse::fuse(&sampling_graph(config, guide, batch, low_size).unwrap()).unwrap()));
    };
    let unets = small_cases("unet");
    for case in &unets {
        let low_size = case.get("low_res").map(|low| sizes(low)[2]);
        add(case["name"].to_string(), &model_config(&case["config"]), None, sizes(&case["x"])[0], low_size);
    }
    for case in small_cases("classifier") {
        let (model, guide) = (model_config(&unets[0]["config"]), model_config(&case["config"]));
        add(format!("guided by {}", case["name"]), &model, Some(&guide), 2, None);
    }
    for preset in &presets::PRESETS {
        let config = preset.config();
        let size = config.unet.image_size;
        if config.role == Role::Classifier {
            let model = presets::by_name(&format!("{size}x{size}_diffusion")).unwrap().config();
            add(format!("guided by {}", preset.name), &model, Some(&config), 1, None);
        } else {
            add(preset.name.into(), &config, None, 1, (config.role == Role::Upsampler).then_some(size / 4));
        }
    }
    graphs
}

/// A fixed stream of numbers.
struct Random(Box<dyn Iterator<Item = f32>>);

impl Random {
    fn new(seed: u64) -> Self {
        Self(Box::new(synth::uniform("plan", seed)))
    }

    fn below(&mut self, count: usize) -> usize {
        (f64::from(self.0.next().unwrap()) * count as f64) as usize
    }
}

/// Some network of up to 40 nodes that reads its own values in any order.
fn random_graph(random: &mut Random) -> Graph {
    let mut graph = Graph::default();
    let mut values = vec![graph.input("x", Shape::new(1 + random.below(2), 8, 8, 32))];
    graph.begin(Segment::Network);
    for i in 0..10 + random.below(30) {
        let x = values[random.below(values.len())];
        let shape = graph.shape(x);
        let same: Vec<TensorId> =
            values.iter().copied().filter(|v| graph.shape(*v).with_channels(0) == shape.with_channels(0)).collect();
        let other = same[random.below(same.len())];
        let name = format!("node{i}");
        let weight = |graph: &mut Graph, out: usize, kernel: usize| {
            [
                graph.param(format!("{name}.weight"), &[out, shape.c, kernel, kernel]),
                graph.param(format!("{name}.bias"), &[out]),
            ]
        };
        let value = match random.below(9) {
            0 if graph.shape(other) == shape => graph.push(&*name, Add, &[x, other], &[]),
            1 if shape.c + graph.shape(other).c <= 128 => graph.push(&*name, Concat, &[x, other], &[]),
            2 if shape.h % 2 == 0 => graph.push(&*name, Resample::Down, &[x], &[]),
            3 if shape.h < 8 => graph.push(&*name, Resample::Up, &[x], &[]),
            4 => {
                let params = [
                    graph.param(format!("{name}.weight"), &[shape.c]),
                    graph.param(format!("{name}.bias"), &[shape.c]),
                ];
                graph.push(&*name, GroupNorm, &[x], &params)
            }
            5 if shape.c % 96 == 0 => graph.push(&*name, Attention { heads: 2, new_order: false }, &[x], &[]),
            6 => {
                let params = weight(&mut graph, [32, 64, 96][random.below(3)], 3);
                graph.push(&*name, Conv2d::new(3, 1), &[x], &params)
            }
            7 => {
                let params = weight(&mut graph, 32, 1);
                graph.push(&*name, Conv2d::new(1, 1), &[x], &params)
            }
            _ => graph.push(&*name, Unary::Silu, &[x], &[]),
        };
        values.push(value.unwrap());
    }
    graph.output("out", values[values.len() - 1]);
    graph.output("another", values[random.below(values.len())]);
    graph
}

fn record(graph: &Graph, caps: &Caps, options: &PlanOptions) -> Recording {
    let mut lowering = Lowering::new(graph, caps, options);
    for (i, node) in graph.nodes.iter().enumerate().filter(|(_, node)| node.op != Op::Input) {
        lowering.enter(i).unwrap();
        node.op.operator().lower(&mut lowering).unwrap();
        lowering.leave();
    }
    lowering.finish().unwrap()
}

fn mix(h: u64, value: u64) -> u64 {
    (h ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
}

/// Runs segments symbolically: memory holds a hash of whatever a value was computed from. `place` says where a value
/// lives: each in its own memory, or in the plan's slots. Yields what the pinned values hold in the end.
///
/// A step that continues a value (a chunk, a second half, the sampler's own state) depends on what its memory held; one
/// that begins a value does not.
fn simulate(recording: &Recording, segments: &[Segment], place: &dyn Fn(usize) -> usize) -> Vec<u64> {
    let mut memory = vec![0u64; recording.values.len()];
    let pinned: Vec<usize> = (0..recording.values.len()).filter(|v| recording.values[*v].pinned).collect();
    pinned.iter().for_each(|v| memory[place(*v)] = mix(7, *v as u64));
    for segment in segments {
        let mut begun = BTreeSet::new();
        for (i, step) in recording.steps.iter().enumerate().filter(|(_, step)| step.segment == *segment) {
            let values = || {
                step.buffers.iter().filter_map(|(resource, access)| match resource {
                    Resource::Value(value) => Some((value.0, *access)),
                    _ => None,
                })
            };
            let mut h = i as u64;
            for (value, access) in values() {
                if access == Access::Read || recording.values[value].pinned || begun.contains(&value) {
                    h = mix(h, memory[place(value)]);
                }
            }
            for (value, access) in values().filter(|(_, access)| *access == Access::ReadWrite) {
                memory[place(value)] = mix(h, access as u64);
                begun.insert(value);
            }
        }
    }
    pinned.into_iter().map(|v| memory[place(v)]).collect()
}

/// What every plan must keep.
fn check_memory(name: &str, graph: &Graph, options: &PlanOptions) -> Plan {
    let caps = ample();
    let plan = Plan::new(graph, &caps, options).unwrap();
    // By the lifetimes it was made from.
    let values: Vec<usize> = (0..plan.lifetimes.len()).filter(|v| !plan.lifetimes[*v].is_unused()).collect();
    for (i, a) in values.iter().enumerate() {
        let (life, slot) = (&plan.lifetimes[*a], plan.assignment[*a]);
        assert!(plan.slots[slot] >= life.bytes, "{name}: {} does not fit its slot", life.label);
        for b in values[..i].iter().filter(|b| plan.assignment[**b] == slot) {
            assert!(!life.overlaps(&plan.lifetimes[*b]), "{name}: {} and {}", life.label, plan.lifetimes[*b].label);
        }
    }
    // By WebGPU's rule: a buffer that a dispatch writes is bound once.
    for step in &plan.steps {
        for (i, (buffer, access)) in step.buffers.iter().enumerate() {
            let again =
                step.buffers[..i].iter().any(|(b, a)| b == buffer && (*a, *access) != (Access::Read, Access::Read));
            assert!(!again, "{name}: {} binds {buffer:?} twice", step.node);
        }
    }
    // By what the results depend on, whatever the lifetimes say.
    use Segment::{Guidance, Network, Noise, Start, Step};
    let recording = record(graph, &caps, options);
    for run in [
        vec![Noise, Start, Noise, Network, Guidance, Step, Noise, Network, Guidance, Step],
        // Guidance may pause, DDIM draws no noise, and noise may be given.
        vec![Start, Network, Step, Network, Guidance, Step, Network, Step],
    ] {
        let own = simulate(&recording, &run, &|value| value);
        let shared = simulate(&recording, &run, &|value| plan.assignment[value]);
        assert_eq!(own, shared, "{name}: sharing memory changes results");
    }
    plan
}

#[test]
fn no_two_living_values_share_a_slot() {
    for (name, graph) in graphs() {
        for precision in [Precision::F32, Precision::F16Weights] {
            let plan = check_memory(&name, &graph, &PlanOptions { precision, ..PlanOptions::default() });
            let alone: u64 = plan.lifetimes.iter().filter(|l| !l.is_unused()).map(|l| l.bytes).sum();
            assert!(plan.activation_bytes() < alone, "{name}: nothing is shared");
        }
    }
}

#[test]
fn the_simulation_notices_shared_memory() {
    let (_, graph) = &graphs()[0];
    let (caps, options) = (ample(), PlanOptions::default());
    let (plan, recording) = (Plan::new(graph, &caps, &options).unwrap(), record(graph, &caps, &options));
    let run = [Segment::Noise, Segment::Start, Segment::Network, Segment::Step];
    let own = simulate(&recording, &run, &|value| value);
    // Any two values of one size that are alive together, put into one slot.
    let lives = &plan.lifetimes;
    let value = lives.iter().position(|l| l.label.ends_with("in_layers.2")).unwrap();
    let other = (0..lives.len()).find(|v| *v != value && lives[*v].overlaps(&lives[value])).unwrap();
    let wrong = |v: usize| plan.assignment[if v == value { other } else { v }];
    assert_ne!(own, simulate(&recording, &run, &wrong));
}

#[test]
fn random_graphs_keep_their_values() {
    let mut random = Random::new(1);
    for i in 0..200 {
        let graph = random_graph(&mut random);
        check_memory(&format!("random graph {i}"), &fuse::fuse(&graph).unwrap(), &PlanOptions::default());
    }
}

#[test]
fn random_lifetimes_are_kept_apart() {
    let mut random = Random::new(2);
    for _ in 0..300 {
        let steps = 1 + random.below(60);
        let lifetimes: Vec<Lifetime> = (0..random.below(80))
            .map(|i| {
                let first = random.below(steps);
                let last = first + random.below(steps - first);
                let unused = random.below(20) == 0;
                let (first, last) = if unused { (usize::MAX, 0) } else { (first, last) };
                Lifetime { label: format!("{i}"), bytes: 16 * (1 + random.below(1000) as u64), first, last }
            })
            .collect();
        let (assignment, slots) = slots::assign(&lifetimes);
        for step in 0..steps {
            let alive = |i: &usize| lifetimes[*i].first <= step && step <= lifetimes[*i].last;
            let taken: Vec<usize> = (0..lifetimes.len()).filter(alive).map(|i| assignment[i]).collect();
            assert_eq!(taken.len(), taken.iter().collect::<BTreeSet<_>>().len(), "step {step}");
        }
        let used = || (0..lifetimes.len()).filter(|i| !lifetimes[*i].is_unused());
        assert!(used().all(|i| slots[assignment[i]] >= lifetimes[i].bytes));
        let busiest = (0..steps).map(|step| {
            used()
                .filter(|i| lifetimes[*i].first <= step && step <= lifetimes[*i].last)
                .map(|i| lifetimes[i].bytes)
                .sum()
        });
        let (least, total): (u64, u64) = (busiest.max().unwrap_or(0), slots.iter().sum());
        assert!(total >= least && total <= used().map(|i| lifetimes[i].bytes).sum());
    }
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
    for (batch, most) in [(1, 4), (16, 64)] {
        let plan = Session::plan(
            &Caps::webgpu_defaults(),
            &builtin(),
            None,
            &SessionOptions { batch, ..SessionOptions::default() },
        );
        let plan = plan.unwrap();
        println!("built-in, batch {batch}: {}", mebibytes(plan.activation_bytes()));
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
            let inputs = UNetInputs::declare(&mut graph, &config.unet, 1, low_size);
            unet(&mut graph, &config.unet, inputs).unwrap();
            assert_eq!(declared(&graph, ""), wanted, "{name}");
        }
    };
    for preset in &presets::PRESETS {
        let config = preset.config();
        check(preset.name, &config, (config.role == Role::Upsampler).then_some(config.unet.image_size / 4));
    }
    for case in small_cases("unet").iter().chain(&small_cases("classifier")) {
        let low_size = case.get("low_res").map(|low| sizes(low)[2]);
        check(case["name"].as_str().unwrap(), &model_config(&case["config"]), low_size);
    }
    check("built-in", &builtin(), None);
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
        let inputs = UNetInputs::declare(&mut graph, &config, 1, case.get("low_res").map(|low| sizes(low)[2]));
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

#[test]
fn a_device_too_small_is_told_by_its_limit() {
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
    let wide = presets::by_name("512x512_diffusion").unwrap().config();
    assert_eq!(refused(defaults(), &wide), "maxStorageBufferBindingSize");
    let text = Session::plan(&defaults(), &wide, None, &SessionOptions::default()).unwrap_err().to_string();
    assert!(text.contains("128.0 MiB") && text.contains("default limits"), "{text}");
}

#[test]
fn the_plan_prints_as_a_table() {
    let plan = Session::plan(&Caps::webgpu_defaults(), &builtin(), None, &SessionOptions::default()).unwrap();
    let text = plan.to_string();
    println!("{text}");
    let lines: Vec<&str> = text.lines().collect();
    let is_step = |line: &&str| line.trim_start().starts_with(|c: char| c.is_ascii_digit());
    let rows: Vec<&str> = lines.iter().copied().filter(is_step).collect();
    // Every step, and the totals, which begin with a number too.
    assert_eq!(rows.len(), plan.steps.len() + 1);
    assert!(rows[plan.steps.len() - 1].ends_with("  step"), "the node's name comes last");
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
