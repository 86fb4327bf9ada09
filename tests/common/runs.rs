//! Runs of the tiny networks, which cost little and have every segment.

use std::sync::Arc;

use guided_diffusion::config::ModelConfig;
use guided_diffusion::run::SampleOptions;
use guided_diffusion::sampler::{Sampler, Settings};
use guided_diffusion::{Checkpoint, Error, Gpu, Images, Session, SessionOptions};
use pollster::block_on;

/// A network with synthetic weights, for `batch` images.
pub fn load(gpu: &Arc<Gpu>, config: &ModelConfig, batch: usize) -> Session {
    let checkpoint = Checkpoint::synthetic(config, 3).unwrap();
    block_on(Session::load(gpu, &checkpoint, config, &SessionOptions { batch, ..SessionOptions::default() })).unwrap()
}

/// Four ancestral steps of images `first` to `first + count`.
pub fn options(first: u32, count: usize) -> SampleOptions {
    SampleOptions {
        count,
        labels: (0..count as u32).map(|i| (first + i) * 3 % 10).collect(),
        settings: Settings {
            sampler: Some(Sampler::ancestral()),
            steps: Some("4".parse().unwrap()),
            seed: 77,
            ..Settings::default()
        },
        first_index: first,
        ..SampleOptions::default()
    }
}

/// The images of a run.
pub fn sample(session: &mut Session, options: SampleOptions) -> Images {
    block_on(async { session.sample(options)?.finish().await }).unwrap()
}

/// A message of a run that must not start.
pub fn refusal(session: &mut Session, options: SampleOptions) -> String {
    match session.sample(options) {
        Err(Error::Options(message)) => message,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("the run was accepted"),
    }
}
