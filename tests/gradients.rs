//! Every gradient rule, mid-graph and with an incoming gradient that is not 1: against finite differences of the CPU
//! reference, and on every adapter under test against the reference's own gradient.

mod common;

use common::gpu::{on_each, relative_l2};
use common::synth;
use guided_diffusion::Result;
use guided_diffusion::checkpoint::synthetic;
use guided_diffusion::gpu::Program;
use guided_diffusion::graph::{Graph, Param, Segment, TensorId, fuse, grad, reference};
use guided_diffusion::model::blocks::{convolution, group_norm};
use guided_diffusion::op::{Add, AddEmbedding, Attention, Concat, Conv2d, Pooled, Resample, Unary};
use guided_diffusion::plan::{Plan, PlanOptions};
use guided_diffusion::tensor::Shape;
use pollster::block_on;

/// Of a directional derivative: central differences at this step are off by its square, and float32 values by 1e-7
/// over it.
const STEP: f32 = 3e-3;
const DIFFERENCES: f64 = 2e-3;
/// float32 kernels against the reference.
const KERNELS: f64 = 1e-5;

type Build = fn(&mut Graph, TensorId) -> Result<TensorId>;

/// Name, shape of the image, the op between two linear layers.
const CASES: &[(&str, [usize; 4], Build)] = &[
    ("conv2d 3x3", [2, 5, 7, 8], |g, x| convolution(g, "op", Conv2d::new(3, 1), x, 12, &[3, 3])),
    ("conv2d 3x3, tiles", [1, 9, 6, 36], |g, x| convolution(g, "op", Conv2d::new(3, 1), x, 20, &[3, 3])),
    ("conv2d stride 2, even", [2, 6, 8, 8], |g, x| convolution(g, "op", Conv2d::new(3, 2), x, 12, &[3, 3])),
    ("conv2d stride 2, odd", [1, 7, 5, 8], |g, x| convolution(g, "op", Conv2d::new(3, 2), x, 4, &[3, 3])),
    ("conv2d 1x1", [3, 3, 5, 12], |g, x| convolution(g, "op", Conv2d::new(1, 1), x, 20, &[1, 1])),
    ("group norm", [2, 3, 5, 32], |g, x| group_norm(g, "op", x, None)),
    ("group norm, SiLU", [2, 5, 3, 64], |g, x| {
        let h = group_norm(g, "op", x, None)?;
        g.push("silu", Unary::SILU, &[h], &[])
    }),
    ("adaptive group norm, SiLU", [2, 3, 3, 64], |g, x| {
        let s = g.shape(x);
        let e = g.input("embedding", Shape::vector(s.n, 2 * s.c));
        let h = group_norm(g, "op", x, Some(e))?;
        g.push("silu", Unary::SILU, &[h], &[])
    }),
    ("SiLU alone", [2, 3, 5, 4], |g, x| g.push("op", Unary::SILU, &[x], &[])),
    ("ReLU", [1, 2, 3, 8], |g, x| g.push("op", Unary::RELU, &[x], &[])),
    ("nearest upsampling", [2, 3, 5, 8], |g, x| g.push("op", Resample::Up, &[x], &[])),
    ("average pooling", [2, 6, 4, 8], |g, x| g.push("op", Resample::Down, &[x], &[])),
    ("attention, legacy order", [2, 3, 5, 48], |g, x| {
        g.push("op", Attention { heads: 2, new_order: false }, &[x], &[])
    }),
    ("attention, new order", [1, 7, 3, 48], |g, x| g.push("op", Attention { heads: 4, new_order: true }, &[x], &[])),
    ("attention pooling", [2, 3, 3, 8], |g, x| {
        let positions = g.param("positional_embedding", &[8, 10]);
        let tokens = g.push("tokens", Pooled::Tokens, &[x], &[positions])?;
        let qkv = convolution(g, "qkv", Conv2d::new(1, 1), tokens, 24, &[1])?;
        let h = g.push("attention", Attention { heads: 2, new_order: true }, &[qkv], &[])?;
        g.push("first", Pooled::FirstToken, &[h], &[])
    }),
    ("mean", [2, 3, 5, 12], |g, x| g.push("op", Pooled::Mean, &[x], &[])),
    ("concat and two paths", [1, 3, 5, 8], |g, x| {
        let a = g.push("silu", Unary::SILU, &[x], &[])?;
        g.push("op", Concat, &[x, a], &[])
    }),
    ("sum and embedding", [2, 3, 3, 8], |g, x| {
        let e = g.input("embedding", Shape::vector(2, 8));
        let a = g.push("silu", Unary::SILU, &[x], &[])?;
        let sum = g.push("sum", Add, &[x, a], &[])?;
        g.push("op", AddEmbedding, &[sum, e], &[])
    }),
];

