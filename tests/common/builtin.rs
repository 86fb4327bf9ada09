//! The project's own models on a device.

use std::sync::Arc;

use guided_diffusion::checkpoint::Checkpoint;
use guided_diffusion::config::{Flags, ModelConfig};
use guided_diffusion::device::Precision;
use guided_diffusion::gpu::Gpu;
use guided_diffusion::plan::PlanOptions;
use guided_diffusion::run::SampleOptions;
use guided_diffusion::sampler::Settings;
use guided_diffusion::session::Source;
use guided_diffusion::{Images, Session, SessionOptions};
use pollster::block_on;

use super::judge::Judge;

/// A model of the folder models, loaded for `batch` images, and the classifier that guides it.
pub fn open(gpu: &Arc<Gpu>, model: &str, classifier: Option<&str>, batch: usize, precision: Precision) -> Session {
    let read = |name: &str| -> (Checkpoint, ModelConfig) {
        let checkpoint = Checkpoint::open(format!("{}/models/{name}.safetensors", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let config = checkpoint.config(&Flags::default()).unwrap().config;
        (checkpoint, config)
    };
    let (model, classifier) = (read(model), classifier.map(read));
    let source = |(checkpoint, config)| Source { checkpoint, config };
    let sources = (source((&model.0, &model.1)), classifier.as_ref().map(|(file, config)| source((file, config))));
    let plan = PlanOptions { precision, ..PlanOptions::default() };
    let options = SessionOptions { batch, plan, low_size: model.1.low_size(), ..SessionOptions::default() };
    block_on(Session::load_guided(gpu, sources.0, sources.1, &options)).unwrap()
}

/// The small reference model.
pub fn fashion32(gpu: &Arc<Gpu>, batch: usize, precision: Precision) -> Session {
    open(gpu, "fashion32", None, batch, precision)
}

/// 25 steps of DDIM, as all figures of fashion32.
pub fn ddim25() -> Settings {
    Settings { steps: Some("ddim25".parse().unwrap()), ..Settings::default() }
}

/// How many of `count` samples of fashion32 by `settings`, the classes in turn, the judge labels as asked.
pub fn labelled_as_asked(gpu: &Arc<Gpu>, settings: &Settings, count: usize, batch: usize) -> usize {
    let (mut session, judge) = (fashion32(gpu, batch, Precision::F32), Judge::open("judge.safetensors"));
    let mut right = 0;
    for first in (0..count).step_by(batch) {
        let labels: Vec<u32> = (first..count.min(first + batch)).map(|i| i as u32 % 10).collect();
        let options = SampleOptions {
            count: labels.len(),
            labels: labels.clone(),
            first_index: first as u32,
            settings: settings.clone(),
            ..SampleOptions::default()
        };
        let images: Images = block_on(session.sample(options).unwrap().finish()).unwrap();
        right +=
            labels.iter().enumerate().filter(|(i, l)| judge.read(images.image(*i)).label() == **l as usize).count();
    }
    right
}
