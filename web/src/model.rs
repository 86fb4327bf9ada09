//! A model on the device: prepared, filled tensor by tensor, then sampled batch by batch.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use guided_diffusion::bits::{Bits, bits_per_dimension};
use guided_diffusion::config::Inferred;
use guided_diffusion::model::sampling::ports;
use guided_diffusion::recipe::{GivenFile, Recipe, StageRecipe};
use guided_diffusion::run::Noise;
use guided_diffusion::sampler::edit::{Edit, Given};
use guided_diffusion::sampler::{Respacing, Settings};
use guided_diffusion::session::CLASSIFIER;
use guided_diffusion::tensor::Shape;
use guided_diffusion::{Error, Gpu, Images, SampleOptions, Session, SessionOptions};
use js_sys::{Function, Promise};
use serde_json::json;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use crate::error::{Result, js};
use crate::file::File;
use crate::picture::{Place, add_inside, pictures};
use crate::request::{self, BatchRequest, Picture};
use crate::tuner::Tuner;

/// A model. Its calls are made one after the other.
#[wasm_bindgen]
pub struct Model {
    /// Taken out while a call works with it.
    session: Rc<RefCell<Option<Session>>>,
    about: Rc<About>,
}

/// What stays the same.
pub struct About {
    /// The device.
    pub gpu: Arc<Gpu>,
    /// What it is called where its measurements are kept.
    pub device: String,
    /// The model's file.
    pub name: String,
    /// What it is.
    pub found: Inferred,
    /// The classifier's file, and what it is.
    pub classifier: Option<(String, Inferred)>,
    /// How it was loaded.
    pub options: SessionOptions,
    /// The flags that the configurations need.
    pub flags: Vec<String>,
}

impl Model {
    pub(crate) fn new(session: Session, about: About) -> Self {
        Self { session: Rc::new(RefCell::new(Some(session))), about: Rc::new(about) }
    }
}

#[wasm_bindgen]
impl Model {
    /// Uploads the tensor that `file` has completed.
    ///
    /// # Errors
    /// Values that are not finite, out of memory, a lost device.
    pub fn upload(&self, file: &mut File, is_classifier: bool) -> Result<Promise> {
        let tensor = file.take().map_err(js)?;
        let holder = self.session.clone();
        Ok(future_to_promise(async move {
            let Some((name, values)) = tensor else { return Ok(JsValue::UNDEFINED) };
            let prefix = if is_classifier { CLASSIFIER } else { "" };
            let mut session = Borrowed::of(&holder)?;
            session.get()?.upload(&format!("{prefix}{name}"), &values).await.map_err(js)?;
            Ok(JsValue::UNDEFINED)
        }))
    }

    /// Ends the loading.
    ///
    /// # Errors
    /// Weights that were not uploaded.
    pub fn seal(&self) -> Result<()> {
        Borrowed::of(&self.session)?.get()?.seal().map_err(js)
    }

    /// The package's `ModelInfo` as JSON, but for the files' hashes.
    ///
    /// # Errors
    /// A call is under way.
    pub fn info(&self) -> Result<String> {
        let mut borrowed = Borrowed::of(&self.session)?;
        let session = borrowed.get()?;
        let config = session.config();
        let shape = session.image_shape().map_err(js)?;
        let usual = self.about.stage(&Settings::default()).map_err(js)?.settings;
        let low = session.program().port(ports::LOW_RES).ok().map(|port| port.shape.h);
        // A classifier knows no null class.
        let (classes, names) = (session.classes(), self.about.class_names());
        Ok(json!({
            "role": config.role.as_str(),
            "imageSize": config.unet.image_size,
            "width": shape.w,
            "height": shape.h,
            "channels": config.image_channels(),
            "lowResolution": low,
            "classes": classes,
            "nullClass": config.null_class.filter(|null| (*null as usize) < classes),
            "classNames": names.get(..classes).unwrap_or(names),
            "guided": session.is_guided(),
            "batch": session.batch(),
            "process": config.diffusion.process.as_str(),
            "diffusionSteps": config.diffusion.diffusion_steps,
            "defaults": { "sampler": usual.sampler, "steps": usual.steps.map(|steps| steps.to_string()), "guidance": usual.guidance },
            "gpuBytes": session.program().bytes(),
            "tuned": session.tuned(),
            "warnings": session.warnings(),
        })
        .to_string())
    }