struct Case {
    graph: Graph,
    result: TensorId,
    gradient: TensorId,
}

/// x -> linear -> op -> linear, and the gradient for a given gradient of the result.
fn build([n, h, w, c]: [usize; 4], op: Build) -> Case {
    let mut graph = Graph::default();
    let x = graph.input("x", Shape::new(n, h, w, 8));
    let before = convolution(&mut graph, "before", Conv2d::new(1, 1), x, c, &[1, 1]).unwrap();
    let inner = op(&mut graph, before).unwrap();
    let result = convolution(&mut graph, "after", Conv2d::new(1, 1), inner, 12, &[1, 1]).unwrap();
    let seed = graph.input("incoming", graph.shape(result));
    let gradient = grad::gradient(&mut graph, result, seed, x).unwrap();
    graph.output("gradient", gradient);
    Case { graph, result, gradient }
}

fn input(graph: &Graph, name: &str) -> Vec<f32> {
    let shape = graph.shape(graph.find_input(name).unwrap());
    synth::noise_of(name, &[shape.elements()], 7)
}

fn weight(param: &Param) -> Result<Vec<f32>> {
    Ok(synthetic::weight(&param.name, &param.shape, 3))
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[test]
fn rules_equal_finite_differences() {
    for (name, shape, op) in CASES {
        let case = build(*shape, *op);
        let evaluate = |x: &[f32]| {
            let given = |name: &str| Ok(if name == "x" { x.to_vec() } else { input(&case.graph, name) });
            reference::evaluate(&case.graph, given, weight).unwrap()
        };
        let x = input(&case.graph, "x");
        let incoming = input(&case.graph, "incoming");
        let gradient = &evaluate(&x)[case.gradient.0].data;
        for seed in 0..3 {
            let direction = synth::noise_of("direction", &[x.len()], seed);
            let moved =
                |sign: f32| -> Vec<f32> { x.iter().zip(&direction).map(|(x, d)| x + sign * STEP * d).collect() };
            let [up, down] = [1.0, -1.0].map(|sign| dot(&evaluate(&moved(sign))[case.result.0].data, &incoming));
            let (expected, actual) = ((up - down) / (2.0 * f64::from(STEP)), dot(gradient, &direction));
            // A direction may be nearly orthogonal to the gradient: the error is relative to their lengths.
            let scale = (dot(gradient, gradient) * dot(&direction, &direction)).sqrt();
            let error = (expected - actual).abs() / scale;
            assert!(error < DIFFERENCES, "{name}: {actual} by the rule, {expected} by differences ({error:.1e})");
        }
    }
}

#[test]
fn kernels_equal_the_reference() {
    on_each(|gpu| {
        for (name, shape, op) in CASES {
            let case = build(*shape, *op);
            let given = |name: &str| Ok(input(&case.graph, name));
            let expected = reference::evaluate(&case.graph, given, weight).unwrap();
            // An unfused graph computes the same, by other kernels.
            for (kind, graph) in [("fused", &fuse::fuse(&case.graph).unwrap()), ("unfused", &case.graph)] {
                let plan = Plan::new(graph, gpu.caps(), &PlanOptions::default()).unwrap();
                let mut program = block_on(Program::new(gpu, plan)).unwrap();
                for param in &case.graph.params {
                    block_on(program.upload(&param.name, &weight(param).unwrap())).unwrap();
                }
                program.seal().unwrap();
                let ports: Vec<String> = program.plan().inputs().iter().map(|p| p.name.clone()).collect();
                for port in ports {
                    program.write(&port, &input(&case.graph, &port)).unwrap();
                }
                block_on(program.run(Segment::Network)).unwrap();
                let actual = block_on(program.read("gradient")).unwrap();
                let error = relative_l2(&actual, &expected[case.gradient.0].data);
                assert!(error < KERNELS, "{} {name}, {kind}: {error:.1e}", gpu.summary().name);
            }
        }
    });
}
