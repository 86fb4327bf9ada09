//! `bench`: how fast the network runs here, op by op, and how that compares with a plain matrix product.
//!
//! The matrix product is what the adapter reaches with our own best kernel for it: a network cannot be expected to beat
//! it by much, and the ratio of the two separates good kernels from a fast adapter.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::console::{note, print, print_json};
use super::device::Device;
use super::models::open_model;
use super::other_args::BenchArgs;
use super::workloads::{self, time};
use crate::checkpoint::Checkpoint;
use crate::config::{Flags, ModelConfig, Role, presets};
use crate::device::{Precision, mebibytes};
use crate::gpu::profile::median;
use crate::gpu::{Gpu, Program};
use crate::graph::{Graph, Node, Segment, fuse};
use crate::model::sampling::ports;
use crate::model::sampling_graph;
use crate::op::Op;
use crate::plan::{Dispatch, Plan, PlanOptions};
use crate::sampler::row::{Call, H1, Row, X, X0};
use crate::session::{Session, SessionOptions};
use crate::{Error, Result};

/// Sides of the matrix product: the first that takes long enough to time counts.
const SIDES: [usize; 3] = [1024, 2048, 4096];
const LONG_ENOUGH: Duration = Duration::from_millis(30);

/// The part of the network that an op has, or a kernel.
#[derive(Debug, Clone, Default, serde::Serialize)]
struct Part {
    name: String,
    dispatches: usize,
    ms: f64,
    share: f64,
    gflops: f64,
}

/// Runs the command.
///
/// # Errors
/// What opening the model or the adapter gives; the device's errors.
pub async fn run(args: &BenchArgs) -> Result<()> {
    let precision = args.device.precision.unwrap_or_default();
    if let Some(op) = &args.op {
        let gpu = Device::open(&args.device).await?.gpu;
        return workloads::operation(&gpu, op, precision, args).await;
    }
    let (work, checkpoint, config) = subject(args.model.as_deref(), args.arch.as_deref())?;
    let device = Device::open(&args.device).await?;
    let gpu = Arc::clone(&device.gpu);
    if config.role == Role::Classifier && args.arch.is_some() {
        return workloads::guidance(&gpu, &work, &config, args).await;
    }
    let plan = PlanOptions { precision, ..PlanOptions::default() };
    let batch = args.batch.map_or_else(|| usual_batch(args.arch.as_deref()), |n| n as usize);
    let mut options = SessionOptions { batch, plan, ..SessionOptions::default() };
    // It times what a run would use, and takes no time to choose it unless a budget is given.
    options.tuning = device.tuning(&config, None, &options, 0).await?;
    let mut session = Session::load(&gpu, &checkpoint, &config, &options).await?;
    device.remember_pipelines();
    drop(checkpoint);
    session.warnings().iter().for_each(|warning| note(warning));

    let program = session.program_mut();
    program.write(ports::TIMESTEPS, &vec![500.0f32; batch])?;
    // A row in the form of dpm++2m's, since the step reads only what has a coefficient.
    let call = Call { c_in: 1.0, skip: 1.0, out: -0.5, ..Call::default() };
    let row = Row { keep: X0, ..Row::call(call, true, 0.5 * X + 0.3 * X0 + 0.2 * H1) };
    program.write(ports::ROW, row.numbers().map(|part| part.map(|v| v as f32)).as_flattened())?;
    let seconds = time(program, args.runs).await?;
    let host = host_time(program, batch, args.runs)?;
    let flops = segment_flops(program.plan(), Segment::Network) as f64;
    let (ops, kernels, sampler) = match program.profile(args.runs.min(5) as usize).await {
        Ok(times) => {
            let plan = program.plan();
            (
                parts(plan, &times, |step| step.op),
                parts(plan, &times, |step| step.kernel.stem),
                Some(sampler_time(plan, &times)),
            )
        }
        // No timestamps on this adapter: the whole is known all the same.
        Err(Error::Options(_)) => (Vec::new(), Vec::new(), None),
        Err(error) => return Err(error),
    };
    let (dispatches, traffic) = dispatched(program.plan());
    let [unfused, fused] = passes(&config, batch)?;
    let (bytes, activations) = (program.bytes(), program.plan().activation_bytes());
    drop(session);
    let (matmul, side) = matmul(&gpu, args.runs).await?;
    let gflops = flops / seconds / 1e9;
    let ratio = gflops / matmul;
    if args.json {
        return print_json(&json!({
            "adapter": gpu.summary().name,
            "backend": gpu.summary().backend,
            "driver": gpu.summary().driver,
            "work": work,
            "batch": batch,
            "ms": seconds * 1e3,
            "gflops": gflops,
            "matmul_gflops": matmul,
            "matmul_side": side,
            "ratio": ratio,
            "dispatches": dispatches,
            "traffic_bytes": traffic,
            "unfused": { "ops": unfused.0, "traffic_bytes": unfused.1 },
            "fused": { "ops": fused.0, "traffic_bytes": fused.1 },
            "host_ms": host * 1e3,
            "sampler_ms": sampler,
            "peak_bytes": bytes,
            "activation_bytes": activations,
            "ops": ops,
            "kernels": kernels,
        }));
    }
    let mut text = format!("adapter      {} ({})\n", gpu.summary().name, gpu.summary().driver);
    text += &format!("work         {work}, batch {batch}: {:.2} GFLOP, {dispatches} dispatches\n", flops / 1e9);
    text += &format!(
        "passes       {} ops that read and write {} became {} with {}; with the kernels' own workspace {}\n",
        unfused.0,
        mebibytes(unfused.1),
        fused.0,
        mebibytes(fused.1),
        mebibytes(traffic)
    );
    text += &format!("one step     {:.1} ms, {gflops:.1} GFLOP/s\n", seconds * 1e3);
    text += &format!("host         {:.2} ms to record it\n", host * 1e3);
    text +=
        &format!("matrices     {matmul:.1} GFLOP/s ({side} x {side} x {side}); the network reaches {ratio:.2} of it\n");
    text += &format!("memory       {}, of which {} activations\n", mebibytes(bytes), mebibytes(activations));
    if ops.is_empty() {
        text += "ops          this adapter has no timestamps to time them with\n";
    } else {
        if let Some(ms) = sampler {
            let share = ms / (seconds * 1e3 + ms) * 100.0;
            text += &format!("sampler      {ms:.2} ms for x_0 and the next x, {share:.2} % of a step\n");
        }
        text += &table("op", &ops);
        text += &table("kernel", &kernels);
    }
    print(&text)
}

