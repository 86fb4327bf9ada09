//! Prints the tables of docs/memory.md: what the public files need of a device, as planned, without one.
//!
//!     cargo run --release --example memory_table

use guided_diffusion::config::{ModelConfig, Role, presets};
use guided_diffusion::device::{Caps, Precision};
use guided_diffusion::graph::{Graph, Segment, fuse};
use guided_diffusion::model::{classifier, guidance_gradient};
use guided_diffusion::plan::{Plan, PlanOptions};
use guided_diffusion::tensor::Shape;
use guided_diffusion::{Error, Result, Session, SessionOptions};

fn main() -> Result<()> {
    print!("{}", tables()?);
    Ok(())
}

/// Both tables.
///
/// # Errors
/// A file that cannot be planned even without limits: a defect.
pub fn tables() -> Result<String> {
    let mut text = String::new();
    text += "| file | weights f32 | weights f16 | activations | all, f32 | all, f16 | largest buffer | at WebGPU's default limits |\n";
    text += "|---|---|---|---|---|---|---|---|\n";
    for preset in &presets::PRESETS {
        text += &row(preset.name, &|caps, precision| plan(caps, precision, &preset.config(), None))?;
    }
    text += "\n| guided pair | weights f32 | weights f16 | activations | all, f32 | all, f16 | largest buffer | at WebGPU's default limits |\n";
    text += "|---|---|---|---|---|---|---|---|\n";
    for (model, judge) in [
        ("64x64_diffusion", "64x64_classifier"),
        ("128x128_diffusion", "128x128_classifier"),
        ("256x256_diffusion", "256x256_classifier"),
        ("256x256_diffusion_uncond", "256x256_classifier"),
        ("512x512_diffusion", "512x512_classifier"),
    ] {
        let config = |name| {
            let preset = presets::by_name(name).ok_or_else(|| Error::Config(format!("no public file {name}")))?;
            Ok::<_, Error>(preset.config())
        };
        let (model_config, judge_config) = (config(model)?, config(judge)?);
        let name = format!("{model} + classifier");
        text += &row(&name, &|caps, precision| plan(caps, precision, &model_config, Some(&judge_config)))?;
    }
    Ok(text)
}

type Planner<'a> = &'a dyn Fn(&Caps, Precision) -> Result<Plan>;

fn row(name: &str, plan: Planner<'_>) -> Result<String> {
    let limitless = Caps { max_buffer_size: u64::MAX, max_binding_size: u64::MAX, ..Caps::webgpu_defaults() };
    let (wide, half) = (plan(&limitless, Precision::F32)?, plan(&limitless, Precision::F16Weights)?);
    let slots = wide.slots().iter().copied();
    let largest = slots.chain(wide.weights().iter().map(|w| w.bytes())).max().unwrap_or(0);
    let fits = |precision| match plan(&Caps::webgpu_defaults(), precision) {
        Ok(_) => "fits".to_owned(),
        Err(Error::Limit { what, needed, .. }) => format!("no: {what} needs {needed}"),
        Err(other) => other.to_string(),
    };
    let (wide_fits, half_fits) = (fits(Precision::F32), fits(Precision::F16Weights));
    let fits = if wide_fits == half_fits { wide_fits } else { format!("f32 {wide_fits}; f16 {half_fits}") };
    Ok(format!(
        "| {name} | {} | {} | {} | {} | {} | {} | {fits} |\n",
        mib(wide.weight_bytes()),
        mib(half.weight_bytes()),
        mib(wide.activation_bytes()),
        mib(wide.weight_bytes() + wide.activation_bytes()),
        mib(half.weight_bytes() + half.activation_bytes()),
        mib(largest)
    ))
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// The plan of one image; a classifier's by itself is its logits and its gradient.
fn plan(caps: &Caps, precision: Precision, config: &ModelConfig, guide: Option<&ModelConfig>) -> Result<Plan> {
    let plan = PlanOptions { precision, ..PlanOptions::default() };
    if config.role != Role::Classifier {
        return Session::plan(caps, config, guide, &SessionOptions { plan, ..SessionOptions::default() });
    }
    let unet = &config.unet;
    let mut graph = Graph::default();
    let x = graph.input("x", Shape::new(1, unet.image_size, unet.image_size, unet.in_channels));
    let (timesteps, labels) =
        (graph.input("timesteps", Shape::vector(1, 1)), graph.input("labels", Shape::vector(1, 1)));
    graph.begin(Segment::Guidance);
    let logits = classifier(&mut graph, unet, "", x, timesteps)?;
    let gradient = guidance_gradient(&mut graph, logits, labels, x)?;
    graph.output("gradient", gradient);
    Plan::new(&fuse::fuse(&graph)?, caps, &plan)
}
