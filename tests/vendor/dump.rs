//! Dumps plans' kernels as SPIR-V, as wgpu's Vulkan backend makes it without runtime checks, and tables of their steps,
//! for tests/vendor/report.py.
//!
//!     vendor_dump plans OUT PLAN...       NAME:BATCH:f32|f16[:CLASSIFIER], of public files
//!     vendor_dump wgsl OUT FOLDER         every NAME.wgsl of the folder instead
//!
//! OUT/kernels.tsv: index, bindings, whose GPUs get it (any, amd, nvidia), name; OUT/INDEX.spv; OUT/INDEX.wgsl. OUT/PLAN.tsv,
//! a line per step of the plan for AMD: node, workgroups, shape, flops, traffic and bytes of weights, op, kernel, segment.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::error::Error;
use std::fs;
use std::path::Path;

use guided_diffusion::config::presets;
use guided_diffusion::device::{Caps, Precision};
use guided_diffusion::plan::{Buffer, PlanOptions};
use guided_diffusion::{Session, SessionOptions};
use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Writes a kernel's SPIR-V and returns its bindings, as "0:u,1:s" (uniform, storage).
fn compile(text: &str, to: &Path) -> Result<String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .subgroup_stages(ShaderStages::COMPUTE)
        .subgroup_operations(SubgroupOperationSet::all())
        .validate(&module)
        .map_err(|e| e.emit_to_string(text))?;
    let off = BoundsCheckPolicy::Unchecked;
    let options = spv::Options {
        lang_version: (1, 3),
        bounds_check_policies: BoundsCheckPolicies { index: off, buffer: off, image_load: off, binding_array: off },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        ..Default::default()
    };
    let pipeline = spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: "main".into() };
    let words = spv::write_vec(&module, &info, &options, Some(&pipeline))?;
    fs::write(to, words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>())?;
    let kind = |space| if space == naga::AddressSpace::Uniform { "u" } else { "s" };
    let variables = module.global_variables.iter();
    let bound = variables.filter_map(|(_, v)| v.binding.map(|b| format!("{}:{}", b.binding, kind(v.space))));
    Ok(bound.collect::<Vec<_>>().join(","))
}

/// Kernels by name: whose GPUs get it, and its text.
type Kernels = BTreeMap<String, (Vec<&'static str>, String)>;

/// Writes a plan's steps, and adds its kernels and those of other GPUs' plans.
fn plan(out: &Path, which: &str, kernels: &mut Kernels) -> Result<()> {
    let parts: Vec<&str> = which.split(':').collect();
    let [name, batch, precision, classifier @ ..] = parts.as_slice() else {
        return Err(format!("{which}: expected NAME:BATCH:f32|f16[:CLASSIFIER]").into());
    };
    let config =
        |name: &str| presets::by_name(name).map(|p| p.config()).ok_or_else(|| format!("{name}: no public file"));
    let precision = if *precision == "f16" { Precision::F16 } else { Precision::F32 };
    let options = SessionOptions {
        batch: batch.parse()?,
        plan: PlanOptions { precision, ..Default::default() },
        ..Default::default()
    };
    let (config, classifier) = (config(name)?, classifier.first().map(|name| config(name)).transpose()?);
    let ample = u64::MAX;
    let any = Caps { max_buffer_size: ample, max_binding_size: ample, shader_f16: true, ..Caps::webgpu_defaults() };
    // A card of 16 GiB.
    let transformed_weights = Caps::transformed_weights(Some(16 << 30), false);
    let amd = Caps { wide_registers: true, transformed_weights, ..any.clone() };
    let nvidia = Caps { reads_ahead: true, ..amd.clone() };
    let planned = |caps| Session::plan(caps, &config, classifier.as_ref(), &options);
    let plan = planned(&amd)?;
    for (whose, plan) in [("any", &planned(&any)?), ("amd", &plan), ("nvidia", &planned(&nvidia)?)] {
        for s in plan.dispatches() {
            let (owners, _) = match kernels.entry(s.kernel.to_string()) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert((Vec::new(), s.kernel.expand()?.text)),
            };
            if !owners.contains(&whose) {
                owners.push(whose);
            }
        }
    }
    let mut steps = String::new();
    for s in plan.dispatches() {
        let weights = s.buffers.iter().map(|(buffer, _)| match buffer {
            Buffer::Weight(i) => plan.weights().get(*i).map_or(0, |weight| weight.bytes()),
            _ => 0,
        });
        let weights: u64 = weights.sum();
        let [x, y, z] = s.workgroups;
        let (node, shape, flops, traffic, op) = (&s.node, s.shape, s.flops, s.traffic, s.op);
        let (kernel, segment) = (&s.kernel, s.segment);
        steps += &format!("{node}\t{x},{y},{z}\t{shape}\t{flops}\t{traffic}\t{weights}\t{op}\t{kernel}\t{segment:?}\n");
    }
    fs::write(out.join(format!("{which}.tsv")), steps)?;
    Ok(())
}

fn folder(from: &Path, kernels: &mut Kernels) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if let (Some(stem), true) = (path.file_stem(), path.extension().is_some_and(|e| e == "wgsl")) {
            kernels.insert(stem.to_string_lossy().into_owned(), (vec!["any"], fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [mode, out, rest @ ..] = args.as_slice() else {
        return Err("usage: vendor_dump plans OUT PLAN... | vendor_dump wgsl OUT FOLDER".into());
    };
    let out = Path::new(out);
    fs::create_dir_all(out)?;
    let mut kernels = BTreeMap::new();
    for item in rest {
        match mode.as_str() {
            "plans" => plan(out, item, &mut kernels)?,
            _ => folder(Path::new(item), &mut kernels)?,
        }
    }
    let mut table = String::new();
    for (i, (name, (owners, text))) in kernels.iter().enumerate() {
        fs::write(out.join(format!("{i:03}.wgsl")), text)?;
        let bindings = compile(text, &out.join(format!("{i:03}.spv"))).map_err(|e| format!("{name}: {e}"))?;
        table += &format!("{i:03}\t{bindings}\t{}\t{name}\n", owners.join(","));
    }
    fs::write(out.join("kernels.tsv"), table)?;
    Ok(())
}
