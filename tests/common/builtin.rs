//! The small reference model, fashion32, on a device.

use std::sync::Arc;

use guided_diffusion::checkpoint::Checkpoint;
use guided_diffusion::config::Flags;
use guided_diffusion::device::Precision;
use guided_diffusion::gpu::Gpu;
use guided_diffusion::plan::PlanOptions;
use guided_diffusion::run::SampleOptions;
use guided_diffusion::sampler::Settings;
use guided_diffusion::{Images, Session, SessionOptions};
use pollster::block_on;

use super::judge::Judge;

/// fashion32, loaded for `batch` images.
pub fn session(gpu: &Arc<Gpu>, batch: usize, precision: Precision) -> Session {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/fashion32.safetensors");
    let checkpoint = Checkpoint::open(path).unwrap();
    let config = checkpoint.config(&Flags::default()).unwrap().config;
    let plan = PlanOptions { precision, ..PlanOptions::default() };
    let options = SessionOptions { batch, plan, ..SessionOptions::default() };
    block_on(Session::load(gpu, &checkpoint, &config, &options)).unwrap()
}

/// 25 steps of DDIM, as all figures of fashion32.
pub fn ddim25() -> SampleOptions {
    SampleOptions {
        settings: Settings { steps: Some("ddim25".parse().unwrap()), ..Settings::default() },
        ..SampleOptions::default()
    }
}

/// How many of `count` samples, the classes in turn, the judge labels as asked.
pub fn labelled_as_asked(gpu: &Arc<Gpu>, count: usize, batch: usize) -> usize {
    let (mut session, judge) = (session(gpu, batch, Precision::F32), Judge::open());
    let mut right = 0;
    for first in (0..count).step_by(batch) {
        let labels: Vec<u32> = (first..count.min(first + batch)).map(|i| i as u32 % 10).collect();
        let options =
            SampleOptions { count: labels.len(), labels: labels.clone(), first_index: first as u32, ..ddim25() };
        let images: Images = block_on(session.sample(options).unwrap().finish()).unwrap();
        right += labels.iter().enumerate().filter(|(i, l)| judge.read(images.image(*i)).0 == **l as usize).count();
    }
    right
}
