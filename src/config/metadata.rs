//! The configuration as the `adm` JSON of a file's metadata, in both directions.

use serde::{Deserialize, Serialize};

use super::{DiffusionConfig, ModelConfig, NoiseSchedule, Pool, Role, UNetConfig};
use crate::error::{Error, Result};

/// The metadata key under which files carry their configuration.
pub const KEY: &str = "adm";

/// The JSON's fields. Unknown ones (`dropout`, training notes) are ignored.
#[derive(Serialize, Deserialize)]
struct Adm {
    kind: Role,
    image_size: usize,
    in_channels: usize,
    model_channels: usize,
    out_channels: usize,
    num_res_blocks: usize,
    channel_mult: Vec<f64>,
    attention_resolutions: Vec<usize>,
    #[serde(default)]
    num_classes: usize,
    #[serde(default)]
    num_heads: i64,
    #[serde(default)]
    num_head_channels: i64,
    resblock_updown: bool,
    use_scale_shift_norm: bool,
    #[serde(default)]
    use_new_attention_order: bool,
    #[serde(default)]
    pool: String,
    diffusion_steps: usize,
    noise_schedule: NoiseSchedule,
    #[serde(default)]
    learn_sigma: bool,
    #[serde(default)]
    predict_xstart: bool,
    #[serde(default)]
    rescale_timesteps: bool,
    #[serde(default)]
    sigma_small: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    class_names: Vec<String>,
}

impl ModelConfig {
    /// Reads the `adm` JSON and validates it.
    pub fn from_metadata(json: &str) -> Result<Self> {
        let adm: Adm =
            serde_json::from_str(json).map_err(|e| Error::Config(format!("the file's adm metadata: {e}")))?;
        let pool = if adm.pool.is_empty() { None } else { Some(adm.pool.parse::<Pool>()?) };
        let config = Self {
            role: adm.kind,
            unet: UNetConfig {
                image_size: adm.image_size,
                in_channels: adm.in_channels,
                model_channels: adm.model_channels,
                out_channels: adm.out_channels,
                num_res_blocks: adm.num_res_blocks,
                channel_mult: adm.channel_mult,
                attention_resolutions: adm.attention_resolutions,
                num_classes: adm.num_classes,
                // The public scripts write -1 for "not given".
                num_heads: usize::try_from(adm.num_heads).unwrap_or(0),
                num_head_channels: usize::try_from(adm.num_head_channels).unwrap_or(0),
                resblock_updown: adm.resblock_updown,
                use_scale_shift_norm: adm.use_scale_shift_norm,
                use_new_attention_order: adm.use_new_attention_order,
                pool,
            },
            diffusion: DiffusionConfig {
                diffusion_steps: adm.diffusion_steps,
                noise_schedule: adm.noise_schedule,
                learn_sigma: adm.learn_sigma,
                predict_xstart: adm.predict_xstart,
                rescale_timesteps: adm.rescale_timesteps,
                sigma_small: adm.sigma_small,
            },
            class_names: adm.class_names,
        };
        config.validate()?;
        Ok(config)
    }

    /// The configuration as `adm` JSON, for a file's metadata.
    pub fn to_metadata(&self) -> Result<String> {
        let (c, d) = (&self.unet, &self.diffusion);
        let adm = Adm {
            kind: self.role,
            image_size: c.image_size,
            in_channels: c.in_channels,
            model_channels: c.model_channels,
            out_channels: c.out_channels,
            num_res_blocks: c.num_res_blocks,
            channel_mult: c.channel_mult.clone(),
            attention_resolutions: c.attention_resolutions.clone(),
            num_classes: c.num_classes,
            num_heads: c.num_heads as i64,
            num_head_channels: c.num_head_channels as i64,
            resblock_updown: c.resblock_updown,
            use_scale_shift_norm: c.use_scale_shift_norm,
            use_new_attention_order: c.use_new_attention_order,
            pool: c.pool.map_or("", Pool::as_str).to_owned(),
            diffusion_steps: d.diffusion_steps,
            noise_schedule: d.noise_schedule,
            learn_sigma: d.learn_sigma,
            predict_xstart: d.predict_xstart,
            rescale_timesteps: d.rescale_timesteps,
            sigma_small: d.sigma_small,
            class_names: self.class_names.clone(),
        };
        serde_json::to_string(&adm).map_err(|e| Error::Config(format!("it cannot be written as JSON: {e}")))
    }
}
