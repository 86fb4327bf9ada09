//! Measuring which kernels are fastest on the visitor's GPU, one kind of kernel per call, so that a page can show progress and
//! stop.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use guided_diffusion::config::ModelConfig;
use guided_diffusion::gpu::tuner::{TuneOptions, TuneReport};
use guided_diffusion::plan::tuning::TuningCache;
use guided_diffusion::{Gpu, Session, SessionOptions};
use js_sys::Promise;
use serde_json::json;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use crate::error::js;

#[wasm_bindgen]
extern "C" {
    /// Milliseconds since the worker started.
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn now() -> f64;
}

/// What a tuning has to do and has found so far.
#[wasm_bindgen]
pub struct Tuner {
    gpu: Arc<Gpu>,
    device: String,
    config: ModelConfig,
    classifier: Option<ModelConfig>,
    options: SessionOptions,
    tuning: Rc<RefCell<TuningCache>>,
    resolution: f64,
}

impl Tuner {
    /// For `device`, as [`crate::engine::Engine::fingerprint`] calls it. What `cache`, an earlier tuner's, has is not
    /// measured again.
    pub(crate) fn new(
        gpu: Arc<Gpu>,
        device: String,
        config: ModelConfig,
        classifier: Option<ModelConfig>,
        options: SessionOptions,
        cache: Option<&str>,
    ) -> Self {
        let tuning = Rc::new(RefCell::new(read(cache, &device)));
        Self { gpu, device, config, classifier, options, tuning, resolution: resolution() }
    }
}

#[wasm_bindgen]
impl Tuner {
    /// Measures up to `most` kinds of kernel in at most so many seconds. Resolves to JSON: how many were `measured` and how
    /// many of those are now another than the default (`changed`), and how many are `left`.
    ///
    /// # Errors
    /// A lost device.
    pub fn step(&self, most: usize, seconds: Option<f64>) -> Promise {
        let how = TuneOptions { budget: seconds, settle: false, most: Some(most), clock, resolution: self.resolution };
        let (gpu, config, classifier, options) =
            (self.gpu.clone(), self.config.clone(), self.classifier.clone(), self.options.clone());
        let holder = self.tuning.clone();
        future_to_promise(async move {
            let mut tuning = holder.borrow().clone();
            let found = Session::tune(&gpu, &config, classifier.as_ref(), &options, &mut tuning, &how).await;
            *holder.borrow_mut() = tuning;
            let TuneReport { tuned, left } = found.map_err(js)?;
            let changed = tuned.iter().filter(|tuned| tuned.chosen > 0).count();
            Ok(json!({ "measured": tuned.len(), "changed": changed, "left": left }).to_string().into())
        })
    }

    /// The tuning cache of this device as JSON, to keep.
    pub fn cache(&self) -> String {
        self.tuning.borrow().to_json(&self.device)
    }
}

/// A tuning cache; one of another device or a damaged one is as if it were not there.
pub fn read(cache: Option<&str>, device: &str) -> TuningCache {
    cache.and_then(|cache| TuningCache::parse(cache.as_bytes(), device).ok().flatten()).unwrap_or_default()
}

fn clock() -> f64 {
    now() / 1e3
}

/// Seconds between two readings that differ: the least of a few. Browsers that protect privacy by coarse clocks have up to
/// a tenth of a second, for which a measurement would take minutes: then it is less sure instead.
fn resolution() -> f64 {
    const COARSEST: f64 = 0.005;
    // A clock that ticks changes within fewer readings than this.
    const READINGS: usize = 100_000;
    let tick = || {
        let begin = clock();
        (0..READINGS).map(|_| clock() - begin).find(|passed| *passed > 0.0).unwrap_or(COARSEST)
    };
    (0..5).map(|_| tick()).fold(COARSEST, f64::min)
}