/// Images at a time where none are asked for.
pub fn usual_batch(arch: Option<&str>) -> usize {
    if arch.is_some() { 1 } else { 16 }
}

/// What to time: its name, its weights and its configuration.
///
/// # Errors
/// What opening the model gives; [`Error::Options`] for an unknown architecture.
pub fn subject(model: Option<&Path>, arch: Option<&str>) -> Result<(String, Checkpoint, ModelConfig)> {
    let Some(name) = arch else {
        let (checkpoint, found) = open_model(model, &Flags::default())?;
        return Ok((checkpoint.name().to_string(), checkpoint, found.config));
    };
    if name == workloads::SMALL {
        let config = workloads::small();
        return Ok((name.into(), Checkpoint::synthetic(&config, 0)?, config));
    }
    let preset = presets::by_name(name).ok_or_else(|| {
        let known: Vec<&str> = presets::PRESETS.iter().map(|preset| preset.name).chain([workloads::SMALL]).collect();
        let shown: String = name.chars().take(40).collect();
        Error::Options(format!("architecture {shown:?} is unknown; there are {}", known.join(", ")))
    })?;
    let config = preset.config();
    Ok((name.into(), Checkpoint::synthetic(&config, 0)?, config))
}

/// Seconds in which the host writes a step's inputs and records its commands: the median, after one that warms up. It
/// excludes submitting them, since some drivers execute them in that call.
fn host_time(program: &Program, batch: usize, runs: u32) -> Result<f64> {
    let timesteps = vec![500.0f32; batch];
    let mut times = Vec::new();
    for run in 0..=runs.max(20) {
        let start = Instant::now();
        program.write(ports::TIMESTEPS, &timesteps)?;
        program.record_only(Segment::Network);
        program.record_only(Segment::Step);
        if run > 0 {
            times.push(start.elapsed().as_secs_f64());
        }
    }
    Ok(median(times))
}

