//! `sample`, `upsample`, `edit` and `invert`: what their arguments mean, as one job.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::args::{EditArgs, InvertArgs, SampleArgs, Source, UpsampleArgs};
use super::given::{Files, Pictures};
use super::input;
use super::job::Job;
use super::low_res::LowRes;
use super::models::Models;
use super::output::Format;
use super::request::Request;
use super::values::Ended;
use crate::resize::Fit;
use crate::sampler::{Sampler, Settings};
use crate::{Error, Result};

/// Runs `sample`. `stop` ends it after the current step.
///
/// # Errors
/// [`Error::Options`] for what cannot be asked for, before any work; later the device's errors.
pub async fn sample(args: &SampleArgs, stop: &AtomicBool) -> Result<Ended> {
    let (run, small_out) = (&args.run, args.small_out.as_deref());
    let models = Models::of_sample(args)?;
    let files = |path| Files { path, name: "init", mask: None, fit: args.fit, expected: &run.expect };
    let pictures = args.init.as_deref().map(|path| Pictures::read(&files(path))).transpose()?;
    let request = Request::sample(args, &models, pictures.as_ref())?;
    let given = args.init.as_deref().map(|path| ("--init", path)).into_iter().collect();
    Job { small_out, pictures, given, ..Job::new(run, request, stop) }.work(models, None).await
}

/// Runs `edit`. `stop` ends it after the current step.
///
/// # Errors
/// As [`sample`]; files that hold no pictures.
pub async fn edit(args: &EditArgs, stop: &AtomicBool) -> Result<Ended> {
    let run = &args.run;
    let models = Models::open([args.source.model.as_deref(), args.classifier.as_deref(), None], &run.flags)?;
    let (Source { input, fit, .. }, mask) = (&args.source, args.mask.as_deref());
    let pictures = Pictures::read(&Files { mask, ..args.source.files(&run.expect) })?;
    let mut settings = args.settings.settings.clone();
    // What is padded is made, as what a mask leaves out.
    let degradation = settings.edit.get_or_insert_default();
    degradation.mask = mask.is_some() || *fit == Some(Fit::Pad);
    let request = Request::of_pictures(run, &settings, &models, &pictures)?;
    let given = [Some(("--input", &**input)), mask.map(|path| ("--mask", path))].into_iter().flatten().collect();
    Job { pictures: Some(pictures), given, ..Job::new(run, request, stop) }.work(models, None).await
}

/// Runs `invert`. `stop` ends it after the current step.
///
/// # Errors
/// As [`edit`].
pub async fn invert(args: &InvertArgs, stop: &AtomicBool) -> Result<Ended> {
    const NOISE: &str = "noise.npy";
    let run = &args.run;
    let out = run.out.as_deref().unwrap_or(Path::new(NOISE));
    if Format::of(out)? != Format::Npy {
        return Err(Error::Options(format!("{}: noise is no picture; give --out a .npy file", out.display())));
    }
    if run.noise.is_some() {
        return Err(Error::Options("--noise: an inversion begins with the picture; leave it out".into()));
    }
    let models = Models::open([args.source.model.as_deref(), None, None], &run.flags)?;
    let pictures = Pictures::read(&args.source.files(&run.expect))?;
    let settings = Settings { sampler: Some(Sampler::invert()), ..args.settings.settings.clone() };
    let request = Request::of_pictures(run, &settings, &models, &pictures)?;
    let given = vec![("--input", &*args.source.input)];
    Job { out, pictures: Some(pictures), given, ..Job::new(run, request, stop) }.work(models, None).await
}

/// Runs `upsample`. `stop` ends it after the current step.
///
/// # Errors
/// As [`sample`]; files that hold no images.
pub async fn upsample(args: &UpsampleArgs, stop: &AtomicBool) -> Result<Ended> {
    let Some(path) = args.input() else {
        return Err(Error::Options("give the images to enlarge as --input".into()));
    };
    let models = Models::of_upsample(args)?;
    let wanted = args.fit.map(|fit| (models.first.config().low_size(), fit));
    let labeled = input::images_in(path, wanted)?;
    let request = Request::upsample(args, &models, &labeled)?;
    let job = Job { given: vec![("--input", path)], ..Job::new(&args.run, request, stop) };
    job.work(models, Some(LowRes::Input(labeled.images))).await
}
