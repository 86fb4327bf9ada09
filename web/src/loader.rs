//! From headers to a prepared model: what the files are, whether they go together, and whether the device takes them.

use guided_diffusion::checkpoint::Header;
use guided_diffusion::config::{self, Flags, Inferred, Role};
use guided_diffusion::device::Precision;
use guided_diffusion::plan::PlanOptions;
use guided_diffusion::plan::tuning::TuningCache;
use guided_diffusion::{Error, Session, SessionOptions};
use js_sys::Promise;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use crate::engine::Engine;
use crate::error::{Result, js};
use crate::file::File;
use crate::model::{About, Model};
use crate::request::{self, LoadRequest};
use crate::tuner;

/// A model's files, as far as their headers show.
#[wasm_bindgen]
pub struct Loader {
    gpu: std::sync::Arc<guided_diffusion::Gpu>,
    device: String,
    tuning: TuningCache,
    request: LoadRequest,
    flags: Flags,
    model: Option<(String, Inferred, Precision)>,
    classifier: Option<(String, Inferred)>,
}

#[wasm_bindgen]
impl Loader {
    /// Takes the package's `LoadOptions` as JSON, and the cache of a `Tuner` where there is one.
    ///
    /// # Errors
    /// Options of the wrong types.
    #[wasm_bindgen(constructor)]
    pub fn new(engine: &Engine, options: &str, cache: Option<String>) -> Result<Loader> {
        let request: LoadRequest = request::parse(options).map_err(js)?;
        let flags = request.flags.as_deref().unwrap_or_default().parse().map_err(js)?;
        let device = engine.fingerprint();
        let (gpu, tuning) = (engine.gpu.clone(), tuner::read(cache.as_deref(), &device));
        Ok(Loader { gpu, device, tuning, request, flags, model: None, classifier: None })
    }

    /// The model, whose header is there.
    ///
    /// # Errors
    /// A file that is not a diffusion model or an upsampler.
    #[wasm_bindgen(js_name = setModel)]
    pub fn set_model(&mut self, file: &File) -> Result<()> {
        let found = config::infer(&file.name, header(file)?, &self.flags).map_err(js)?;
        let precision = self.request.precision.unwrap_or(request::stored_precision(header(file)?));
        self.model = Some((file.name.clone(), found, precision));
        Ok(())
    }

    /// The classifier that guides it, whose header is there. It comes after the model.
    ///
    /// # Errors
    /// A file that is not a classifier.
    #[wasm_bindgen(js_name = setClassifier)]
    pub fn set_classifier(&mut self, file: &File) -> Result<()> {
        let Some((_, model, _)) = &self.model else { return Err(js(incomplete())) };
        let found = config::infer_classifier(&file.name, header(file)?, &self.flags, &model.config).map_err(js)?;
        if found.config.role != Role::Classifier {
            let (name, role) = (&file.name, found.config.role);
            return Err(js(Error::Options(format!("{name} is a {role} model; only a classifier guides"))));
        }
        self.classifier = Some((file.name.clone(), found));
        Ok(())
    }

    /// Compiles the kernels and takes memory. Resolves to a [`Model`] that lacks its weights.
    ///
    /// # Errors
    /// Files that do not go together, a device too small.
    pub fn prepare(&mut self) -> Result<Promise> {
        let Some((name, found, precision)) = self.model.take() else { return Err(js(incomplete())) };
        let options = SessionOptions {
            batch: self.request.batch.unwrap_or(1),
            low_size: self.request.low_resolution.unwrap_or(0), // what the file says
            size: self.request.size.map(|[width, height]| [height, width]),
            plan: PlanOptions { precision, ..PlanOptions::default() },
            tuning: self.tuning.clone(),
            ..SessionOptions::default()
        };
        let (gpu, device) = (self.gpu.clone(), self.device.clone());
        let (classifier, flags) = (self.classifier.take(), self.flags.arguments());
        Ok(future_to_promise(async move {
            let guided_by = classifier.as_ref().map(|(_, found)| &found.config);
            let session = Session::prepare(&gpu, &found.config, guided_by, &options).await.map_err(js)?;
            Ok(Model::new(session, About { gpu, device, name, found, classifier, options, flags }).into())
        }))
    }
}

fn incomplete() -> Error {
    Error::Options("the model's header must be read first".into())
}

fn header(file: &File) -> Result<&Header> {
    file.header().ok_or_else(|| js(incomplete()))
}