/// The network's dispatches, and the bytes of activations that they read and write.
fn dispatched(plan: &Plan) -> (usize, u64) {
    let steps = || plan.dispatches.iter().filter(|step| step.segment == Segment::Network);
    (steps().count(), steps().map(|step| step.traffic).sum())
}

/// The network's ops as they are written and as they are fused, and the bytes of the tensors that they read and write.
fn passes(config: &ModelConfig, batch: usize) -> Result<[(usize, u64); 2]> {
    let low_size = (config.role == Role::Upsampler).then(|| config.low_size());
    let written = sampling_graph(config, None, batch, low_size, None)?;
    let fused = fuse::fuse(&written)?;
    let count = |graph: &Graph| {
        let computed =
            |node: &&Node| node.segment == Segment::Network && !matches!(node.op, Op::Input | Op::EmbLayer(_));
        let touched = |node: &Node| {
            let inputs = node.inputs.iter().map(|id| graph.shape(*id));
            inputs.chain([node.shape]).map(|shape| 4 * shape.elements() as u64).sum::<u64>()
        };
        let nodes = || graph.nodes.iter().filter(computed);
        (nodes().count(), nodes().map(touched).sum())
    };
    Ok([count(&written), count(&fused)])
}

fn segment_flops(plan: &Plan, segment: Segment) -> u64 {
    plan.dispatches.iter().filter(|step| step.segment == segment).map(|step| step.flops).sum()
}

/// Milliseconds of what a sampler's step adds to the network: the predicted x_0 and the next x.
fn sampler_time(plan: &Plan, nanoseconds: &[f64]) -> f64 {
    let of_sampler = |segment| matches!(segment, Segment::Predict | Segment::Step);
    let times = plan.dispatches.iter().zip(nanoseconds).filter(|(step, _)| of_sampler(step.segment));
    times.map(|(_, ns)| ns / 1e6).sum()
}

/// The network's dispatches by `name`, the slowest first.
fn parts(plan: &Plan, nanoseconds: &[f64], name: impl Fn(&Dispatch) -> &'static str) -> Vec<Part> {
    let mut parts: HashMap<&str, (Part, u64)> = HashMap::new();
    let network = plan.dispatches.iter().zip(nanoseconds).filter(|(step, _)| step.segment == Segment::Network);
    for (step, ns) in network {
        let (part, flops) = parts.entry(name(step)).or_default();
        part.dispatches += 1;
        part.ms += ns / 1e6;
        *flops += step.flops;
    }
    let total: f64 = parts.values().map(|(part, _)| part.ms).sum();
    let mut out: Vec<Part> = parts
        .into_iter()
        .map(|(name, (part, flops))| Part {
            name: name.into(),
            share: if total > 0.0 { part.ms / total } else { 0.0 },
            gflops: if part.ms > 0.0 { flops as f64 / part.ms / 1e6 } else { 0.0 },
            ..part
        })
        .collect();
    out.sort_by(|a, b| b.ms.total_cmp(&a.ms).then_with(|| a.name.cmp(&b.name)));
    out
}

fn table(of: &str, parts: &[Part]) -> String {
    let mut text = format!("\n{of:<24} {:>10} {:>10} {:>7} {:>9}\n", "dispatches", "ms", "share", "GFLOP/s");
    for Part { name, dispatches, ms, share, gflops } in parts {
        text += &format!("{name:<24} {dispatches:>10} {ms:>10.2} {:>6.1}% {gflops:>9.1}\n", share * 100.0);
    }
    text
}

/// GFLOP/s of a large square matrix product in float32 by our fastest kernel for it, and its side.
async fn matmul(gpu: &Arc<Gpu>, runs: u32) -> Result<(f64, usize)> {
    let mut best = (0.0, SIDES[0]);
    for side in SIDES {
        let times = match workloads::kernels(gpu, &workloads::matmul(side, 1)?, Precision::F32, runs.min(3)).await {
            // A larger one would not fit either.
            Err(Error::Limit { .. }) => break,
            found => found?,
        };
        let Some((fastest, _)) = times.first() else { break };
        best = (2.0 * (side as f64).powi(3) / fastest / 1e9, side);
        if *fastest >= LONG_ENOUGH.as_secs_f64() {
            break;
        }
    }
    Ok(best)
}
