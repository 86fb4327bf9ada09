//! What the tensors' names and shapes show of a network: everything but the image size, the heads, the order of
//! qkv's rows and the diffusion process.

use super::parameters::{list, mismatches};
use super::{DiffusionConfig, Flags, ModelConfig, NoiseSchedule, Pool, Role, UNetConfig};
use crate::checkpoint::Header;
use crate::error::{Error, Result};
use crate::order::{pair, sort_by_number};

/// A configuration as far as shapes show it.
pub(super) struct Shapes {
    /// The rest is filled with placeholders: heads of 32 channels, a schedule.
    pub config: ModelConfig,
    /// Factors by which images are smaller where attention is applied.
    pub attention_ds: Vec<usize>,
    /// The image size is a classifier's own (its attention pooling holds a position for every pixel).
    pub size_known: bool,
}

/// Reads a header; flags only decide between readings that the shapes leave open.
pub(super) fn read(file: &str, header: &Header, flags: &Flags) -> Result<Shapes> {
    let h = Names { file, header };
    let [_, model_channels] = h.need("time_embed.0.weight")?;
    let [_, in_channels, _, _] = h.need("input_blocks.0.0.weight")?;
    let blocks = (0usize..).take_while(|i| h.has_any(&format!("input_blocks.{i}."))).count();
    let is_unet = h.has_any("output_blocks.0.");
    let (pool, out_channels) = if is_unet { (None, h.need::<4>("out.2.weight")?[0]) } else { h.head()? };
    let (role, learn_sigma) = if is_unet { kind(in_channels, out_channels, flags)? } else { (Role::Classifier, true) };
    let wanted = if is_unet { flags.num_res_blocks } else { flags.classifier_depth };

    // Blocks of the input: levels * (num_res_blocks + 1). Try every factorization; the tensors decide.
    let (mut best, mut refused): (Vec<(usize, Shapes)>, Option<Error>) = (Vec::new(), None);
    for num_res_blocks in (1..blocks).filter(|n| blocks % (n + 1) == 0) {
        let levels = blocks / (num_res_blocks + 1);
        let Some(unet) = h.network(levels, num_res_blocks, model_channels) else { continue };
        let (c, attention_ds, side) = unet;
        let unet = UNetConfig {
            in_channels,
            out_channels,
            num_classes: h.dims("label_emb.weight").and_then(|d| d.first()).copied().unwrap_or(0),
            // A placeholder that divides every valid width.
            num_head_channels: 32,
            pool,
            ..c
        };
        let diffusion = DiffusionConfig { learn_sigma, ..DiffusionConfig::new(1000, NoiseSchedule::Linear) };
        let config = ModelConfig::new(role, unet, diffusion);
        // A hostile header may describe what nothing could hold: check before listing its parameters.
        if let Err(e) = config.validate() {
            refused.get_or_insert(e);
            continue;
        }
        let wrong = mismatches(header, &list(&config)).len();
        best.push((wrong, Shapes { config, attention_ds, size_known: side.is_some() }));
    }
    sort_by_number(&mut best, |(wrong, shapes)| {
        pair(*wrong as u64, u64::from(Some(shapes.config.unet.num_res_blocks) != wanted))
    });
    let fits: Vec<_> = best.iter().filter(|b| b.0 == 0).map(|b| b.1.config.unet.num_res_blocks).collect();
    if fits.len() > 1 && !wanted.is_some_and(|w| fits.contains(&w)) {
        let flag = if is_unet { "num_res_blocks" } else { "classifier_depth" };
        return Err(Error::Config(format!("{file}: the tensors fit --{flag} {fits:?} alike; give the flag")));
    }
    match best.into_iter().next() {
        Some((_, shapes)) => Ok(shapes),
        None => {
            Err(refused
                .unwrap_or_else(|| h.foreign("its input_blocks are not arranged as in any network of this family")))
        }
    }
}

/// Diffusion model or upsampler, and whether sigma is learned: known by the channels, almost always.
fn kind(inputs: usize, outputs: usize, flags: &Flags) -> Result<(Role, bool)> {
    let asked = flags.large_size.is_some() || flags.small_size.is_some();
    if outputs.checked_div(2) == Some(inputs) && outputs.is_multiple_of(2) {
        return Ok((Role::Diffusion, true));
    }
    if inputs == outputs {
        // Six channels are a 3-channel upsampler with learned sigma, or a 6-channel image without; two likewise.
        let upsampler =
            inputs.is_multiple_of(2) && (asked || matches!(inputs, 2 | 6)) && flags.learn_sigma != Some(false);
        return Ok(if upsampler { (Role::Upsampler, true) } else { (Role::Diffusion, false) });
    }
    if inputs.is_multiple_of(2) && inputs / 2 == outputs {
        return Ok((Role::Upsampler, false));
    }
    Err(Error::Config(format!(
        "{inputs} input and {outputs} output channels are neither a diffusion model's nor an upsampler's"
    )))
}

