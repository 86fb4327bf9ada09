//! What `bench` times besides models: single operations, as other runtimes are timed on them; the small network of such
//! comparisons; and a classifier with its gradient.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use super::console::{print, print_json};
use super::other_args::BenchArgs;
use crate::checkpoint::synthetic;
use crate::config::{DiffusionConfig, ModelConfig, NoiseSchedule, Role, UNetConfig};
use crate::device::Precision;
use crate::gpu::profile::median;
use crate::gpu::{Gpu, Program};
use crate::graph::{Graph, Segment, TensorId, fuse};
use crate::model::blocks::convolution;
use crate::model::classifier::{classifier, guidance_gradient};
use crate::op::variant::Variant;
use crate::op::{Attention, Conv2d, Op};
use crate::plan::tuning;
use crate::plan::{Plan, PlanOptions};
use crate::tensor::Shape;
use crate::{Error, Result};

/// The name of the small network.
pub const SMALL: &str = "small";
/// Heads and their channels where attention is timed alone.
const HEADS: (usize, usize) = (6, 64);

/// A network that takes a second on slow devices too: 0.999 GFLOP per image.
pub fn small() -> ModelConfig {
    ModelConfig::new(
        Role::Diffusion,
        UNetConfig {
            image_size: 32,
            in_channels: 1,
            model_channels: 32,
            out_channels: 2,
            num_res_blocks: 1,
            channel_mult: vec![1.0, 2.0, 4.0],
            attention_resolutions: vec![16, 8],
            num_classes: 10,
            num_heads: 4,
            num_head_channels: 32,
            resblock_updown: true,
            use_scale_shift_norm: true,
            use_new_attention_order: false,
            pool: None,
            attention_conv2d: false,
        },
        DiffusionConfig::new(1000, NoiseSchedule::Linear),
    )
}

/// Seconds of one evaluation of the network: the median of `runs`, after one that warms up.
///
/// # Errors
/// A lost device.
pub async fn time(program: &mut Program, runs: u32) -> Result<f64> {
    let mut times = Vec::new();
    for run in 0..=runs {
        let start = Instant::now();
        program.run(Segment::Network).await?;
        program.gpu().finish().await?;
        if run > 0 {
            times.push(start.elapsed().as_secs_f64());
        }
    }
    Ok(median(times).max(1e-9))
}

/// Times one operation by every kernel that is legal for it, and prints them, the fastest first.
///
/// # Errors
/// A name of no operation; the device's errors.
pub async fn operation(gpu: &Arc<Gpu>, name: &str, precision: Precision, args: &BenchArgs) -> Result<()> {
    let graph = parse(name, args.batch.unwrap_or(1) as usize)?;
    let times = kernels(gpu, &graph, precision, args.runs).await?;
    let flops: u64 =
        graph.nodes.iter().map(|node| node.op.operator().flops(&shapes(&graph, &node.inputs), node.shape)).sum();
    let adapter = &gpu.summary().name;
    let rows =
        times.iter().map(|(seconds, variant)| (seconds * 1e3, flops as f64 / seconds / 1e9, format!("{variant:?}")));
    if args.json {
        let kernels: Vec<_> =
            rows.map(|(ms, gflops, kernel)| json!({ "ms": ms, "gflops": gflops, "kernel": kernel })).collect();
        return print_json(&json!({ "adapter": adapter, "op": name, "kernels": kernels }));
    }
    let lines = rows.map(|(ms, gflops, kernel)| format!("{ms:>10.3} ms {gflops:>10.1} GFLOP/s  {kernel}\n"));
    print(&format!("{name} on {adapter}\n{}", lines.collect::<String>()))
}

/// `conv192@64`, `matmul1024` or `attention1024`.
fn parse(name: &str, batch: usize) -> Result<Graph> {
    let unknown = || {
        let shown: String = name.chars().take(40).collect();
        Error::Options(format!(
            "operation {shown:?} is unknown; there are convCHANNELS@SIDE (3x3), matmulSIDE and attentionTOKENS ({} heads of {} \
             channels), with numbers from 1 to 8192",
            HEADS.0, HEADS.1
        ))
    };
    let number = |text: &str| text.parse().ok().filter(|n| (1..=8192).contains(n)).ok_or_else(unknown);
    if let Some(rest) = name.strip_prefix("conv") {
        let (channels, side) = rest.split_once('@').ok_or_else(unknown)?;
        let (channels, side) = (number(channels)?, number(side)?);
        return single(Shape::new(batch, side, side, channels), |graph, x| {
            convolution(graph, "y", Conv2d::new(3, 1), x, channels, &[3, 3])
        });
    }
    if let Some(side) = name.strip_prefix("matmul") {
        return matmul(number(side)?, batch);
    }
    let tokens = number(name.strip_prefix("attention").ok_or_else(unknown)?)?;
    let (heads, channels) = HEADS;
    single(Shape::new(batch, 1, tokens, 3 * heads * channels), |graph, x| {
        graph.push("y", Attention { heads, new_order: true }, &[x], &[])
    })
}

/// A matrix product of `batch * side` rows: a matrix is an image whose pixels are its rows, and a 1x1 convolution multiplies it.
pub fn matmul(side: usize, batch: usize) -> Result<Graph> {
    single(Shape::new(batch, 1, side, side), |graph, x| convolution(graph, "y", Conv2d::linear(), x, side, &[]))
}

fn single(x: Shape, build: impl FnOnce(&mut Graph, TensorId) -> Result<TensorId>) -> Result<Graph> {
    let mut graph = Graph::default();
    graph.begin(Segment::Network);
    let x = graph.input("x", x);
    let y = build(&mut graph, x)?;
    graph.output("y", y);
    Ok(graph)
}

