//! What JavaScript asks for, and what that means for a model: the package's options as JSON, with their defaults.

use guided_diffusion::checkpoint::{DType, Header};
use guided_diffusion::config::{Inferred, presets};
use guided_diffusion::device::Precision;
use guided_diffusion::recipe::{Guidance, StageRecipe};
use guided_diffusion::sampler::{Method, Respacing, Schedule};
use guided_diffusion::{Error, Result};
use serde::Deserialize;

/// How a model is loaded: the package's `LoadOptions` without the files.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadRequest {
    /// Images at once.
    pub batch: Option<usize>,
    /// `f32`, `f16-weights` or `f16`.
    pub precision: Option<String>,
    /// An upsampler's input.
    pub low_resolution: Option<usize>,
    /// The public scripts' flags.
    pub flags: Option<String>,
}

/// One batch of a run: the package's `SampleOptions`, with indices.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchRequest {
    /// Images of this batch.
    pub count: usize,
    /// Index of the first one in the run.
    pub first_index: u32,
    /// Their classes, or empty.
    pub labels: Vec<u32>,
    /// `ddim` or `ancestral`.
    pub sampler: Option<String>,
    /// A respacing.
    pub steps: Option<String>,
    /// DDIM's eta.
    pub eta: Option<f64>,
    /// The classifier's scale.
    pub guidance: Option<f64>,
    /// Timesteps that are guided.
    pub guidance_interval: Option<(u32, u32)>,
    /// In decimal digits, since JavaScript's numbers do not hold it.
    pub seed: String,
    /// Steps between previews; 0 for none.
    pub preview_every: usize,
    /// An upsampler's input: the recipe of the images as JSON, where it is known.
    pub input: Option<String>,
}

/// Reads JSON of the package's own making.
///
/// # Errors
/// [`Error::Options`] for a value of the wrong type, which only a caller without types can give.
pub fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T> {
    serde_json::from_str(json).map_err(|e| Error::Options(format!("options: {e}")))
}

/// The precision that was asked for, else what the file stores.
///
/// # Errors
/// [`Error::Options`] for an unknown one.
pub fn precision(asked: Option<&str>, header: &Header) -> Result<Precision> {
    match asked {
        Some("f32") => Ok(Precision::F32),
        Some("f16-weights") => Ok(Precision::F16Weights),
        Some("f16") => Ok(Precision::F16),
        Some(other) => Err(Error::Options(format!("precision {other:?} is unknown; use f32, f16-weights or f16"))),
        // Vectors are kept in float32 anyway.
        None if header.tensors.values().all(|t| t.shape.len() < 2 || t.dtype == DType::F16) => {
            Ok(Precision::F16Weights)
        }
        None => Ok(Precision::F32),
    }
}

/// What `request` means for a model, as its images will tell.
///
/// # Errors
/// [`Error::Options`] for what this model cannot do.
pub fn stage(request: &BatchRequest, name: &str, found: &Inferred, classifier: Option<&str>) -> Result<StageRecipe> {
    let all = found.config.diffusion.diffusion_steps;
    let ddim = match request.sampler.as_deref() {
        None | Some("ddim") => true,
        Some("ancestral") => false,
        Some(other) => return Err(Error::Options(format!("sampler {other:?} is unknown; use ddim or ancestral"))),
    };
    let method = match (ddim, request.eta) {
        (true, eta) => Method::Ddim { eta: eta.unwrap_or(0.0) },
        (false, None) => Method::Ancestral,
        (false, Some(_)) => return Err(Error::Options("eta belongs to the DDIM sampler; use sampler ddim".into())),
    };
    let respacing = match &request.steps {
        Some(spec) => spec.parse()?,
        None if ddim => Respacing::Ddim(25),
        None => Respacing::Sections(vec![all.min(250)]),
    };
    let steps = Schedule::new(&found.config.diffusion, &respacing)?.len();
    let guidance = match classifier {
        None if request.guidance.is_some() || request.guidance_interval.is_some() => {
            return Err(Error::Options("guidance needs a classifier; load the model with one".into()));
        }
        None => None,
        Some(classifier) => {
            let published = || found.public.and_then(|file| presets::guidance_scale(file.name, ddim, steps));
            let interval = match request.guidance_interval {
                None => None,
                Some((low, high)) if low <= high && (low as usize) < all => Some(low..=high),
                Some((low, high)) => {
                    return Err(Error::Options(format!(
                        "guidance interval {low} to {high}: give two timesteps of 0 to {}, the lower first",
                        all.saturating_sub(1)
                    )));
                }
            };
            let scale = request.guidance.or_else(published).unwrap_or(1.0);
            Some(Guidance { classifier: classifier.into(), scale, interval })
        }
    };
    let seed = request.seed.parse().map_err(|_| {
        let shown: String = request.seed.chars().take(40).collect();
        Error::Options(format!("seed {shown:?}: give a whole number from 0 to {}", u64::MAX))
    })?;
    Ok(StageRecipe { model: name.into(), built_in: false, method, respacing, seed, clip: true, guidance })
}
