//! Golden networks on a device: synthetic weights and inputs in, outputs as the reference lays them out.

use std::sync::Arc;

use guided_diffusion::checkpoint::synthetic;
use guided_diffusion::gpu::{Gpu, Program};
use guided_diffusion::graph::tensor::{nchw_to_nhwc, nhwc_to_nchw};
use guided_diffusion::graph::{Graph, Segment, Shape, fuse};
use guided_diffusion::model::{UNetInputs, classifier, guidance_gradient, unet};
use guided_diffusion::plan::{Plan, PlanOptions};
use pollster::block_on;
use serde_json::Value;

use super::{model_config, sizes, synth};

pub fn numbers(case: &Value, key: &str) -> Vec<u32> {
    case[key].as_array().map(|a| a.iter().map(|v| v.as_u64().unwrap() as u32).collect()).unwrap_or_default()
}

/// The output, in NCHW.
pub fn run_unet(gpu: &Arc<Gpu>, case: &Value, options: &PlanOptions) -> Vec<f32> {
    let config = model_config(&case["config"]).unet;
    let seed = case["seed"].as_u64().unwrap();
    let x = sizes(&case["x"]);
    let low = case.get("low_res").map(sizes);
    let mut graph = Graph::default();
    let inputs = UNetInputs::declare(&mut graph, &config, x[0], low.as_ref().map(|l| l[2]));
    let out = unet(&mut graph, &config, inputs).unwrap();
    graph.output("out", out);
    let plan = Plan::new(&fuse::fuse(&graph).unwrap(), gpu.caps(), options).unwrap();
    let mut program = block_on(Program::new(gpu, plan)).unwrap();
    for param in &graph.params {
        let data = synthetic::weight(&param.name, &param.shape, seed);
        block_on(program.upload(&param.name, &data)).unwrap();
    }
    program.seal().unwrap();
    let image =
        |name: &str, s: &[usize]| nchw_to_nhwc(&synth::noise_of(name, s, seed), Shape::new(s[0], s[2], s[3], s[1]));
    program.write("x", &image("x", &x)).unwrap();
    if let Some(low) = low {
        program.write("low_res", &image("low_res", &low)).unwrap();
    }
    let timesteps: Vec<f32> = numbers(case, "timesteps").iter().map(|t| *t as f32).collect();
    program.write("timesteps", &timesteps).unwrap();
    if config.num_classes > 0 {
        program.write("labels", &numbers(case, "labels")).unwrap();
    }
    block_on(program.run(Segment::Network)).unwrap();
    let result = block_on(program.read("out")).unwrap();
    nhwc_to_nchw(&result, program.port("out").unwrap().shape)
}

/// Logits and, in NCHW, the gradient.
pub fn run_classifier(gpu: &Arc<Gpu>, case: &Value, options: &PlanOptions) -> (Vec<f32>, Vec<f32>) {
    let config = model_config(&case["config"]).unet;
    let seed = case["seed"].as_u64().unwrap();
    let s = sizes(&case["x"]);
    let shape = Shape::new(s[0], s[2], s[3], s[1]);
    let mut graph = Graph::default();
    let x = graph.input("x", shape);
    let timesteps = graph.input("timesteps", Shape::vector(s[0], 1));
    let labels = graph.input("labels", Shape::vector(s[0], 1));
    let logits = classifier(&mut graph, &config, "", x, timesteps).unwrap();
    let gradient = guidance_gradient(&mut graph, logits, labels, x).unwrap();
    graph.output("logits", logits);
    graph.output("gradient", gradient);
    let plan = Plan::new(&fuse::fuse(&graph).unwrap(), gpu.caps(), options).unwrap();
    let mut program = block_on(Program::new(gpu, plan)).unwrap();
    for param in &graph.params {
        let data = synthetic::weight(&param.name, &param.shape, seed);
        block_on(program.upload(&param.name, &data)).unwrap();
    }
    program.seal().unwrap();
    program.write("x", &nchw_to_nhwc(&synth::noise_of("x", &s, seed), shape)).unwrap();
    let timesteps: Vec<f32> = numbers(case, "timesteps").iter().map(|t| *t as f32).collect();
    program.write("timesteps", &timesteps).unwrap();
    program.write("labels", &numbers(case, "labels")).unwrap();
    block_on(program.run(Segment::Network)).unwrap();
    let gradient = block_on(program.read("gradient")).unwrap();
    (block_on(program.read("logits")).unwrap(), nhwc_to_nchw(&gradient, shape))
}
