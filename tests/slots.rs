//! Memory that steps share: no living value is ever overwritten, in every plan there is and in random ones.
//!
//! Twice over: by the lifetimes that the plan was made from, and by running it symbolically, which would also see wrong
//! lifetimes.

mod common;

use std::collections::BTreeSet;

use common::{cases_of, model_config, sizes, synth};
use guided_diffusion::config::{ModelConfig, Role, presets};
use guided_diffusion::device::{Caps, Precision};
use guided_diffusion::graph::{Graph, Segment, TensorId, fuse};
use guided_diffusion::model::sampling_graph;
use guided_diffusion::op::dispatch::Resource;
use guided_diffusion::op::{Add, Attention, Concat, Conv2d, GroupNorm, Resample, Unary};
use guided_diffusion::plan::lifetime::Lifetime;
use guided_diffusion::plan::recording::Recording;
use guided_diffusion::plan::{Plan, PlanOptions, record, slots};
use guided_diffusion::shader::Access;
use guided_diffusion::tensor::Shape;

/// A device with room for every model.
fn ample() -> Caps {
    let (most, defaults) = (1 << 40, Caps::webgpu_defaults());
    Caps { max_buffer_size: most, max_binding_size: most, shader_f16: true, ..defaults }
}

fn small_cases(kind: &str) -> Vec<serde_json::Value> {
    cases_of(kind).into_iter().filter(|c| c.get("stride").is_none()).collect()
}

/// The sampling graphs of all golden networks (one guided by each head) and of all public files.
fn graphs() -> Vec<(String, Graph)> {
    let mut graphs = Vec::new();
    let mut add = |name: String, config: &ModelConfig, guide: Option<&ModelConfig>, batch, low_size| {
        graphs.push((name, fuse::fuse(&sampling_graph(config, guide, batch, low_size, None).unwrap()).unwrap()));
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
                graph.push(&*name, GroupNorm { scale_shift: false }, &[x], &params)
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
            _ => graph.push(&*name, Unary::SILU, &[x], &[]),
        };
        values.push(value.unwrap());
    }
    graph.output("out", values[values.len() - 1]);
    graph.output("another", values[random.below(values.len())]);
    graph
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
        for (i, step) in recording.dispatches.iter().enumerate().filter(|(_, step)| step.segment == *segment) {
            let values = || {
                step.buffers.iter().filter_map(|(resource, access)| match resource {
                    Resource::Value(value) | Resource::Part { value, .. } => Some((value.0, *access)),
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
    let values: Vec<usize> = (0..plan.lifetimes().len()).filter(|v| !plan.lifetimes()[*v].is_unused()).collect();
    for (i, a) in values.iter().enumerate() {
        let (life, slot) = (&plan.lifetimes()[*a], plan.assignment()[*a]);
        assert!(plan.slots()[slot] >= life.bytes, "{name}: {} does not fit its slot", life.label);
        for b in values[..i].iter().filter(|b| plan.assignment()[**b] == slot) {
            assert!(!life.overlaps(&plan.lifetimes()[*b]), "{name}: {} and {}", life.label, plan.lifetimes()[*b].label);
        }
    }
    // By WebGPU's rule: a buffer that a dispatch writes is bound once.
    for step in plan.dispatches() {
        for (i, (buffer, access)) in step.buffers.iter().enumerate() {
            let again =
                step.buffers[..i].iter().any(|(b, a)| b == buffer && (*a, *access) != (Access::Read, Access::Read));
            assert!(!again, "{name}: {} binds {buffer:?} twice", step.node);
        }
    }
    // By what the results depend on, whatever the lifetimes say.
    use Segment::{Guidance, Network, Noise, Predict, Project, Start, Step, Threshold};
    let recording = record(graph, &caps.at(options.precision), options).unwrap();
    for run in [
        vec![Noise, Start, Noise, Network, Guidance, Predict, Step, Noise, Network, Guidance, Predict, Project, Step],
        // Guidance may pause, DDIM draws no noise, and noise may be given.
        vec![
            Start, Network, Predict, Step, Network, Guidance, Predict, Threshold, Project, Step, Network, Predict, Step,
        ],
    ] {
        let own = simulate(&recording, &run, &|value| value);
        let shared = simulate(&recording, &run, &|value| plan.assignment()[value]);
        assert_eq!(own, shared, "{name}: sharing memory changes results");
    }
    plan
}

#[test]
fn no_two_living_values_share_a_slot() {
    for (name, graph) in graphs() {
        for precision in [Precision::F32, Precision::F16Weights, Precision::F16] {
            let plan = check_memory(&name, &graph, &PlanOptions { precision, ..PlanOptions::default() });
            let alone: u64 = plan.lifetimes().iter().filter(|l| !l.is_unused()).map(|l| l.bytes).sum();
            assert!(plan.activation_bytes() < alone, "{name}: nothing is shared");
        }
    }
}

#[test]
fn the_simulation_notices_shared_memory() {
    let (_, graph) = &graphs()[0];
    let (caps, options) = (ample(), PlanOptions::default());
    let (plan, recording) = (Plan::new(graph, &caps, &options).unwrap(), record(graph, &caps, &options).unwrap());
    let run = [Segment::Noise, Segment::Start, Segment::Network, Segment::Predict, Segment::Step];
    let own = simulate(&recording, &run, &|value| value);
    // Any two values of one size that are alive together, put into one slot.
    let lives = plan.lifetimes();
    let value = lives.iter().position(|l| l.label.ends_with("in_layers.2")).unwrap();
    let other = (0..lives.len()).find(|v| *v != value && lives[*v].overlaps(&lives[value])).unwrap();
    let wrong = |v: usize| plan.assignment()[if v == value { other } else { v }];
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
