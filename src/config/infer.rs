//! A file's configuration: from its metadata, else from the table of public files, else from tensor shapes and flags.
//!
//! Flags override what shapes do not show. A flag that contradicts the tensors is an error that names it, and so is
//! the lack of a flag that is needed.

use super::presets::{self, Preset};
use super::shapes::{self, Shapes};
use super::{DiffusionConfig, Flags, ModelConfig, ProcessKind, Role, metadata};
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
    pub fn config(&self, flags: &Flags) -> Result<Inferred> {
        infer(self.name(), self.header(), flags)
    }
}

/// Infers the configuration of a file with this header, and checks that the tensors are its parameters.
///
/// A classifier's flags are `classifier_*`, and an upsampler's size is `large_size`, as in the public scripts.
pub fn infer(file: &str, header: &Header, flags: &Flags) -> Result<Inferred> {
    let public = presets::by_tensors(file, header);
    let named = public.is_some() && presets::by_name(file) == public;
    let certain = named || public.is_some_and(|preset| preset.process() == ProcessKind::Discrete);
    let mut found = if let Some(json) = header.metadata.get(metadata::KEY) {
        let config = ModelConfig::from_metadata(json).map_err(|e| name_file(file, e))?;
        Inferred { config, origin: Origin::Metadata, public: public.filter(|_| certain), remarks: Vec::new() }
    } else if let Some(preset) = public {
        // EDM's files and consistency models have the same tensors: the published name decides, or the flag.
        if preset.process() != ProcessKind::Discrete && !named && flags.process.is_none() {
            return Err(Error::Config(format!(
                "{file}: EDM's files and consistency models have these tensors alike; give the file its published name (such \
                 as {}), or say --process edm or --process consistency",
                preset.name
            )));
        }
        let public = public.filter(|_| certain);
        Inferred { config: preset.config(), origin: Origin::PublicFile(preset.name), public, remarks: Vec::new() }
    } else {
        let shapes = shapes::read(file, header, flags)?;
        complete(file, shapes, flags)?
    };
    // The tensors first: a file that lost some should say so, whatever the flags are.
    super::check(file, header, &found.config).map_err(|e| name_file(file, e))?;
    flags.agree(file, &of_tensors(&found.config, flags))?;
    override_size(&mut found, flags);
    override_rest(&mut found, flags)?;
    found.config.validate().map_err(|e| name_file(file, e))?;
    super::check(file, header, &found.config)?;
    Ok(found)
}

/// As [`infer`], of a classifier for `model`: only flags give the process of a file without metadata, and a
/// classifier is trained for its model's.
///
/// # Errors
/// As [`infer`].
pub fn infer_classifier(file: &str, header: &Header, flags: &Flags, model: &ModelConfig) -> Result<Inferred> {
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

/// Fills in what shapes do not show, from flags; one error names all that are lacking.
fn complete(file: &str, shapes: Shapes, flags: &Flags) -> Result<Inferred> {
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
        let process = flags.process.unwrap_or_default();
        if process != ProcessKind::Discrete {
            config.diffusion = DiffusionConfig::of_noise_levels(process);
        } else if config.unet.attention_conv2d {
            lacking.push("--process edm or --process consistency".into());
        } else if flags.noise_schedule.is_none() {
            lacking.push("--noise_schedule".into());
        }
        // The consistency models' code splits heads in the new order, whatever the flag says.
        config.unet.use_new_attention_order = config.unet.attention_conv2d;
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
            "{file}: it carries no configuration and is not a known public file; tensor shapes do not show everything, \
             so give {} (names and values as for the public scripts)",
            lacking.join(", ")
        )));
    }
    Ok(Inferred { config, origin: Origin::Shapes, public: None, remarks })
}

/// The image size flag of a role, with its name.
fn size_flag(role: Role, flags: &Flags) -> (Option<usize>, &'static str) {
    // In a stack, image_size is the base model's.
    if role == Role::Upsampler { (flags.large_size, "large_size") } else { (flags.image_size, "image_size") }
}

