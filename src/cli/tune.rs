//! `tune`: measures every kernel that a model could use on this device, and remembers the fastest.

use std::time::Instant;

use serde_json::json;

use super::bench;
use super::console::{note, print, print_json};
use super::device::Device;
use super::other_args::TuneArgs;
use crate::gpu::tuner::{TuneOptions, Tuned};
use crate::plan::PlanOptions;
use crate::plan::tuning::TuningCache;
use crate::session::{Session, SessionOptions};
use crate::{Error, Result};

/// Runs the command.
///
/// # Errors
/// What opening the model or the adapter gives; the device's errors; no place to remember the result in.
pub async fn run(args: &TuneArgs) -> Result<()> {
    let (work, checkpoint, config) = bench::subject(args.model.as_deref(), args.arch.as_deref())?;
    drop(checkpoint);
    let device = Device::open(&args.device).await?;
    let folder = device.folder().ok_or_else(|| {
        Error::Options("there is no folder to keep the result in; set GUIDED_DIFFUSION_CACHE to one".into())
    })?;
    let plan = PlanOptions { precision: args.device.precision.unwrap_or_default(), ..PlanOptions::default() };
    let batch = args.batch.map_or_else(|| bench::usual_batch(args.arch.as_deref()), |n| n as usize);
    let options = SessionOptions { batch, plan, ..SessionOptions::default() };
    let how = TuneOptions { budget: args.device.tune_budget, settle: false, ..TuneOptions::default() };
    let start = Instant::now();
    // Measured again: what was measured in a hurry or beside other work is replaced. What the budget does not reach now
    // stays as it was.
    let mut tuning = TuningCache::default();
    let report = Session::tune(&device.gpu, &config, None, &options, &mut tuning, &how).await?;
    device.remember(&tuning, &report);
    device.remember_pipelines();
    let seconds = start.elapsed().as_secs_f64();
    let changed = report.tuned.iter().filter(|tuned| tuned.chosen > 0).count();
    if args.json {
        return print_json(&json!({
            "adapter": device.gpu.summary().name,
            "driver": device.gpu.summary().driver,
            "work": work,
            "batch": batch,
            "seconds": seconds,
            "measured": report.tuned.len(),
            "left": report.left,
            "changed": changed,
            "folder": folder.display().to_string(),
            "problems": report.tuned.iter().map(problem).collect::<Vec<_>>(),
        }));
    }
    let mut text = String::new();
    for tuned in report.tuned.iter().filter(|tuned| tuned.chosen > 0) {
        let (default, (variant, fastest)) = (tuned.seconds[0].1, tuned.seconds[tuned.chosen]);
        let times = format!("{:.2} of {:.2} ms", fastest * 1e3, default * 1e3);
        text += &format!("{times:<22} {} ({} such): {variant:?}\n", tuned.node, tuned.count);
    }
    let measured = report.tuned.len();
    text += &format!(
        "{work}, batch {batch}: {measured} kinds of kernel measured in {seconds:.1} s on {}; {changed} changed\n",
        device.gpu.summary().name
    );
    if report.left > 0 {
        note(&format!("note: the budget left {} kinds of kernel, which stay as they were", report.left));
    }
    print(&text)
}

fn problem(tuned: &Tuned) -> serde_json::Value {
    let variants = tuned.seconds.iter().map(|(variant, seconds)| {
        // JSON has no infinity: a variant that failed has no time.
        json!({ "variant": format!("{variant:?}"), "ms": seconds.is_finite().then_some(seconds * 1e3) })
    });
    json!({
        "node": tuned.node,
        "count": tuned.count,
        "chosen": tuned.chosen,
        "variants": variants.collect::<Vec<_>>(),
    })
}
