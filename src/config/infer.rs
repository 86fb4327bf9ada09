//! A file's configuration: from its metadata, else from the table of public files, else from tensor shapes and flags.
//!
//! Flags override what shapes cannot tell. A flag that contradicts the tensors is an error that names it, and so is
//! the lack of a flag that is needed.

use super::presets::{self, Preset};
use super::shapes::{self, Shapes};
use super::{ModelConfig, Overrides, Role, metadata};
use crate::checkpoint::{Checkpoint, Header};
use crate::error::{Error, Result};

/// Where a configuration came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The file's `adm` metadata.
    Metadata,
    /// The table of public files: the tensors are those of this one.
    PublicFile(&'static str),
    /// Tensor shapes, and flags for the rest.
    Shapes,
}

/// A configuration and how it was found.
#[derive(Debug, Clone)]
pub struct Inferred {
    /// The configuration; valid, and the file's tensors are exactly its parameters.
    pub config: ModelConfig,
    /// Where it came from.
    pub origin: Origin,
    /// The public file whose tensors these are by name and shape, if any: the published guidance scales are known.
    pub public: Option<&'static Preset>,
    /// What was taken from the public scripts' defaults, and flags that changed a known value: one remark each.
    pub remarks: Vec<String>,
}

impl Checkpoint {
    /// The configuration of this file. See [`infer`].
    pub fn config(&self, flags: &Overrides) -> Result<Inferred> {
        infer(self.name(), self.header(), flags)
    }
}

/// Infers the configuration of a file with this header, and checks that the tensors are its parameters.
///
/// A classifier listens to the `classifier_*` flags, and an upsampler to `large_size`, as in the public scripts.
pub fn infer(file: &str, header: &Header, flags: &Overrides) -> Result<Inferred> {
    let public = presets::by_tensors(file, header);
    let mut found = if let Some(json) = header.metadata.get(metadata::KEY) {
        let config = ModelConfig::from_metadata(json).map_err(|e| name_file(file, e))?;
        Inferred { config, origin: Origin::Metadata, public, remarks: Vec::new() }
    } else if let Some(preset) = public {
        Inferred { config: preset.config(), origin: Origin::PublicFile(preset.name), public, remarks: Vec::new() }
    } else {
        let shapes = shapes::read(file, header, flags)?;
        complete(file, shapes, flags)?
    };
    // The tensors first: a file that lost some should say so, whatever the flags are.
    super::check(file, header, &found.config).map_err(|e| name_file(file, e))?;
    contradictions(file, &found.config, flags)?;
    override_size(&mut found, flags);
    override_rest(&mut found, flags)?;
    found.config.validate().map_err(|e| name_file(file, e))?;
    super::check(file, header, &found.config)?;
    Ok(found)
}

/// As [`infer`], of a classifier for `model`: nothing but flags tells the process of a file without metadata, and a
/// classifier is trained for its model's.
///
/// # Errors
/// As [`infer`].
pub fn infer_classifier(file: &str, header: &Header, flags: &Overrides, model: &ModelConfig) -> Result<Inferred> {
    let found = infer(file, header, flags)?;
    if found.origin != Origin::Shapes {
        return Ok(found);
    }
    let process = &model.diffusion;
    let mut flags = flags.clone();
    flags.noise_schedule.get_or_insert(process.noise_schedule);
    flags.diffusion_steps.get_or_insert(process.diffusion_steps);
    infer(file, header, &flags)
}

