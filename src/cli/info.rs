//! `info`: what a checkpoint holds and how it will be run.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::console::{note, print, print_json};
use super::imagenet;
use super::models::{open_file, open_model};
use super::other_args::InfoArgs;
use crate::checkpoint::Header;
use crate::config::{Inferred, Origin, ProcessKind, Role};
use crate::device::{Caps, Precision, mebibytes};
use crate::plan::PlanOptions;
use crate::session::{Session, SessionOptions};
use crate::{Error, Result};

/// Describes a checkpoint. Of a file whose configuration is unknown, the tensors are listed.
///
/// # Errors
/// What opening it gives; for a plan, what finding its configuration gives.
pub fn run(args: &InfoArgs) -> Result<()> {
    let checkpoint = open_file(args.file.as_deref().or(args.flags.model_path.as_deref()))?;
    let header = checkpoint.header();
    let found = match checkpoint.config(&args.flags) {
        Err(error) if args.plan => return Err(error),
        Err(error) if args.json => return print_json(&unknown(checkpoint.name(), header, &error)),
        Err(error) => {
            note(&format!("note: its configuration is unknown: {error}"));
            return print(&format!("{}{}", line("parameters", &size(header)), tensors(header)));
        }
        Ok(found) => found,
    };
    if args.json {
        return print_json(&object(checkpoint.name(), header, &found, args.tensors)?);
    }
    if args.plan {
        let precision = match args.precision {
            Some(precision) => precision,
            None if args.flags.use_fp16 == Some(true) => Precision::F16Weights,
            None => Precision::F32,
        };
        let plan = PlanOptions { precision, ..PlanOptions::default() };
        let options = SessionOptions { batch: args.batch as usize, plan, ..SessionOptions::default() };
        let classifier = match args.classifier.as_deref().or(args.flags.classifier_path.as_deref()) {
            Some(path) => Some(open_model(Some(path), &args.flags)?.1.config),
            None => None,
        };
        // No device is asked, and what a plan takes is the same on all that can compute in its precision.
        let caps = Caps { shader_f16: precision == Precision::F16, ..Caps::webgpu_defaults() };
        return print(&Session::plan(&caps, &found.config, classifier.as_ref(), &options)?.to_string());
    }
    let listed = if args.tensors { tensors(header) } else { String::new() };
    print(&(describe(checkpoint.name(), header, &found) + &listed))
}

/// One line per tensor. A hostile name must not write control characters to a terminal.
fn tensors(header: &Header) -> String {
    let all = header.tensors.iter();
    all.map(|(name, info)| format!("{}  {:?}  {:?}\n", name.escape_debug(), info.dtype, info.shape)).collect()
}

fn line(key: &str, value: &str) -> String {
    format!("{key:<14} {value}\n")
}

/// The number of parameters, of tensors and of bytes.
fn size(header: &Header) -> String {
    let parts: Vec<String> = types(header).iter().map(|(t, bytes)| format!("{} of {t}", mebibytes(*bytes))).collect();
    format!("{} in {} tensors, {}", thousands(header.parameters()), header.tensors.len(), parts.join(", "))
}

/// Bytes of the tensors by type.
fn types(header: &Header) -> BTreeMap<String, u64> {
    let mut out = BTreeMap::new();
    for info in header.tensors.values() {
        *out.entry(format!("{:?}", info.dtype).to_lowercase()).or_default() += info.byte_len() as u64;
    }
    out
}

fn origin(found: &Inferred) -> String {
    match found.origin {
        Origin::Metadata => "the file's metadata".into(),
        Origin::PublicFile(name) => format!("the table of public files ({name})"),
        Origin::Shapes => "the tensors' shapes and flags".into(),
    }
}

