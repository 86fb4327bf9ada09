//! Golden samples: the whole sampling loop, every draw given as the reference drew it.

use std::sync::Arc;

use guided_diffusion::config::ModelConfig;
use guided_diffusion::run::{Noise, SampleOptions};
use guided_diffusion::sampler::Settings;
use guided_diffusion::session::Source;
use guided_diffusion::{Checkpoint, Gpu, Result, Session, SessionOptions};
use serde_json::Value;

use crate::golden::CALM_SCALE;
use crate::{CHAOTIC, Check, Golden, model_config, noise_of, numbers, relative_l2, sampler_config, sizes, tolerance};

/// The classifier of a guided case, which judges the images of the model's own process.
pub fn classifier_config(case: &Value) -> Option<ModelConfig> {
    let config = case.get("classifier")?;
    Some(ModelConfig { diffusion: sampler_config(case).diffusion, ..model_config(config) })
}

/// The case's model, with its classifier if it has one.
///
/// # Errors
/// A refused shader, a lost device.
pub async fn session(gpu: &Arc<Gpu>, case: &Value) -> Result<Session> {
    let seed = |key: &str| case[key].as_u64().unwrap();
    let config = sampler_config(case);
    let checkpoint = Checkpoint::synthetic(&config, seed("seed"))?;
    let guide = match classifier_config(case) {
        Some(guide) => Some((Checkpoint::synthetic(&guide, seed("classifier_seed"))?, guide)),
        None => None,
    };
    let classifier = guide.as_ref().map(|(checkpoint, config)| Source { checkpoint, config });
    let options = SessionOptions { batch: sizes(&case["x"])[0], ..SessionOptions::default() };
    Session::load_guided(gpu, Source { checkpoint: &checkpoint, config: &config }, classifier, &options).await
}

/// The case's run.
///
/// # Panics
/// It is not a case of a sampler.
pub fn options(case: &Value) -> SampleOptions {
    let (seed, shape) = (case["seed"].as_u64().unwrap(), sizes(&case["x"]));
    let count = shape[0];
    let draws = move |step: Option<u32>| {
        let stream = step.map_or_else(|| "start".to_owned(), |i| format!("step/{i}"));
        Ok(noise_of(&stream, &shape, seed))
    };
    SampleOptions {
        count,
        labels: numbers(&case["labels"]),
        settings: Settings {
            sampler: Some(case["method"].as_str().unwrap().parse().unwrap()),
            steps: Some(case["options"]["respacing"].as_str().unwrap().parse().unwrap()),
            eta: (case["method"] == "ddim").then(|| case["eta"].as_f64().unwrap()),
            clip_denoised: case["clip"].as_bool(),
            guidance: case.get("guidance_scale").and_then(Value::as_f64),
            ..Settings::default()
        },
        noise: Noise::Given(Box::new(draws)),
        ..SampleOptions::default()
    }
}

pub(crate) async fn check(gpu: &Arc<Gpu>, golden: &Golden, i: usize) -> Result<Check> {
    let case = &golden.cases()[i];
    let mut session = session(gpu, case).await?;
    assert_eq!(session.warnings(), &[] as &[String], "the self-test is silent on a sound driver");
    let mut options = options(case);
    if golden.name(i) == CHAOTIC {
        options.settings.guidance = Some(CALM_SCALE.into());
    }
    let images = session.sample(options)?.finish().await?;
    Ok(Check {
        name: golden.name(i).into(),
        error: relative_l2(&images.to_nchw(), &golden.expected(i, "sample")),
        tolerance: if session.is_guided() { tolerance::GUIDED } else { tolerance::SAMPLE },
    })
}
