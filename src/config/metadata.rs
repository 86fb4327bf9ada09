//! The configuration as the `adm` JSON of a file's metadata, in both directions: one object with the fields of [`UNetConfig`]
//! and [`DiffusionConfig`], the kind, the class names and the searched time grids.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{DiffusionConfig, FewStep, ModelConfig, Role, TimeGrids, UNetConfig};
use crate::error::{Error, Result};

/// The metadata key under which files carry their configuration.
pub const KEY: &str = "adm";

/// The fields that belong to neither network nor process.
#[derive(Deserialize)]
struct Head {
    kind: Role,
    #[serde(default)]
    class_names: Vec<String>,
    #[serde(default)]
    null_class: Option<u32>,
    #[serde(default)]
    small_size: Option<usize>,
    #[serde(default)]
    few_step: Option<FewStep>,
    #[serde(default)]
    grids: TimeGrids,
}

#[derive(Serialize)]
struct Adm<'a> {
    kind: Role,
    #[serde(flatten)]
    unet: &'a UNetConfig,
    #[serde(flatten)]
    diffusion: &'a DiffusionConfig,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    class_names: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    null_class: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    small_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    few_step: Option<&'a FewStep>,
    #[serde(skip_serializing_if = "TimeGrids::is_empty")]
    grids: &'a TimeGrids,
}

impl ModelConfig {
    /// Reads the `adm` JSON and validates it. Unknown fields (`dropout`, training notes) are ignored.
    pub fn from_metadata(json: &str) -> Result<Self> {
        // Parsed once for each part, which ignores the others' fields: a struct that flattens them would buffer every value.
        fn part<T: DeserializeOwned>(json: &str) -> Result<T> {
            serde_json::from_str(json).map_err(|e| Error::Config(format!("the file's adm metadata: {e}")))
        }
        let Head { kind: role, class_names, grids, null_class, small_size, few_step } = part(json)?;
        let (unet, diffusion) = (part(json)?, part(json)?);
        let config = Self { role, unet, diffusion, class_names, grids, null_class, small_size, few_step };
        config.validate()?;
        Ok(config)
    }

    /// The configuration as `adm` JSON, for a file's metadata.
    pub fn to_metadata(&self) -> Result<String> {
        let Self { role, unet, diffusion, class_names, grids, null_class, small_size, few_step } = self;
        let (kind, null_class, small_size, few_step) = (*role, *null_class, *small_size, few_step.as_ref());
        serde_json::to_string(&Adm { kind, unet, diffusion, class_names, grids, null_class, small_size, few_step })
            .map_err(|e| Error::Config(format!("it cannot be written as JSON: {e}")))
    }
}

/// A count; the public scripts write -1 for "not given".
pub(super) fn count<'de, D: serde::Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    i64::deserialize(from).map(|n| usize::try_from(n).unwrap_or(0))
}

/// Values that most files have are not written, so that their metadata stay as they are.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A classifier's head; an empty word for networks without one.
pub(super) mod pool {
    use super::super::Pool;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(pool: &Option<Pool>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(pool.map_or("", Pool::as_str))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Pool>, D::Error> {
        let word = String::deserialize(from)?;
        if word.is_empty() { Ok(None) } else { word.parse().map(Some).map_err(D::Error::custom) }
    }
}
