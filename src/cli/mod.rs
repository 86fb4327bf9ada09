//! The command line program: arguments, progress, files. No tensor logic lives here.

mod adapters;
pub mod args;
mod bench;
pub mod classes;
mod convert;
mod device;
pub mod imagenet;
mod info;
pub mod input;
mod low;
pub mod models;
pub mod npy;
pub mod output;
mod problems;
pub mod progress;
pub mod request;
mod sample;
pub mod stage;
mod tune;
pub mod values;

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;

use crate::checkpoint::{Checkpoint, writer};
use crate::config::{Inferred, Overrides};
use crate::{Error, Result};

/// Exit code of impossible arguments, clap's own.
const USAGE: u8 = 2;
/// Exit code of a run that Ctrl-C ended, as shells have it.
const INTERRUPTED: u8 = 130;

/// Runs the program on this process's arguments.
pub fn main() -> ExitCode {
    let cli = args::Cli::parse();
    match pollster::block_on(run(&cli)) {
        Ok(code) => code,
        Err(error) => {
            note(&format!("error: {error}"));
            match error {
                Error::Options(_) => ExitCode::from(USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn run(cli: &args::Cli) -> Result<ExitCode> {
    match &cli.command {
        args::Command::Sample(args) => return Ok(code(sample::sample(args, stop_on_interrupt(KEPT)).await?)),
        args::Command::Upsample(args) => return Ok(code(sample::upsample(args, stop_on_interrupt(KEPT)).await?)),
        args::Command::Convert(args) => return Ok(code(convert::run(args, stop_on_interrupt(NOTHING))?)),
        args::Command::Info(args) => info::run(args)?,
        args::Command::Adapters(args) => adapters::run(args).await?,
        args::Command::Bench(args) => bench::run(args).await?,
        args::Command::Tune(args) => tune::run(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// How a command that can be stopped ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// All is there.
    Done,
    /// Ctrl-C ended it; what was finished is there.
    Interrupted,
}

fn code(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::Done => ExitCode::SUCCESS,
        Outcome::Interrupted => ExitCode::from(INTERRUPTED),
    }
}

const KEPT: &str = "stopping after this step; finished images are kept (Ctrl-C again: stop at once)";
const NOTHING: &str = "stopping; the unfinished file is removed";

/// Lets Ctrl-C set the returned flag, so that a run ends after its current step; a second Ctrl-C ends it at once.
fn stop_on_interrupt(said: &'static str) -> &'static AtomicBool {
    static STOP: AtomicBool = AtomicBool::new(false);
    let handler = move || {
        if STOP.swap(true, Ordering::Relaxed) {
            writer::remove_temporaries();
            std::process::exit(INTERRUPTED.into());
        }
        note(said);
    };
    if ctrlc::set_handler(handler).is_err() {
        // Then Ctrl-C ends the program as it ends any other.
        note("note: Ctrl-C cannot be caught here; an interrupted run keeps nothing");
    }
    &STOP
}

/// Opens a checkpoint, or the built-in model, and finds its configuration.
fn open_model(path: Option<&Path>, flags: &Overrides) -> Result<(Checkpoint, Inferred)> {
    let checkpoint = match path {
        Some(path) => Checkpoint::open(path)?,
        None => Checkpoint::from_bytes("fashion32", include_bytes!("../../models/fashion32.safetensors").to_vec())?,
    };
    let found = checkpoint.config(flags)?;
    Ok((checkpoint, found))
}

/// Writes to standard output. A reader that has gone away, such as `head`, is no error.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Error::io("standard output", e)),
        _ => Ok(()),
    }
}

/// Writes one line of JSON to standard output.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|e| Error::io("standard output", e.into()))?;
    print(&(text + "\n"))
}

/// Tells the user something beside the result. `eprintln!` would panic where standard error is closed.
fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
