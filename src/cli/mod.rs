//! The command line program: arguments, progress, files. No tensor logic lives here.

mod adapters;
pub mod args;
mod begun;
mod bench;
pub mod classes;
mod console;
mod convert;
mod device;
mod differences;
#[cfg(test)]
mod document;
pub mod given;
mod grid;
mod hints;
pub mod imagenet;
mod info;
pub mod input;
mod job;
mod journal;
mod low_res;
mod merge;
pub mod models;
mod nll;
pub mod npy;
mod other_args;
pub mod output;
mod outputs;
pub mod progress;
mod report;
pub mod request;
mod sample;
pub mod settings;
pub mod stage;
mod trajectory;
mod tune;
pub mod values;
mod workloads;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;

use self::console::note;
use self::values::Ended;
use crate::checkpoint::writer;
use crate::{Error, Result};

/// Exit code of impossible arguments, clap's own.
const USAGE: u8 = 2;
/// Exit code of a run that Ctrl-C ended, as shells have it.
const INTERRUPTED: u8 = 130;

/// Runs the program on this process's arguments.
pub fn main() -> ExitCode {
    quieten_mesa();
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to do where even this cannot be said.
            let _ = error.print();
            if let Some(hint) = hints::hint(&error) {
                note(&format!("\n{hint}"));
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
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

/// Mesa's layer that orders devices asks libwayland for a display, and that complains on standard error where there is no
/// folder for one (in containers, over ssh). There the layer has nothing to do, unless its own variables ask for something.
fn quieten_mesa() {
    let is_set = |name: &str| std::env::var_os(name).is_some();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|folder| Path::new(&folder).is_absolute());
    if cfg!(target_os = "linux")
        && !runtime
        && !["NODEVICE_SELECT", "MESA_VK_DEVICE_SELECT", "DRI_PRIME"].map(is_set).contains(&true)
    {
        // SAFETY: the first thing that the program does, when nothing else reads the environment.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

async fn run(cli: &args::Cli) -> Result<ExitCode> {
    match &cli.command {
        args::Command::Sample(args) => return Ok(code(sample::sample(args, stop_on_interrupt(KEPT)).await?)),
        args::Command::Upsample(args) => return Ok(code(sample::upsample(args, stop_on_interrupt(KEPT)).await?)),
        args::Command::Edit(args) => return Ok(code(sample::edit(args, stop_on_interrupt(KEPT)).await?)),
        args::Command::Invert(args) => return Ok(code(sample::invert(args, stop_on_interrupt(KEPT)).await?)),
        args::Command::Nll(args) => return Ok(code(nll::run(args, stop_on_interrupt(STOPPED)).await?)),
        args::Command::Convert(args) => return Ok(code(convert::run(args, stop_on_interrupt(NOTHING))?)),
        args::Command::Grid(args) => return Ok(code(grid::run(args, stop_on_interrupt(NOTHING)).await?)),
        args::Command::Merge(args) => merge::run(args)?,
        args::Command::Info(args) => info::run(args)?,
        args::Command::Adapters(args) => adapters::run(args).await?,
        args::Command::Bench(args) => bench::run(args).await?,
        args::Command::Tune(args) => tune::run(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn code(outcome: Ended) -> ExitCode {
    match outcome {
        Ended::Done => ExitCode::SUCCESS,
        Ended::Interrupted => ExitCode::from(INTERRUPTED),
    }
}

const KEPT: &str =
    "stopping after this step; finished images are kept, and the same command continues (Ctrl-C again: stop at once)";
const STOPPED: &str = "stopping after this step; nothing is kept (Ctrl-C again: stop at once)";
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
