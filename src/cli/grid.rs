//! `grid`: searches time grids for few steps, and keeps them in the file.

use std::io::ErrorKind;
use std::sync::atomic::AtomicBool;

use serde_json::json;

use super::console::{note, print, print_json};
use super::device::Device;
use super::models::open_model;
use super::other_args::GridArgs;
use super::progress::Progress;
use super::stage::usual_batch;
use super::values::{Ended, unless_stopped};
use crate::config::{Flags, Role, TimeGrids, add_grids, with_grids};
use crate::plan::PlanOptions;
use crate::recipe::line;
use crate::session::{Session, SessionOptions};
use crate::time_grid::{Found, TEACHER_STEPS, Teacher};
use crate::{Error, Result};

/// Runs the command. `stop` ends it within a moment, leaving the file as it was.
///
/// # Errors
/// [`Error::Options`] for a model of another role or process; what opening, sampling and writing give.
pub async fn run(args: &GridArgs, stop: &AtomicBool) -> Result<Ended> {
    let (checkpoint, found) = open_model(Some(&args.file), &Flags::default())?;
    let (name, config) = (checkpoint.name().to_string(), found.config);
    if config.role != Role::Diffusion {
        return Err(Error::Options(format!(
            "{name} is {} {}; grids are searched for models that make images from noise alone",
            if config.role == Role::Upsampler { "an" } else { "a" },
            config.role
        )));
    }
    let out = args.out.as_ref().unwrap_or(&args.file);
    // A file that cannot keep grids is refused before the search.
    with_grids(&checkpoint, &TimeGrids::new())?;
    let device = Device::open(&args.device).await?;
    let images = args.images as usize;
    let batch = args.batch.unwrap_or_else(|| usual_batch([config.unet.image_size; 2])).min(args.images) as usize;
    let plan = PlanOptions { precision: args.device.precision.unwrap_or_default(), ..PlanOptions::default() };
    let mut options = SessionOptions { batch, plan, ..SessionOptions::default() };
    options.tuning = device.tuning(&config, None, &options, images.div_ceil(batch) * TEACHER_STEPS).await?;
    let mut session = Session::load(&device.gpu, &checkpoint, &config, &options).await?;
    device.remember_pipelines();
    session.warnings().iter().for_each(|warning| note(warning));
    let progress = Progress::new((images.div_ceil(batch) * TEACHER_STEPS) as u64, images);
    let searched = match search(args, &mut session, &progress, stop).await {
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::Interrupted => None,
        other => Some(other?).filter(|_| unless_stopped(stop).is_continue()),
    };
    progress.end();
    let Some(searched) = searched else {
        note(&format!("stopped: {} was not written", out.display()));
        return Ok(Ended::Interrupted);
    };
    let (mut grids, mut reports, mut text) = (TimeGrids::new(), Vec::new(), String::new());
    for (steps, found) in searched {
        let values: Vec<String> = found.grid.iter().map(f64::to_string).collect();
        text += &format!(
            "{steps} steps: {}\n  {:.4} from the images of {TEACHER_STEPS} steps (root mean square of values in [-1, 1]), the \
             sampler's own steps {:.4}\n",
            values.join(","),
            found.distance,
            found.own_distance
        );
        reports.push(json!({ "steps": steps, "found": found }));
        grids.insert(steps, found.grid);
    }
    add_grids(&checkpoint, &grids, out)?;
    if args.json {
        let output = out.display().to_string();
        print_json(&json!({ "file": name, "output": output, "images": images, "grids": reports }))?;
    } else {
        let command = [
            "guided-diffusion",
            "sample",
            "--model",
            &out.display().to_string(),
            "--steps",
            &args.steps[0].to_string(),
        ]
        .map(String::from);
        print(&format!("{text}{}: kept in its configuration; used by {}\n", out.display(), line(&command)))?;
    }
    Ok(Ended::Done)
}

/// The grids of all numbers of steps.
async fn search(
    args: &GridArgs,
    session: &mut Session,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<Vec<(usize, Found)>> {
    let teacher = Teacher::new(session, args.images as usize, args.seed, |_, _| {
        progress.step();
        unless_stopped(stop)
    });
    let teacher = teacher.await?;
    let mut found = Vec::new();
    for steps in args.steps.iter().map(|steps| *steps as usize) {
        found.push((steps, teacher.grid(session, steps, || unless_stopped(stop)).await?));
    }
    Ok(found)
}