/// Fills in what shapes do not tell, from flags; one error names all that are lacking.
fn complete(file: &str, shapes: Shapes, flags: &Overrides) -> Result<Inferred> {
    let Shapes { mut config, attention_ds, size_known } = shapes;
    let (mut lacking, mut remarks) = (Vec::new(), Vec::new());
    let (size, size_flag) = size_flag(config.role, flags);
    match size {
        Some(size) if !size_known => {
            let smallest = attention_ds.iter().copied().max().unwrap_or(1);
            if size == 0 || !size.is_multiple_of(smallest) {
                return Err(Error::Config(format!(
                    "{size_flag} {size} is impossible: the network attends at 1/{smallest} of it"
                )));
            }
            config.unet.image_size = size;
            config.unet.attention_resolutions = attention_ds.iter().map(|ds| size / ds).collect();
        }
        None if !size_known => lacking.push(format!("--{size_flag}")),
        _ => {}
    }
    if config.role == Role::Classifier {
        config.unet.num_heads = 4;
        config.unet.num_head_channels = flags.classifier_num_head_channels.unwrap_or(64);
        if flags.classifier_num_head_channels.is_none() {
            remarks.push("classifier_num_head_channels 64, which the public code fixes".into());
        }
    } else {
        if flags.num_heads.is_none() && flags.num_head_channels.is_none_or(|n| n < 1) {
            lacking.push("--num_heads or --num_head_channels".into());
        }
        if flags.noise_schedule.is_none() {
            lacking.push("--noise_schedule".into());
        }
        let defaults = [
            ("use_new_attention_order", flags.use_new_attention_order.is_none(), "False"),
            ("diffusion_steps", flags.diffusion_steps.is_none(), "1000"),
            ("predict_xstart", flags.predict_xstart.is_none(), "False"),
        ];
        let assumed = defaults
            .iter()
            .filter(|d| d.1)
            .map(|(flag, _, value)| format!("{flag} {value}, the public scripts' default"));
        remarks.extend(assumed);
    }
    if !lacking.is_empty() {
        return Err(Error::Config(format!(
            "{file}: it carries no configuration and is none of the public files; tensor shapes do not tell everything, \
             so give {} (names and values as for the public scripts)",
            lacking.join(", ")
        )));
    }
    Ok(Inferred { config, origin: Origin::Shapes, public: None, remarks })
}

/// The image size flag of a role, with its name.
fn size_flag(role: Role, flags: &Overrides) -> (Option<usize>, &'static str) {
    // In a stack, image_size is the base model's.
    if role == Role::Upsampler { (flags.large_size, "large_size") } else { (flags.image_size, "image_size") }
}

/// Refuses flags that the tensors contradict.
fn contradictions(file: &str, config: &ModelConfig, flags: &Overrides) -> Result<()> {
    let c = &config.unet;
    let prefix = if config.role == Role::Classifier { "classifier_" } else { "" };
    let differ = |flag: &str, given: String, have: String| {
        if given == have {
            return Ok(());
        }
        Err(Error::Config(format!(
            "--{flag} {given} contradicts {file}, whose tensors say {have}; leave the flag out, or give the file it is meant for"
        )))
    };
    let number = |flag: &str, given: Option<usize>, have: usize| {
        given.map_or(Ok(()), |g| differ(flag, g.to_string(), have.to_string()))
    };
    let truth =
        |flag: &str, given: Option<bool>, have: bool| given.map_or(Ok(()), |g| differ(flag, python(g), python(have)));
    let (width, depth, norm, updown) = if config.role == Role::Classifier {
        if let Some(pool) = flags.classifier_pool {
            differ("classifier_pool", pool.as_str().into(), c.pool.map_or("none", |p| p.as_str()).into())?;
        }
        let f = flags;
        (f.classifier_width, f.classifier_depth, f.classifier_use_scale_shift_norm, f.classifier_resblock_updown)
    } else {
        truth("class_cond", flags.class_cond, c.num_classes > 0)?;
        truth("learn_sigma", flags.learn_sigma, config.diffusion.learn_sigma)?;
        if let Some(mult) = &flags.channel_mult {
            let widths = |mults: &[f64]| {
                format!("{:?}", mults.iter().map(|m| (m * c.model_channels as f64) as usize).collect::<Vec<_>>())
            };
            if widths(mult) != widths(&c.channel_mult) {
                differ("channel_mult", format!("{mult:?}"), format!("{:?}", c.channel_mult))?;
            }
        }
        (flags.num_channels, flags.num_res_blocks, flags.use_scale_shift_norm, flags.resblock_updown)
    };
    let names =
        if prefix.is_empty() { ["num_channels", "num_res_blocks"] } else { ["classifier_width", "classifier_depth"] };
    number(names[0], width, c.model_channels)?;
    number(names[1], depth, c.num_res_blocks)?;
    truth(&format!("{prefix}use_scale_shift_norm"), norm, c.use_scale_shift_norm)?;
    if c.channel_mult.len() > 1 {
        truth(&format!("{prefix}resblock_updown"), updown, c.resblock_updown)?;
    }
    attention(file, config, flags)
}

