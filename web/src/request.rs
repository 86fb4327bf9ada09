//! What JavaScript asks for, and what that means for a model: the package's options as JSON.

use guided_diffusion::checkpoint::{DType, Header};
use guided_diffusion::config::Inferred;
use guided_diffusion::device::Precision;
use guided_diffusion::recipe::StageRecipe;
use guided_diffusion::resize::Fit;
use guided_diffusion::sampler::{Facts, Settings};
use guided_diffusion::{Error, Result};
use serde::Deserialize;

/// How a model is loaded: the package's `LoadOptions` without the files.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadRequest {
    /// Images at once.
    pub batch: Option<usize>,
    /// What it is computed in; as the file stores its weights without one.
    pub precision: Option<Precision>,
    /// An upsampler's input.
    pub low_resolution: Option<usize>,
    /// Width and height of the images, where they are not the model's own.
    pub size: Option<[usize; 2]>,
    /// The public scripts' flags.
    pub flags: Option<String>,
}

/// A picture whose pixels come beside the options.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Picture {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// One batch of a run.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchRequest {
    /// How to sample.
    pub settings: Settings,
    /// Images of this batch.
    pub count: usize,
    /// Index of the first one in the run.
    pub first_index: u32,
    /// Their classes, or empty.
    pub labels: Vec<u32>,
    /// Steps between previews; 0 for none.
    pub preview_every: usize,
    /// The picture that is varied, edited or inverted.
    pub init: Option<Picture>,
    /// Its mask.
    pub mask: Option<Picture>,
    /// How a picture of another size is brought to the model's.
    pub fit: Option<Fit>,
    /// Whether previews carry what the step worked with.
    pub inside: bool,
    /// An upsampler's input: the recipe of the images as JSON, where it is known.
    pub input: Option<String>,
}

impl BatchRequest {
    /// The settings with what the model and the pictures say: the size, [height, width], and that there is a mask.
    pub fn settings(&self, size: Option<[usize; 2]>) -> Settings {
        let mut settings = self.settings.clone();
        settings.size = size.map(|[height, width]| [width, height]).or(settings.size);
        if self.mask.is_some() {
            settings.edit.get_or_insert_default().mask = true;
        }
        // What is padded is made, as what a mask leaves out.
        if let Some(edit) = settings.edit.as_mut().filter(|_| self.fit == Some(Fit::Pad)) {
            edit.mask = true;
        }
        settings
    }
}

/// Reads JSON of the package's own making, which is one line.
///
/// # Errors
/// [`Error::Options`] for a value that is not of the option's type or not among its words.
pub fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T> {
    serde_json::from_str(json).map_err(|e| {
        let error = e.to_string();
        let reason = error.split(" at line ").next().unwrap_or_default();
        // The option is the last name before the place where reading ended.
        let before = json.get(..e.column()).unwrap_or(json);
        let name = before.rsplit("\":").nth(1).and_then(|text| text.rsplit('"').next()).unwrap_or("options");
        Error::Options(if reason.starts_with(name) { reason.into() } else { format!("{name}: {reason}") })
    })
}

/// What a file is computed in where nothing is asked for: as it stores its weights.
pub fn stored_precision(header: &Header) -> Precision {
    // Vectors are kept in float32 anyway.
    let f16 = header.tensors.values().all(|t| t.shape.len() < 2 || t.dtype == DType::F16);
    if f16 { Precision::F16Weights } else { Precision::F32 }
}

/// What `settings` mean for a model, as its images will say.
///
/// # Errors
/// [`guided_diffusion::Error::Options`] for what this model cannot do.
pub fn stage(settings: &Settings, name: &str, found: &Inferred, classifier: Option<&str>) -> Result<StageRecipe> {
    let public = found.public.map(|file| file.name);
    let facts = Facts { config: &found.config, guided: classifier.is_some(), public };
    let settings = settings.resolve(&facts)?;
    Ok(StageRecipe { model: name.into(), built_in: false, settings, classifier: classifier.map(Into::into) })
}
