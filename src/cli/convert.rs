//! `convert`: checkpoints to safetensors files that carry their configuration.

use std::cell::Cell;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::console::{note, print, print_json};
use super::imagenet;
use super::other_args::ConvertArgs;
use super::progress::Bytes;
use super::values::Ended;
use crate::checkpoint::Checkpoint;
use crate::config::{Flags, Origin, Role, convert};
use crate::device::mebibytes;
use crate::{Error, Result};

/// Runs the command. `stop` ends it within a moment, leaving no file.
///
/// # Errors
/// [`Error::Options`] for names that do not go together; what opening, reading and writing give.
pub fn run(args: &ConvertArgs, stop: &AtomicBool) -> Result<Ended> {
    let files = args.files();
    match (files.len(), &args.out) {
        (0, _) => return Err(Error::Options("give the checkpoint to convert".into())),
        (2.., Some(_)) => return Err(Error::Options("--out names one file, and several are to be converted".into())),
        _ => {}
    }
    // All names first: the last file's should not fail after an hour of the others.
    let targets = files.iter().map(|file| target(file, args.out.as_deref())).collect::<Result<Vec<_>>>()?;
    let mut reports = Vec::new();
    for (file, out) in files.iter().zip(&targets) {
        match one(file, out, args, stop)? {
            Some(report) => reports.push(report),
            None => {
                note(&format!("stopped: {} was not written", out.display()));
                return Ok(Ended::Interrupted);
            }
        }
    }
    if args.json { print_json(&reports).map(|()| Ended::Done) } else { Ok(Ended::Done) }
}

/// Converts one file; None where it was stopped.
fn one(file: &Path, out: &Path, args: &ConvertArgs, stop: &AtomicBool) -> Result<Option<Value>> {
    let checkpoint = Checkpoint::open_nested(file, args.state_dict.as_deref())?;
    let found = checkpoint.config(&args.flags)?;
    for remark in &found.remarks {
        note(&format!("note: {}: {remark}", checkpoint.name()));
    }
    let mut config = found.config;
    if config.role == Role::Classifier && found.origin == Origin::Shapes && args.flags.noise_schedule.is_none() {
        // Nothing in the file says it, and a wrong one is found out only when the classifier is to guide.
        note("note: noise_schedule linear is assumed; give --noise_schedule where the classifier's model has another");
    }
    if config.class_names.is_empty() && found.public.is_some() {
        config.class_names = imagenet::names(config.classes()).to_vec();
    }
    let (progress, stopped) = (Bytes::new(out), Cell::new(false));
    let result = convert(&checkpoint, &config, args.dtype, out, |done, total| {
        progress.at(done, total);
        if stop.load(Ordering::Relaxed) {
            stopped.set(true);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    progress.end();
    match result {
        Err(Error::Io { source, .. }) if stopped.get() && source.kind() == ErrorKind::Interrupted => return Ok(None),
        other => other?,
    }
    let bytes = std::fs::metadata(out).map_err(|e| Error::io(out, e))?.len();
    // What was written is what will be read.
    let role = Checkpoint::open(out)?.config(&Flags::default())?.config.role;
    if args.json {
        return Ok(Some(json!({
            "file": file.display().to_string(),
            "output": out.display().to_string(),
            "role": role.as_str(),
            "public_file": found.public.map(|preset| preset.name),
            "parameters": checkpoint.header().parameters(),
            "bytes": bytes,
        })));
    }
    print(&format!("{}: {role}, {}\n", out.display(), mebibytes(bytes)))?;
    Ok(Some(Value::Null))
}

/// The file to write for `file`.
fn target(file: &Path, out: Option<&Path>) -> Result<PathBuf> {
    let path = match out {
        Some(path) => path.to_path_buf(),
        None => file.with_extension("safetensors"),
    };
    if file.canonicalize().is_ok_and(|file| path.canonicalize().is_ok_and(|path| path == file)) {
        return Err(Error::Options(format!("{}: it would replace itself; give another --out", file.display())));
    }
    if out.is_none() && path.exists() {
        return Err(Error::Options(format!("{}: it exists already; give --out to overwrite it", path.display())));
    }
    Ok(path)
}