/// The flags as the tensors have them. Where a flag says the same in other words, it is left out.
fn of_tensors(config: &ModelConfig, flags: &Flags) -> Flags {
    let c = &config.unet;
    // A single level has nothing that resamples.
    let resblock_updown = (c.channel_mult.len() > 1).then_some(c.resblock_updown);
    if config.role == Role::Classifier {
        return Flags {
            classifier_width: Some(c.model_channels),
            classifier_depth: Some(c.num_res_blocks),
            classifier_attention_resolutions: attention(config, flags, &flags.classifier_attention_resolutions),
            classifier_use_scale_shift_norm: Some(c.use_scale_shift_norm),
            classifier_resblock_updown: resblock_updown,
            classifier_pool: c.pool,
            ..Flags::default()
        };
    }
    let widths = |mults: &[f64]| mults.iter().map(|m| (m * c.model_channels as f64) as usize).collect::<Vec<_>>();
    let same_widths = flags.channel_mult.as_deref().is_some_and(|given| widths(given) == widths(&c.channel_mult));
    Flags {
        num_channels: Some(c.model_channels),
        num_res_blocks: Some(c.num_res_blocks),
        channel_mult: (!same_widths).then(|| c.channel_mult.clone()),
        attention_resolutions: attention(config, flags, &flags.attention_resolutions),
        class_cond: Some(c.num_classes > 0),
        use_scale_shift_norm: Some(c.use_scale_shift_norm),
        resblock_updown,
        learn_sigma: Some(config.diffusion.learn_sigma),
        ..Flags::default()
    }
}

/// Attention is compared where it happens: at the factors of the size that the flags speak of.
fn attention(config: &ModelConfig, flags: &Flags, given: &Option<Vec<usize>>) -> Option<Vec<usize>> {
    let c = &config.unet;
    let size = size_flag(config.role, flags).0.unwrap_or(c.image_size);
    let levels = || (0..c.channel_mult.len()).map(|level| 1 << level);
    let factors: Vec<usize> = levels().filter(|&ds| c.attention_at(ds)).collect();
    let at = |list: &[usize], ds: usize| list.iter().any(|r| size.checked_div(*r) == Some(ds));
    let same = given.as_deref().is_some_and(|given| levels().filter(|&ds| at(given, ds)).eq(factors.iter().copied()));
    (!same).then(|| factors.iter().map(|ds| size / ds).collect())
}

/// Another image size than the file's own: the network is convolutional, so it runs, attending where its blocks do.
fn override_size(found: &mut Inferred, flags: &Flags) {
    let config = &mut found.config;
    if config.role == Role::Upsampler && flags.small_size.is_some() {
        config.small_size = flags.small_size;
    }
    let c = &mut config.unet;
    let (Some(size), flag) = size_flag(config.role, flags) else { return };
    if size == c.image_size {
        return;
    }
    if flags.small_size.is_none() {
        // The factor stays.
        config.small_size = config.small_size.map(|small| size / (c.image_size / small.max(1)).max(1));
    }
    let factors: Vec<usize> =
        (0..c.channel_mult.len()).map(|level| 1 << level).filter(|ds| c.attention_at(*ds)).collect();
    found.remarks.push(format!("{flag} {size} by flag; the file was made for {}", c.image_size));
    c.image_size = size;
    c.attention_resolutions = factors.iter().map(|ds| size / ds).collect();
}

/// What shapes do not show: flags win over metadata and table.
fn override_rest(found: &mut Inferred, flags: &Flags) -> Result<()> {
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
    set(&mut d.process, flags.process);
    let c = &mut found.config.unet;
    set(&mut c.use_new_attention_order, flags.use_new_attention_order.filter(|_| !c.attention_conv2d));
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
            "--num_heads_upsample {up} is not supported: the decoder's heads are the encoder's; use -1"
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

fn name_file(file: &str, error: Error) -> Error {
    match error {
        Error::Config(message) => Error::Config(format!("{file}: {message}")),
        other => other,
    }
}
