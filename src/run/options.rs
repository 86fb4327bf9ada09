//! What a run is asked for, and whether the session can do it.

use std::fmt;

use crate::error::{Error, Result};
use crate::image::Images;
use crate::model::sampling::ports;
use crate::sampler::{Edit, Facts, Sampler, Settings};
use crate::session::Session;
use crate::tensor::Shape;

/// Given draws: `None` asks for the first x, `Some(draw)` for the noise of a later draw (counting down to 1); NCHW.
pub type Draws = Box<dyn FnMut(Option<u32>) -> Result<Vec<f32>> + Send>;

/// Where a run's noise comes from.
#[derive(Default)]
pub enum Noise {
    /// Philox, keyed by the seed, the sample's index and the draw.
    #[default]
    Philox,
    /// The first x is given (N, C, H, W); later noise is Philox's.
    Start(Vec<f32>),
    /// Every draw is given.
    Given(Draws),
}

impl fmt::Debug for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Philox => "Philox",
            Self::Start(_) => "Start",
            Self::Given(_) => "Given",
        })
    }
}

/// What to sample, and how.
#[derive(Debug)]
pub struct SampleOptions {
    /// How.
    pub settings: Settings,
    /// Images wanted, 1 to the session's batch; the rest of the batch is computed and dropped.
    pub count: usize,
    /// The class of each image; empty for an unconditional model.
    pub labels: Vec<u32>,
    /// Index of the first image in the whole run: image k is the same whatever batch or shard computes it.
    pub first_index: u32,
    /// Where noise comes from.
    pub noise: Noise,
    /// An upsampler's input, as many images as `count`.
    pub low_res: Option<Images>,
    /// What an edit, image to image or inversion starts from.
    pub edit: Option<Edit>,
}

impl Default for SampleOptions {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            count: 1,
            labels: Vec::new(),
            first_index: 0,
            noise: Noise::Philox,
            low_res: None,
            edit: None,
        }
    }
}

impl SampleOptions {
    /// Refuses what `session`, whose images have `shape`, cannot do. Returns the settings with every default filled in.
    pub(super) fn check(&self, session: &Session, shape: Shape) -> Result<Settings> {
        let (count, batch) = (self.count, session.batch());
        if count == 0 || count > batch {
            return Err(Error::Options(format!("{count} images asked for; this session makes 1 to {batch} at once")));
        }
        if u32::try_from(count).ok().and_then(|count| self.first_index.checked_add(count)).is_none() {
            return Err(Error::Options(format!("image index {} is too large", self.first_index)));
        }
        check_labels(session, self)?;
        if let Noise::Start(values) = &self.noise {
            check_noise(values, Shape { n: count, ..shape })?;
        }
        let own = session.config().unet.image_size;
        let mut asked = self.settings.clone();
        match asked.size {
            Some([width, height]) if [width, height] != [shape.w, shape.h] => {
                return Err(Error::Options(format!(
                    "size {width}x{height}: the model was loaded for images of {}x{}; to make others, load it with another size",
                    shape.w, shape.h
                )));
            }
            None if [shape.w, shape.h] != [own; 2] => asked.size = Some([shape.w, shape.h]),
            _ => {}
        }
        // The data decide what is known.
        asked.edit = self.edit.as_ref().and_then(Edit::degradation).or(asked.edit);
        let settings = asked.resolve(&Facts::new(session.config(), session.is_guided()))?;
        check_edit(&settings, self.edit.as_ref(), Shape { n: count, ..shape })?;
        check_low_res(session, self)?;
        Ok(settings)
    }
}

fn check_labels(session: &Session, options: &SampleOptions) -> Result<()> {
    let classes = session.classes();
    if classes == 0 {
        return if options.labels.is_empty() {
            Ok(())
        } else {
            Err(Error::Options("this model is unconditional; it takes no classes".into()))
        };
    }
    if options.labels.len() != options.count {
        let (given, wanted) = (options.labels.len(), options.count);
        return Err(Error::Options(format!("{given} classes given for {wanted} images")));
    }
    match options.labels.iter().find(|label| **label as usize >= classes) {
        Some(label) => Err(Error::Options(format!("class {label}: this model has classes 0 to {}", classes - 1))),
        None => Ok(()),
    }
}

/// Some settings need an edit's image, and others leave it without a use.
fn check_edit(settings: &Settings, edit: Option<&Edit>, shape: Shape) -> Result<()> {
    let sampler = settings.sampler.map_or("", Sampler::name);
    let option = |name| settings.sampler.is_some_and(|sampler| sampler.takes(name));
    let needs = settings.strength.is_some() || settings.edit.is_some() || option("edit") || option("whole");
    let takes = needs || option("optional_edit");
    match edit {
        None if needs => Err(Error::Options(format!(
            "{} needs a given image",
            match (settings.strength, settings.edit) {
                (Some(_), _) => "a strength".into(),
                (None, Some(_)) if option("optional_edit") => "an edit".into(),
                _ => format!("sampler {sampler}"),
            }
        ))),
        Some(_) if !takes => Err(Error::Options(format!(
            "sampler {sampler} uses a given image only with a strength; give one (0 to 1), or use repaint or ddnm"
        ))),
        Some(_) if option("optional_edit") && settings.edit.is_none() => Err(Error::Options(
            "all of the given image is known, so that nothing is left to make; give a mask, colourise or upscale"
                .into(),
        )),
        Some(edit) => edit.check(shape),
        None => Ok(()),
    }
}

pub(super) fn check_noise(values: &[f32], shape: Shape) -> Result<()> {
    if values.len() == shape.elements() {
        return Ok(());
    }
    Err(Error::Options(format!(
        "the noise has {} values; {} ({} x {} x {} x {}) are needed",
        values.len(),
        shape.elements(),
        shape.n,
        shape.c,
        shape.h,
        shape.w
    )))
}

fn check_low_res(session: &Session, options: &SampleOptions) -> Result<()> {
    let port = session.program().plan().port(ports::LOW_RES);
    match (port, &options.low_res) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(Error::Options("this model takes no low-resolution images".into())),
        (Some(port), given) => {
            let s = port.shape;
            let fits = |i: &Images| [i.count(), i.height(), i.width(), i.channels()] == [options.count, s.h, s.w, s.c];
            if given.as_ref().is_some_and(fits) {
                return Ok(());
            }
            Err(Error::Options(format!(
                "an upsampler needs {} low-resolution images of {}x{} with {} channels",
                options.count, s.w, s.h, s.c
            )))
        }
    }
}
