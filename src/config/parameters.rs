//! The specification of a network's parameters: their names, in the public checkpoints' own words, and shapes.
//!
//! It is not derived from the graph, which names the same tensors. A header is compared with this list before the image
//! size is known, for every arrangement of blocks that it might have and for every public file, and a graph needs the size,
//! is costly to build and stands above this module (the fuzzers compile `checkpoint` and `config` without it). Two
//! independent lists also check each other: tests/plan.rs compares them.

use std::collections::{BTreeMap, btree_map};

use super::{ModelConfig, Pool, Role, UNetConfig};
use crate::checkpoint::{Checkpoint, Header};
use crate::error::{Error, Result};

/// Width of the spatial heads' hidden layer.
const HIDDEN: usize = 2048;

/// Every parameter's name and shape, in the network's order. Fails only on an invalid configuration.
pub fn parameters(config: &ModelConfig) -> Result<Vec<(String, Vec<usize>)>> {
    config.validate()?;
    Ok(list(config))
}

/// One error that lists every tensor of `header` that is missing, extra or misshapen; `file` names it.
pub fn check(file: &str, header: &Header, config: &ModelConfig) -> Result<()> {
    let wrong = mismatches(header, &parameters(config)?);
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Error::Tensors { file: file.into(), details: wrong.join("\n") })
}

impl Checkpoint {
    /// A checkpoint of synthetic weights for any configuration; each tensor is made when it is read.
    pub fn synthetic(config: &ModelConfig, seed: u64) -> Result<Self> {
        Ok(Self::from_parameters(format!("synthetic weights (seed {seed})"), parameters(config)?, seed))
    }
}

/// A line for each tensor that differs; none when the header holds exactly these parameters.
pub(super) fn mismatches(header: &Header, wanted: &[(String, Vec<usize>)]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest: BTreeMap<&str, &[usize]> = BTreeMap::new();
    rest.extend(header.tensors.iter().map(|(name, info)| (name.as_str(), info.shape.as_slice())));
    for (name, shape) in wanted {
        match rest.entry(name) {
            btree_map::Entry::Vacant(_) => lines.push(format!("  missing: {name} {shape:?}")),
            btree_map::Entry::Occupied(found) => {
                let found = found.remove();
                if found != shape {
                    lines.push(format!("  misshapen: {name} is {found:?}, the configuration needs {shape:?}"));
                }
            }
        }
    }
    // A hostile name must not write control characters to a terminal.
    lines.extend(rest.iter().map(|(name, shape)| format!("  extra: {} {shape:?}", name.escape_debug())));
    lines
}

/// The number of parameters, for a configuration whose single fields have been checked.
pub(super) fn count(config: &ModelConfig) -> u64 {
    let elements = |shape: &[usize]| shape.iter().fold(1u64, |n, d| n.saturating_mul(*d as u64));
    list(config).iter().fold(0, |n, (_, shape)| n.saturating_add(elements(shape)))
}

/// [`parameters`] without validation.
pub(super) fn list(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let mut list = List { c: &config.unet, out: Vec::new() };
    let encoder = list.encoder();
    match config.role {
        Role::Diffusion | Role::Upsampler => list.decoder(encoder),
        Role::Classifier => list.head(&encoder),
    }
    list.out
}

/// What the encoder leaves for the decoder, or for a classifier's head.
struct Encoder {
    channels: usize,
    ds: usize,
    skips: Vec<usize>,
}

struct List<'a> {
    c: &'a UNetConfig,
    out: Vec<(String, Vec<usize>)>,
}