fn describe(name: &str, header: &Header, found: &Inferred) -> String {
    let (config, unet, process) = (&found.config, &found.config.unet, &found.config.diffusion);
    let list = |sizes: &[usize]| sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let mult: Vec<String> = unet.channel_mult.iter().map(f64::to_string).collect();
    let yes = |on: bool, word: &'static str, other: &'static str| if on { word } else { other };
    let mut lines = vec![
        (
            "model",
            format!(
                "{name}: {} for {1}x{1} images of {2} channel{3}",
                config.role,
                unet.image_size,
                config.image_channels(),
                yes(config.image_channels() == 1, "", "s")
            ),
        ),
        ("configuration", format!("from {}", origin(found))),
        ("parameters", size(header)),
        (
            "network",
            format!(
                "{} channels x ({}), {} residual blocks per level, {} resampling, {} embedding",
                unet.model_channels,
                mult.join(", "),
                unet.num_res_blocks,
                yes(unet.resblock_updown, "residual", "plain"),
                yes(unet.use_scale_shift_norm, "scale-shift", "additive"),
            ),
        ),
        (
            "attention",
            format!(
                "at {} pixels, {}, {} order",
                list(&unet.attention_resolutions),
                match unet.num_head_channels {
                    0 => format!("{} heads", unet.num_heads),
                    n => format!("heads of {n} channels"),
                },
                yes(unet.use_new_attention_order, "new", "legacy"),
            ),
        ),
        (
            "process",
            if process.process != ProcessKind::Discrete {
                format!("noise levels 0.002 to 80, {} preconditioning", process.process)
            } else {
                format!(
                    "{} steps, {}, predicts {}, {} variance{}",
                    process.diffusion_steps,
                    format!("{:?}", process.noise_schedule).to_lowercase(),
                    yes(process.predict_xstart, "x_0", "the noise"),
                    yes(process.learn_sigma, "learned", yes(process.sigma_small, "fixed small", "fixed large")),
                    yes(process.rescale_timesteps, ", rescaled timesteps", ""),
                )
            },
        ),
    ];
    if config.role == Role::Upsampler {
        lines.push(("enlarges", format!("images of {0}x{0}", config.low_size())));
    }
    let classes = match (config.classes(), &config.class_names[..]) {
        (0, _) => "none".into(),
        (n, names) if n <= 20 && !names.is_empty() => names.join(", "),
        (n, []) if imagenet::names(n).is_empty() => format!("{n}"),
        // The first of each class's names.
        (n, names) => {
            let names = if names.is_empty() { imagenet::names(n) } else { names };
            let shown: Vec<&str> = names.iter().take(8).filter_map(|name| name.split(',').next()).collect();
            format!("{n}: {}, ...", shown.join(", "))
        }
    };
    lines.push(("classes", classes));
    if let Some(class) = config.null_class {
        let name = config.class_names.get(class as usize).map_or_else(|| class.to_string(), String::clone);
        lines.push(("null class", format!("{name}: none in particular; --guidance works without a classifier")));
    }
    if let Some(few) = &config.few_step {
        let times: Vec<String> = few.timesteps.iter().map(u32::to_string).collect();
        lines.push(("few steps", format!("{} of {} at {}, the default", times.len(), few.sampler, times.join(", "))));
    }
    if !config.grids.is_empty() {
        let steps: Vec<String> = config.grids.keys().map(usize::to_string).collect();
        let usual = if config.few_step.is_none() { format!("; {} is the default", steps[0]) } else { String::new() };
        lines.push(("time grids", format!("for {} steps{usual}", steps.join(", "))));
    }
    let mut text: String = lines.iter().map(|(key, value)| line(key, value)).collect();
    for remark in &found.remarks {
        text += &format!("note: {remark}\n");
    }
    text
}

fn object(name: &str, header: &Header, found: &Inferred, listed: bool) -> Result<Value> {
    // The metadata's own form, so that a script can read a .pt file's configuration as it reads ours.
    let config: Value = serde_json::from_str(&found.config.to_metadata()?).unwrap_or(Value::Null);
    let mut out = json!({
        "file": name,
        "role": found.config.role.as_str(),
        "origin": origin(found),
        "public_file": found.public.map(|preset| preset.name),
        "parameters": header.parameters(),
        "tensor_count": header.tensors.len(),
        "bytes": types(header),
        "config": config,
        "class_names": found.config.class_names,
        "remarks": found.remarks,
    });
    if listed {
        out["tensors"] = tensors_object(header);
    }
    Ok(out)
}

/// A file whose configuration is unknown, with the reason as `error`.
fn unknown(name: &str, header: &Header, error: &Error) -> Value {
    json!({
        "file": name,
        "error": error.to_string(),
        "parameters": header.parameters(),
        "tensor_count": header.tensors.len(),
        "bytes": types(header),
        "config": Value::Null,
        "tensors": tensors_object(header),
    })
}

fn tensors_object(header: &Header) -> Value {
    let all = header.tensors.iter();
    let all =
        all.map(|(name, info)| (name.clone(), json!({ "dtype": format!("{:?}", info.dtype), "shape": info.shape })));
    Value::Object(all.collect())
}

/// 3,970,882
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