/// Attention is compared where it happens: at the factors of the size that the flags speak of.
fn attention(file: &str, config: &ModelConfig, flags: &Overrides) -> Result<()> {
    let c = &config.unet;
    let (flag, given) = if config.role == Role::Classifier {
        ("classifier_attention_resolutions", &flags.classifier_attention_resolutions)
    } else {
        ("attention_resolutions", &flags.attention_resolutions)
    };
    let Some(given) = given else { return Ok(()) };
    let size = size_flag(config.role, flags).0.unwrap_or(c.image_size);
    let factors = |size: usize, list: &[usize]| -> Vec<usize> {
        let at = |ds: usize| list.iter().any(|r| size.checked_div(*r) == Some(ds));
        (0..c.channel_mult.len()).map(|level| 1 << level).filter(|ds| at(*ds)).collect()
    };
    if factors(size, given) == factors(c.image_size, &c.attention_resolutions) {
        return Ok(());
    }
    Err(Error::Config(format!(
        "--{flag} {given:?} contradicts {file}, which attends at {:?} of {} pixels; leave the flag out, or give the file it is meant for",
        c.attention_resolutions, c.image_size
    )))
}

/// Another image size than the file's own: the network is convolutional, so it runs, attending where its blocks do.
fn override_size(found: &mut Inferred, flags: &Overrides) {
    let c = &mut found.config.unet;
    let (Some(size), flag) = size_flag(found.config.role, flags) else { return };
    if size == c.image_size {
        return;
    }
    let factors: Vec<usize> =
        (0..c.channel_mult.len()).map(|level| 1 << level).filter(|ds| c.attention_at(*ds)).collect();
    found.remarks.push(format!("{flag} {size} by flag; the file was made for {}", c.image_size));
    c.image_size = size;
    c.attention_resolutions = factors.iter().map(|ds| size / ds).collect();
}

/// What no shape tells: flags win over metadata and table.
fn override_rest(found: &mut Inferred, flags: &Overrides) -> Result<()> {
    let (before, known) = (found.config.clone(), found.origin != Origin::Shapes);
    let d = &mut found.config.diffusion;
    set(&mut d.diffusion_steps, flags.diffusion_steps);
    set(&mut d.noise_schedule, flags.noise_schedule);
    if found.config.role == Role::Classifier {
        set(&mut found.config.unet.num_head_channels, flags.classifier_num_head_channels);
        return Ok(());
    }
    set(&mut d.predict_xstart, flags.predict_xstart);
    set(&mut d.rescale_timesteps, flags.rescale_timesteps);
    set(&mut d.sigma_small, flags.sigma_small);
    let c = &mut found.config.unet;
    set(&mut c.use_new_attention_order, flags.use_new_attention_order);
    // num_head_channels, where given, beats num_heads; -1 means that it is not given.
    let head_channels = flags.num_head_channels.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    match (head_channels, flags.num_heads) {
        (Some(channels), heads) => {
            c.num_head_channels = channels;
            set(&mut c.num_heads, heads);
        }
        (None, Some(heads)) => {
            c.num_head_channels = 0;
            c.num_heads = heads;
        }
        (None, None) => {}
    }
    if let Some(up) = flags.num_heads_upsample
        && up != -1
        && usize::try_from(up) != Ok(c.num_heads)
    {
        return Err(Error::Config(format!(
            "--num_heads_upsample {up} is not supported: heads are the same on the way up; use -1"
        )));
    }
    if known && before != found.config {
        found
            .remarks
            .push("flags changed the known configuration's heads, attention order or diffusion process".into());
    }
    Ok(())
}

fn set<T>(field: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *field = value;
    }
}

fn python(value: bool) -> String {
    if value { "True".into() } else { "False".into() }
}

fn name_file(file: &str, error: Error) -> Error {
    match error {
        Error::Config(message) => Error::Config(format!("{file}: {message}")),
        other => other,
    }
}