impl List<'_> {
    fn encoder(&mut self) -> Encoder {
        let c = self.c;
        let emb = 4 * c.model_channels;
        self.layer("time_embed.0", &[emb, c.model_channels]);
        self.layer("time_embed.2", &[emb, emb]);
        if c.num_classes > 0 {
            self.push("label_emb.weight", vec![c.num_classes, emb]);
        }
        let (mut ch, mut ds, mut block) = (c.width(0), 1, 0);
        self.layer("input_blocks.0.0", &[ch, c.in_channels, 3, 3]);
        let mut skips = vec![ch];
        for level in 0..c.channel_mult.len() {
            let width = c.width(level);
            for _ in 0..c.num_res_blocks {
                block += 1;
                self.res_block(&format!("input_blocks.{block}.0"), ch, width);
                ch = width;
                if c.attention_at(ds) {
                    self.attention(&format!("input_blocks.{block}.1"), ch);
                }
                skips.push(ch);
            }
            if level + 1 < c.channel_mult.len() {
                block += 1;
                let name = format!("input_blocks.{block}.0");
                if c.resblock_updown {
                    self.res_block(&name, ch, ch);
                } else {
                    self.layer(&format!("{name}.op"), &[ch, ch, 3, 3]);
                }
                skips.push(ch);
                ds *= 2;
            }
        }
        self.res_block("middle_block.0", ch, ch);
        self.attention("middle_block.1", ch);
        self.res_block("middle_block.2", ch, ch);
        Encoder { channels: ch, ds, skips }
    }

    fn decoder(&mut self, encoder: Encoder) {
        let c = self.c;
        let Encoder { channels: mut ch, mut ds, mut skips } = encoder;
        let mut block = 0;
        for level in (0..c.channel_mult.len()).rev() {
            let width = c.width(level);
            for i in 0..=c.num_res_blocks {
                let stage = format!("output_blocks.{block}");
                self.res_block(&format!("{stage}.0"), ch + skips.pop().unwrap_or(0), width);
                ch = width;
                let mut next = 1;
                if c.attention_at(ds) {
                    self.attention(&format!("{stage}.{next}"), ch);
                    next += 1;
                }
                if level > 0 && i == c.num_res_blocks {
                    let name = format!("{stage}.{next}");
                    if c.resblock_updown {
                        self.res_block(&name, ch, ch);
                    } else {
                        self.layer(&format!("{name}.conv"), &[ch, ch, 3, 3]);
                    }
                    ds /= 2;
                }
                block += 1;
            }
        }
        self.norm("out.0", ch);
        self.layer("out.2", &[c.out_channels, ch, 3, 3]);
    }

    fn head(&mut self, encoder: &Encoder) {
        let (c, ch) = (self.c, encoder.channels);
        let features = encoder.skips.iter().sum::<usize>() + ch;
        match c.pool {
            Some(Pool::Attention) | None => {
                let side = c.image_size / encoder.ds;
                self.norm("out.0", ch);
                self.push("out.2.positional_embedding", vec![ch, side * side + 1]);
                self.layer("out.2.qkv_proj", &[3 * ch, ch, 1]);
                self.layer("out.2.c_proj", &[c.out_channels, ch, 1]);
            }
            Some(Pool::Adaptive) => {
                self.norm("out.0", ch);
                self.layer("out.3", &[c.out_channels, ch, 1, 1]);
            }
            Some(Pool::Spatial) => {
                self.layer("out.0", &[HIDDEN, features]);
                self.layer("out.2", &[c.out_channels, HIDDEN]);
            }
            Some(Pool::SpatialV2) => {
                self.layer("out.0", &[HIDDEN, features]);
                self.norm("out.1", HIDDEN);
                self.layer("out.3", &[c.out_channels, HIDDEN]);
            }
        }
    }

    fn res_block(&mut self, name: &str, ch: usize, out: usize) {
        let parts = if self.c.use_scale_shift_norm { 2 } else { 1 };
        self.norm(&format!("{name}.in_layers.0"), ch);
        self.layer(&format!("{name}.in_layers.2"), &[out, ch, 3, 3]);
        self.layer(&format!("{name}.emb_layers.1"), &[parts * out, 4 * self.c.model_channels]);
        self.norm(&format!("{name}.out_layers.0"), out);
        self.layer(&format!("{name}.out_layers.3"), &[out, out, 3, 3]);
        if ch != out {
            self.layer(&format!("{name}.skip_connection"), &[out, ch, 1, 1]);
        }
    }

    fn attention(&mut self, name: &str, ch: usize) {
        self.norm(&format!("{name}.norm"), ch);
        let ones: &[usize] = if self.c.attention_conv2d { &[1, 1] } else { &[1] };
        self.layer(&format!("{name}.qkv"), &[&[3 * ch, ch], ones].concat());
        self.layer(&format!("{name}.proj_out"), &[&[ch, ch], ones].concat());
    }

    fn norm(&mut self, name: &str, ch: usize) {
        self.push(&format!("{name}.weight"), vec![ch]);
        self.push(&format!("{name}.bias"), vec![ch]);
    }

    /// A convolution or linear layer: its weight, and a bias for each output.
    fn layer(&mut self, name: &str, weight: &[usize]) {
        self.push(&format!("{name}.weight"), weight.to_vec());
        self.push(&format!("{name}.bias"), weight.iter().take(1).copied().collect());
    }

    fn push(&mut self, name: &str, shape: Vec<usize>) {
        self.out.push((name.to_owned(), shape));
    }
}