fn shapes(graph: &Graph, ids: &[TensorId]) -> Vec<Shape> {
    ids.iter().map(|id| graph.shape(*id)).collect()
}

/// Seconds of a graph of one node by each of its variants, the fastest first. The general one, which is slow, is left out
/// where there is another.
///
/// # Errors
/// The device is too small for all of them; its other errors.
pub async fn kernels(gpu: &Arc<Gpu>, graph: &Graph, precision: Precision, runs: u32) -> Result<Vec<(f64, Variant)>> {
    let mut times = Vec::new();
    let mut refused = None;
    for node in graph.nodes.iter().filter(|node| node.op != Op::Input) {
        let inputs = shapes(graph, &node.inputs);
        for variant in node.op.operator().variants(&inputs, node.shape, &gpu.caps().at(precision)) {
            if variant == Variant::Naive && !times.is_empty() {
                continue;
            }
            let overrides = HashMap::from([(tuning::key(node, &inputs), variant)]);
            let options = PlanOptions { precision, overrides, ..PlanOptions::default() };
            let plan = match Plan::new(graph, gpu.caps(), &options) {
                Err(error @ Error::Limit { .. }) => {
                    refused = Some(error);
                    continue;
                }
                plan => plan?,
            };
            let mut program = load(gpu, graph, plan).await?;
            // One run excludes the hopeless ones from more.
            let once = time(&mut program, 1).await?;
            let hopeless = times.iter().any(|(other, _)| once >= 2.0 * other);
            times.push((if hopeless { once } else { time(&mut program, runs).await? }, variant));
        }
    }
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    match refused {
        Some(refused) if times.is_empty() => Err(refused),
        _ => Ok(times),
    }
}

async fn load(gpu: &Arc<Gpu>, graph: &Graph, plan: Plan) -> Result<Program> {
    let mut program = Program::new(gpu, plan).await?;
    for param in &graph.params {
        program.upload(&param.name, &synthetic::weight(&param.name, &param.shape, 0)).await?;
    }
    program.seal()?;
    Ok(program)
}

/// Times a classifier's forward pass alone, and with its gradient, and prints the ratio.
///
/// # Errors
/// The device's errors.
pub async fn guidance(gpu: &Arc<Gpu>, name: &str, config: &ModelConfig, args: &BenchArgs) -> Result<()> {
    let batch = args.batch.unwrap_or(1) as usize;
    let size = config.unet.image_size;
    let mut seconds = [0.0; 2];
    let mut flops = [0; 2];
    for (with_gradient, (seconds, flops)) in [false, true].into_iter().zip(seconds.iter_mut().zip(&mut flops)) {
        let mut graph = Graph::default();
        let x = graph.input("x", Shape::new(batch, size, size, config.unet.in_channels));
        let timesteps = graph.input("timesteps", Shape::vector(batch, 1));
        let labels = graph.input("labels", Shape::vector(batch, 1));
        graph.begin(Segment::Network);
        let logits = classifier(&mut graph, &config.unet, "", x, timesteps)?;
        let out = if with_gradient { guidance_gradient(&mut graph, logits, labels, x)? } else { logits };
        graph.output("out", out);
        let graph = fuse::fuse(&graph)?;
        let precision = args.device.precision.unwrap_or_default();
        let plan = Plan::new(&graph, gpu.caps(), &PlanOptions { precision, ..PlanOptions::default() })?;
        *flops = plan.flops();
        *seconds = time(&mut load(gpu, &graph, plan).await?, args.runs).await?;
    }
    let rates = [flops[0] as f64 / seconds[0] / 1e9, flops[1] as f64 / seconds[1] / 1e9];
    let ratio = seconds[1] / seconds[0];
    if args.json {
        return print_json(&json!({
            "adapter": gpu.summary().name,
            "work": name,
            "batch": batch,
            "forward_ms": seconds[0] * 1e3,
            "forward_gflops": rates[0],
            "gradient_ms": seconds[1] * 1e3,
            "gradient_gflops": rates[1],
            "ratio": ratio,
        }));
    }
    print(&format!(
        "adapter      {}\nwork         {name}, batch {batch}\nforward      {:.1} ms, {:.1} GFLOP/s\nand gradient {:.1} ms, {:.1} \
         GFLOP/s; {ratio:.2} of the forward pass\n",
        gpu.summary().name,
        seconds[0] * 1e3,
        rates[0],
        seconds[1] * 1e3,
        rates[1]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Caps;
    use crate::session::{Session, SessionOptions};

    #[test]
    fn the_small_network_has_the_operations_that_its_documentation_says() {
        let plan = Session::plan(&Caps::webgpu_defaults(), &small(), None, &SessionOptions::default()).unwrap();
        assert!((plan.flops() as f64 / 1e9 - 0.999).abs() < 0.0005, "{}", plan.flops());
    }

    #[test]
    fn operations_are_told_by_name() {
        let flops = |name: &str| {
            let graph = parse(name, 1).unwrap();
            let node = graph.nodes.last().unwrap();
            node.op.operator().flops(&shapes(&graph, &node.inputs), node.shape)
        };
        assert_eq!(flops("conv192@64"), 2 * 9 * 192 * 192 * 64 * 64);
        assert_eq!(flops("matmul1024"), 2 << 30);
        assert_eq!(flops("attention1024"), 4 * 6 * 64 * 1024 * 1024);
        for name in ["", "conv", "conv192", "conv0@64", "conv192@", "matmul", "matmul9999999999", "attention-1", "relu"]
        {
            assert!(parse(name, 1).is_err(), "{name}");
        }
    }
}
