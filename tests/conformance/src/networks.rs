//! Golden networks on a device: synthetic weights and inputs in, outputs as the reference lays them out.

use std::sync::Arc;

use guided_diffusion::checkpoint::synthetic;
use guided_diffusion::device::Precision;
use guided_diffusion::gpu::Program;
use guided_diffusion::graph::{Graph, Segment, fuse};
use guided_diffusion::model::{UNetInputs, classifier, guidance_gradient, unet};
use guided_diffusion::plan::{Plan, PlanOptions};
use guided_diffusion::tensor::Shape;
use guided_diffusion::tensor::{nchw_to_nhwc, nhwc_to_nchw};
use guided_diffusion::{Gpu, Result};
use serde_json::Value;

use crate::{Check, Golden, model_config, noise_of, numbers, relative_l2, sizes, tolerance};

/// The shape of an NCHW list of sizes.
fn shape_of(s: &[usize]) -> Shape {
    Shape::new(s[0], s[2], s[3], s[1])
}

/// The graph's program with the case's weights, timesteps and labels.
async fn load(gpu: &Arc<Gpu>, graph: &Graph, case: &Value, options: &PlanOptions) -> Result<Program> {
    let seed = case["seed"].as_u64().unwrap();
    let mut program = Program::new(gpu, Plan::new(&fuse::fuse(graph)?, gpu.caps(), options)?).await?;
    for param in &graph.params {
        program.upload(&param.name, &synthetic::weight(&param.name, &param.shape, seed)).await?;
    }
    program.seal()?;
    let timesteps = case["timesteps"].as_array().unwrap().iter();
    let timesteps: Vec<f32> = timesteps.map(|t| t.as_f64().unwrap() as f32).collect();
    program.write("timesteps", &timesteps)?;
    let labels = numbers(&case["labels"]);
    if !labels.is_empty() {
        program.write("labels", &labels)?;
    }
    for name in ["x", "low_res"] {
        let Some(size) = case.get(name).map(sizes) else { continue };
        program.write(name, &nchw_to_nhwc(&noise_of(name, &size, seed), shape_of(&size)))?;
    }
    Ok(program)
}

/// A UNet's output, in NCHW.
///
/// # Errors
/// A refused shader, a lost device.
pub async fn run_unet(gpu: &Arc<Gpu>, case: &Value, options: &PlanOptions) -> Result<Vec<f32>> {
    let config = model_config(&case["config"]).unet;
    let (x, low_size) = (sizes(&case["x"]), case.get("low_res").map(|low| [sizes(low)[2], sizes(low)[3]]));
    let mut graph = Graph::default();
    let inputs = UNetInputs::declare(&mut graph, &config, x[0], [x[2], x[3]], low_size);
    let out = unet(&mut graph, &config, inputs)?;
    graph.output("out", out);
    let mut program = load(gpu, &graph, case, options).await?;
    program.run(Segment::Network).await?;
    let shape = program.port("out")?.shape;
    Ok(nhwc_to_nchw(&program.read("out").await?, shape))
}

/// A classifier's logits and, in NCHW, its gradient.
///
/// # Errors
/// A refused shader, a lost device.
pub async fn run_classifier(gpu: &Arc<Gpu>, case: &Value, options: &PlanOptions) -> Result<(Vec<f32>, Vec<f32>)> {
    let config = model_config(&case["config"]).unet;
    let shape = shape_of(&sizes(&case["x"]));
    let mut graph = Graph::default();
    let x = graph.input("x", shape);
    let timesteps = graph.input("timesteps", Shape::vector(shape.n, 1));
    let labels = graph.input("labels", Shape::vector(shape.n, 1));
    let logits = classifier(&mut graph, &config, "", x, timesteps)?;
    let gradient = guidance_gradient(&mut graph, logits, labels, x)?;
    graph.output("logits", logits);
    graph.output("gradient", gradient);
    let mut program = load(gpu, &graph, case, options).await?;
    program.run(Segment::Network).await?;
    let gradient = program.read("gradient").await?;
    Ok((program.read("logits").await?, nhwc_to_nchw(&gradient, shape)))
}

pub(crate) async fn check_unet(gpu: &Arc<Gpu>, golden: &Golden, i: usize, precision: Precision) -> Result<Check> {
    let out = run_unet(gpu, &golden.cases()[i], &PlanOptions { precision, ..PlanOptions::default() }).await?;
    Ok(Check {
        name: format!("{} {precision:?}", golden.name(i)),
        error: relative_l2(&out, &golden.expected(i, "out")),
        tolerance: match precision {
            Precision::F32 => tolerance::NETWORK,
            Precision::F16Weights => tolerance::F16_WEIGHTS,
            Precision::F16 => tolerance::F16,
        },
    })
}

pub(crate) async fn check_classifier(gpu: &Arc<Gpu>, golden: &Golden, i: usize) -> Result<Vec<Check>> {
    let (logits, gradient) = run_classifier(gpu, &golden.cases()[i], &PlanOptions::default()).await?;
    let check = |output: &str, values: &[f32]| Check {
        name: format!("{} {output}", golden.name(i)),
        error: relative_l2(values, &golden.expected(i, output)),
        tolerance: tolerance::CLASSIFIER,
    };
    Ok(vec![check("logits", &logits), check("gradient", &gradient)])
}