/// A header with the questions that are asked of it.
struct Names<'a> {
    file: &'a str,
    header: &'a Header,
}

impl Names<'_> {
    fn dims(&self, name: &str) -> Option<&[usize]> {
        self.header.tensors.get(name).map(|info| info.shape.as_slice())
    }

    /// Whether any tensor's name starts so.
    fn has_any(&self, prefix: &str) -> bool {
        self.header.tensors.range(prefix.to_owned()..).next().is_some_and(|(name, _)| name.starts_with(prefix))
    }

    fn need<const N: usize>(&self, name: &str) -> Result<[usize; N]> {
        let Some(shape) = self.dims(name) else {
            return Err(self.foreign(&format!("it holds no tensor {name}")));
        };
        <[usize; N]>::try_from(shape)
            .map_err(|_| self.foreign(&format!("{name} has shape {shape:?}, not {N} dimensions")))
    }

    fn foreign(&self, why: &str) -> Error {
        let names: Vec<_> =
            self.header.tensors.keys().take(3).map(|n| format!("{:?}", n.escape_debug().to_string())).collect();
        let reason = format!("it is not a guided-diffusion network: {why} (its first tensors: {})", names.join(", "));
        Error::Checkpoint { file: self.file.into(), reason }
    }

    /// A classifier's pool and number of classes.
    fn head(&self) -> Result<(Option<Pool>, usize)> {
        if self.has_any("out.2.positional_embedding") {
            return Ok((Some(Pool::Attention), self.need::<3>("out.2.c_proj.weight")?[0]));
        }
        let first = |d: &[usize]| d.first().copied().unwrap_or(0);
        match (self.dims("out.2.weight"), self.dims("out.3.weight")) {
            (None, Some(d)) if d.len() == 4 => Ok((Some(Pool::Adaptive), first(d))),
            (None, Some(d)) if d.len() == 2 => Ok((Some(Pool::SpatialV2), first(d))),
            (Some(d), None) if d.len() == 2 => Ok((Some(Pool::Spatial), first(d))),
            _ => Err(self.foreign("it has neither output_blocks nor a classifier's head (out.2, out.3)")),
        }
    }

    /// The network under one arrangement of its blocks; with the factors where it attends, and the side of an
    /// attention pool. `None` where a block is missing.
    fn network(
        &self,
        levels: usize,
        num_res_blocks: usize,
        model_channels: usize,
    ) -> Option<(UNetConfig, Vec<usize>, Option<usize>)> {
        if levels > 12 || model_channels == 0 {
            return None;
        }
        let (mut channel_mult, mut ds) = (Vec::new(), Vec::new());
        for level in 0..levels {
            let block = 1 + level * (num_res_blocks + 1);
            let width = *self.dims(&format!("input_blocks.{block}.0.out_layers.0.weight"))?.first()?;
            channel_mult.push(multiplier(width, model_channels));
            if self.has_any(&format!("input_blocks.{block}.1.")) {
                ds.push(1 << level);
            }
        }
        let [rows, ..] = self.dims("input_blocks.1.0.emb_layers.1.weight")? else { return None };
        let [width, ..] = self.dims("input_blocks.1.0.out_layers.0.weight")? else { return None };
        let side = self.dims("out.2.positional_embedding").and_then(|d| d.get(1)?.checked_sub(1)).map(usize::isqrt);
        // Without a known size, the smallest that can be downsampled often enough stands in.
        let image_size = side.unwrap_or(1).checked_mul(1 << (levels - 1))?;
        let unet = UNetConfig {
            image_size,
            in_channels: 0,
            model_channels,
            out_channels: 0,
            num_res_blocks,
            channel_mult,
            attention_resolutions: ds.iter().map(|d| image_size / d).collect(),
            num_classes: 0,
            num_heads: 1,
            num_head_channels: 0,
            resblock_updown: !self.has_any(&format!("input_blocks.{}.0.op.", num_res_blocks + 1)),
            use_scale_shift_norm: Some(*rows) == width.checked_mul(2),
            use_new_attention_order: false,
            pool: None,
            attention_conv2d: self.dims("middle_block.1.qkv.weight").is_some_and(|d| d.len() == 4),
        };
        Some((unet, ds, side))
    }
}

/// The multiplier m with `int(m * model_channels) == width`.
fn multiplier(width: usize, model_channels: usize) -> f64 {
    let exact = width as f64 / model_channels as f64;
    if (exact * model_channels as f64) as usize == width { exact } else { (width as f64 + 0.5) / model_channels as f64 }
}
