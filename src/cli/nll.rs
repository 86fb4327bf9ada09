//! `nll`: bits per dimension of images, as the public scripts' image_nll.py reports them.

use std::io::ErrorKind;
use std::sync::atomic::AtomicBool;

use serde_json::json;

use super::args::NllArgs;
use super::classes::in_turn;
use super::console::{note, print, print_json};
use super::device::Device;
use super::given::Pictures;
use super::models::Models;
use super::progress::Progress;
use super::stage::Stage;
use super::values::{Ended, unless_stopped};
use crate::bits::{Bits, bits_per_dimension};
use crate::plan::PlanOptions;
use crate::run::SampleOptions;
use crate::sampler::{Respacing, Sampler, Settings};
use crate::session::{Session, SessionOptions};
use crate::{Error, Result};

/// Runs `nll`. `stop` ends it after the current step.
///
/// # Errors
/// [`Error::Options`] for images or settings that the model does not take; the device's errors.
pub async fn run(args: &NllArgs, stop: &AtomicBool) -> Result<Ended> {
    let models = Models::open([args.source.model.as_deref(), None, None], &args.flags)?;
    let pictures = Pictures::read(&args.source.files(&[]))?;
    let config = models.first.config();
    let all = config.diffusion.diffusion_steps;
    let own = &args.settings.settings;
    let steps = args.flags.timestep_respacing.as_deref().map(str::parse).transpose()?.or(own.steps.clone());
    let settings = Settings {
        sampler: Some(Sampler::ancestral()),
        steps: steps.or(Some(Respacing::Sections(vec![all]))),
        clip_denoised: Some(!args.no_clip && args.flags.clip_denoised != Some(false)),
        ..own.clone()
    };
    let batch = args.batch.map(|n| n as usize).or(args.flags.batch_size);
    let stage = Stage::new(&models.first, None, &settings, batch)?;
    let labels = models.labels(&args.class, &pictures.init.name, pictures.given.labels.as_deref())?;
    let total = u32::try_from(pictures.count()).map_err(|_| Error::Options("too many images".into()))?;
    pictures.check(&settings, stage.shape())?;

    let device = Device::open(&args.device).await?;
    let precision = args.device.precision.unwrap_or_default();
    let batch = stage.batch.min(total);
    let mut options = SessionOptions {
        batch: batch as usize,
        size: Some([stage.height, stage.width]),
        plan: PlanOptions { precision, ..PlanOptions::default() },
        ..SessionOptions::default()
    };
    let evaluations = total.div_ceil(batch) as usize * stage.steps;
    options.tuning = device.tuning(config, None, &options, evaluations).await?;
    let mut session = Session::load_guided(&device.gpu, models.first.source(), None, &options).await?;
    device.remember_pipelines();
    if stage.steps < all {
        note(&format!(
            "note: {} steps of the process's {all} give a far looser bound; published figures are of all",
            stage.steps
        ));
    }
    let mut progress = Progress::new(evaluations as u64, total as usize);
    let mut bits = Bits::default();
    for start in (0..total).step_by(batch as usize) {
        let indices = start..total.min(start + batch);
        let count = indices.len();
        let sampled = SampleOptions {
            settings: stage.recipe.settings.clone(),
            count,
            labels: indices.clone().filter_map(|index| in_turn(&labels, index)).filter(|_| stage.conditional).collect(),
            first_index: start,
            edit: Some(pictures.rows(&settings, stage.shape(), indices)?),
            ..SampleOptions::default()
        };
        let step = || {
            progress.step();
            unless_stopped(stop)
        };
        match bits_per_dimension(&mut session, sampled, step).await {
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::Interrupted => return Ok(Ended::Interrupted),
            made => bits.append(made?),
        }
        progress.finished(count);
    }
    progress.end();
    report(args, &stage, &bits, &device.gpu.summary().name)?;
    Ok(Ended::Done)
}

fn report(args: &NllArgs, stage: &Stage, bits: &Bits, adapter: &str) -> Result<()> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    // The public script's files have the mean over images of each step.
    let by_step = |rows: &[Vec<f64>]| -> Vec<f64> {
        let steps = rows.first().map_or(0, Vec::len);
        (0..steps).map(|step| mean(&rows.iter().filter_map(|row| row.get(step).copied()).collect::<Vec<_>>())).collect()
    };
    let (total, prior) = (mean(&bits.total), mean(&bits.prior));
    let [vb, xstart_mse, mse] = [&bits.vb, &bits.xstart_mse, &bits.mse].map(|rows| by_step(rows));
    if args.json {
        return print_json(&json!({
            "adapter": adapter,
            "model": stage.recipe.model,
            "settings": stage.recipe.settings,
            "images": bits.total.len(),
            "evaluations": stage.evaluations,
            "total": total,
            "prior": prior,
            "vb": vb,
            "xstart_mse": xstart_mse,
            "mse": mse,
            "total_by_image": bits.total,
        }));
    }
    print(&format!(
        "{} image{}, {} steps: {total:.4} bits per dimension (prior {prior:.6}, vb {:.4}); mean squared errors of x_0 {:.5}, of \
         the noise {:.5}\n",
        bits.total.len(),
        if bits.total.len() == 1 { "" } else { "s" },
        stage.steps,
        vb.iter().sum::<f64>(),
        mean(&xstart_mse),
        mean(&mse)
    ))
}