    /// Samples one batch. `input` holds an upsampler's input images as RGBA, `noise` the first x of each image (N, C, H, W) in
    /// place of the seed's, `init` the picture that is varied, edited or inverted as RGBA and `mask` one byte per pixel, 255
    /// where the picture is known and 0 where it is made; the options have their sizes. After each step, `on_step` is called
    /// with the steps done, all steps and the previews, where some are due, and says whether to continue.
    /// Resolves to the images, or to `undefined` where it was stopped.
    ///
    /// # Errors
    /// What this model cannot do, a lost device, out of memory.
    pub fn sample(
        &self,
        options: &str,
        input: Option<Vec<u8>>,
        noise: Option<Vec<f32>>,
        init: Option<Vec<u8>>,
        mask: Option<Vec<u8>>,
        on_step: Function,
    ) -> Result<Promise> {
        let request: BatchRequest = request::parse(options).map_err(js)?;
        let arrays = Arrays { input, noise, init, mask };
        let (holder, about) = (self.session.clone(), self.about.clone());
        Ok(future_to_promise(async move {
            let mut session = Borrowed::of(&holder)?;
            about.sample(session.get()?, request, arrays, &on_step).await
        }))
    }

    /// Bits per dimension of one picture, given as RGBA, as JSON. After each step, `on_step` is called with the steps done and all
    /// steps, and says whether to continue. Resolves to `undefined` where it was stopped.
    ///
    /// # Errors
    /// What this model cannot do, a lost device, out of memory.
    pub fn bits(&self, options: &str, picture: Vec<u8>, on_step: Function) -> Result<Promise> {
        let request: BatchRequest = request::parse(options).map_err(js)?;
        let (holder, about) = (self.session.clone(), self.about.clone());
        Ok(future_to_promise(async move {
            let mut session = Borrowed::of(&holder)?;
            about.bits(session.get()?, &request, &picture, &on_step).await
        }))
    }

    /// Measures the kernels that this model could use, but for those that `cache` has.
    pub fn tuner(&self, cache: Option<String>) -> Tuner {
        let About { gpu, device, found, classifier, options, .. } = &*self.about;
        let classifier = classifier.as_ref().map(|(_, found)| found.config.clone());
        Tuner::new(gpu.clone(), device.clone(), found.config.clone(), classifier, options.clone(), cache.as_deref())
    }

    /// Frees the device's memory.
    pub fn destroy(&self) {
        self.session.borrow_mut().take();
    }
}

impl About {
    /// The classes' names: the model's or, where it has none, the classifier's.
    fn class_names(&self) -> &[String] {
        let own = &self.found.config.class_names;
        match &self.classifier {
            Some((_, found)) if own.is_empty() => &found.config.class_names,
            _ => own,
        }
    }

    /// What settings mean for the model.
    fn stage(&self, settings: &Settings) -> guided_diffusion::Result<StageRecipe> {
        let classifier = self.classifier.as_ref().map(|(name, _)| name.as_str());
        request::stage(settings, &self.name, &self.found, classifier)
    }

    async fn sample(
        &self,
        session: &mut Session,
        request: BatchRequest,
        Arrays { input, noise, init, mask }: Arrays,
        on_step: &Function,
    ) -> Result<JsValue> {
        let stage = self.stage(&request.settings(self.options.size)).map_err(js)?;
        let process = stage.settings.process(&self.found.config).map_err(js)?;
        let shape = Shape { n: request.count, ..session.image_shape().map_err(js)? };
        let init = init.map(|rgba| opaque(request.init, &rgba)).transpose().map_err(js)?;
        let mask = mask.map(|bytes| grey(request.mask, &bytes)).transpose().map_err(js)?;
        let edit = match &init {
            Some(pictures) => {
                let given = Given { pictures, mask: mask.as_ref(), fit: request.fit };
                Some(Edit::new(&given, stage.settings.edit, shape, request.first_index).map_err(js)?)
            }
            None => None,
        };
        let low_res = input.map(|rgba| self.input(session, request.count, &rgba)).transpose().map_err(js)?;
        // Classes travel on with images to enlarge, though an upsampler may not look at them.
        let ignored = session.classes() == 0 && low_res.is_some();
        let options = SampleOptions {
            count: request.count,
            labels: if ignored { Vec::new() } else { request.labels.clone() },
            settings: stage.settings.clone(),
            first_index: request.first_index,
            low_res,
            noise: noise.map_or(Noise::Philox, Noise::Start),
            edit: edit.clone(),
        };
        let enlarges = options.low_res.is_some();
        let given = matches!(options.noise, Noise::Start(_)).then(|| GivenFile::unnamed("noise"));
        let recipe = match request.input.as_deref().map(request::parse::<Recipe>).transpose().map_err(js)? {
            Some(first) => Recipe { stages: first.stages.into_iter().take(1).chain([stage]).collect(), ..first },
            None => Recipe {
                stages: vec![stage],
                precision: self.options.plan.precision,
                input: enlarges.then(|| GivenFile::unnamed("input")),
                noise: given,
                interpolate: None,
                init: init.map(|images| GivenFile::of("init", &images)),
                mask: mask.map(|images| GivenFile::of("mask", &images)),
                fit: request.fit,
                flags: self.flags.clone(),
            },
        };
        let place = |preview| Place {
            recipe: &recipe,
            first_index: request.first_index,
            labels: &request.labels,
            class_names: self.class_names(),
            preview,
        };
        let mut run = session.sample(options).map_err(js)?;
        while let Some(step) = run.step().await.map_err(js)? {
            let due = request.preview_every > 0 && step.done % request.preview_every == 0;
            let previews = match due {
                true => {
                    let images = pictures(
                        &run.preview().await.map_err(js)?,
                        &place(Some((step, process.sigma_at(step.timestep)))),
                    )?;
                    if request.inside {
                        let finds_noise = !self.found.config.diffusion.predict_xstart;
                        add_inside(&images, &run.inside().await.map_err(js)?, finds_noise);
                    }
                    images.into()
                }
                false => JsValue::NULL,
            };
            let continues = on_step.call3(&JsValue::NULL, &step.done.into(), &step.total.into(), &previews)?;
            if !continues.is_truthy() {
                return Ok(JsValue::UNDEFINED);
            }
        }
        let mut images = run.finish().await.map_err(js)?;
        if let Some(edit) = edit {
            edit.restore(&mut images);
        }
        if let (Some(broken), Some(stage)) = (images.first_not_finite(), recipe.stages.last()) {
            let index = request.first_index + broken as u32;
            return Err(js(stage.not_finite(index, self.options.plan.precision, &self.gpu.summary().name)));
        }
        Ok(pictures(&images, &place(None))?.into())
    }

    async fn bits(
        &self,
        session: &mut Session,
        request: &BatchRequest,
        picture: &[u8],
        on_step: &Function,
    ) -> Result<JsValue> {
        let settings = request.settings(self.options.size);
        let pictures = opaque(request.init, picture).map_err(js)?;
        let given = Given { pictures: &pictures, mask: None, fit: request.fit };
        let shape = Shape { n: request.count, ..session.image_shape().map_err(js)? };
        let options = SampleOptions {
            count: request.count,
            labels: request.labels.clone(),
            edit: Some(Edit::new(&given, None, shape, 0).map_err(js)?),
            settings,
            ..SampleOptions::default()
        };
        let all = options.settings.steps.as_ref().map_or(self.found.config.diffusion.diffusion_steps, Respacing::count);
        let mut done = 0;
        let step = || {
            done += 1;
            match on_step.call2(&JsValue::NULL, &done.into(), &all.into()) {
                Ok(continues) if continues.is_truthy() => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        };
        match bits_per_dimension(session, options, step).await {
            Ok(Bits { total, prior, vb, xstart_mse, mse }) => {
                let [vb, xstart_mse, mse] = [vb.first(), xstart_mse.first(), mse.first()];
                let (total, prior) = (total.first(), prior.first());
                let bits = json!({ "total": total, "prior": prior, "vb": vb, "xstartMse": xstart_mse, "mse": mse });
                Ok(bits.to_string().into())
            }
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::Interrupted => Ok(JsValue::UNDEFINED),
            Err(error) => Err(js(error)),
        }
    }

    fn input(&self, session: &Session, count: usize, rgba: &[u8]) -> guided_diffusion::Result<Images> {
        let Ok(port) = session.program().port(ports::LOW_RES) else {
            return Err(Error::Options(format!("{} does not enlarge images; load an upsampler", self.name)));
        };
        Images::from_rgba(count, port.shape.h, port.shape.w, port.shape.c, rgba)
    }
}

/// What comes beside the options of a batch.
struct Arrays {
    input: Option<Vec<u8>>,
    noise: Option<Vec<f32>>,
    init: Option<Vec<u8>>,
    mask: Option<Vec<u8>>,
}

/// A picture without transparent pixels.
fn opaque(size: Option<Picture>, rgba: &[u8]) -> guided_diffusion::Result<Images> {
    let Picture { width, height } = size.unwrap_or_default();
    if rgba.chunks_exact(4).any(|pixel| pixel[3] != 255) {
        return Err(Error::Options(
            "the given picture has transparent pixels; draw it onto a background first, and give what is unknown as a mask"
                .into(),
        ));
    }
    Images::from_rgba(1, height, width, 3, rgba)
}

/// A mask.
fn grey(size: Option<Picture>, bytes: &[u8]) -> guided_diffusion::Result<Images> {
    let Picture { width, height } = size.unwrap_or_default();
    Images::from_u8(1, height, width, 1, bytes)
}

/// The session, put back whatever happens to the call that has it.
struct Borrowed<'a> {
    holder: &'a RefCell<Option<Session>>,
    session: Option<Session>,
}

impl<'a> Borrowed<'a> {
    fn of(holder: &'a RefCell<Option<Session>>) -> Result<Self> {
        let session = holder.borrow_mut().take();
        Ok(Self { holder, session })
    }

    fn get(&mut self) -> Result<&mut Session> {
        let gone = || js(Error::Options("the model was disposed of, or another call is using it".into()));
        self.session.as_mut().ok_or_else(gone)
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            *self.holder.borrow_mut() = Some(session);
        }
    }
}
