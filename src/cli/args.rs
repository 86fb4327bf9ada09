//! The command line's grammar. What the arguments mean is decided where they are used.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Overrides;
use crate::plan::Precision;
use crate::sampler::respace::Respacing;

/// Guided diffusion (ADM) models on any GPU, through WebGPU.
#[derive(Debug, Parser)]
#[command(name = "guided-diffusion", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  guided-diffusion sample                                   a grid of the built-in model's images, samples.png
  guided-diffusion sample --class boot,bag --count 8 --seed 7 --out clothes.png
  guided-diffusion sample --model 64x64_diffusion.safetensors --count 50000 --shard 0/4 --out part0.npz
  guided-diffusion info 64x64_diffusion.safetensors
  guided-diffusion bench --json

Exit codes: 0 done, 1 failed, 2 impossible arguments, 130 stopped by Ctrl-C (finished images are kept).";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Generate images
    Sample(SampleArgs),
    /// Show what a checkpoint holds
    Info(InfoArgs),
    /// List the GPU adapters
    Adapters(AdaptersArgs),
    /// Measure the network, op by op, against a plain matrix product
    Bench(BenchArgs),
}

/// `sample`'s arguments.
#[derive(Debug, Args)]
pub struct SampleArgs {
    /// Checkpoint (.safetensors); the built-in model where it is left out
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Classes to take in turn: names, parts of names, indices, lists of them, or all [default: all]
    #[arg(long, value_name = "CLASS,...")]
    pub class: Vec<String>,
    /// Images in all [default: the noise file's, else eight a class for the built-in model, else one batch]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: Option<u32>,
    /// Images at a time [default: as many as fit a 64x64 batch of four]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: Option<u32>,
    /// How to step [default: ddim for the built-in model or ddim steps, else ancestral]
    #[arg(long, value_enum)]
    pub sampler: Option<Sampler>,
    /// Steps: a count (250), counts a section (10,20,30) or a fixed stride (ddim25) [default: ddim25 or 250]
    #[arg(long, value_name = "SPEC", allow_hyphen_values = true)]
    pub steps: Option<String>,
    /// Randomness of the DDIM sampler, 0 to 1 [default: 0]
    #[arg(long, value_name = "ETA", allow_hyphen_values = true)]
    pub eta: Option<f64>,
    /// Seed of all noise: the same seed gives the same images, whatever the batch or the shard
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// First draw from a file: .npy, float32, N,C,H,W for all images of the run
    #[arg(long, value_name = "FILE")]
    pub noise: Option<PathBuf>,
    /// Index of the first image (image K of a run depends on the seed and K alone)
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub first: u32,
    /// Do only part I of N (I from 0): contiguous parts, which together are the whole run
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// Do not clip the predicted image to the range of pixels at each step
    #[arg(long)]
    pub no_clip: bool,
    /// Output: a .png grid, a folder of PNGs, .npz (arr_0 uint8 N,H,W,C, arr_1 labels) or .npy (float32 N,C,H,W)
    #[arg(long, short, value_name = "PATH", default_value = "samples.png")]
    pub out: PathBuf,
    /// The device and its precision.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Report as one JSON object on standard output
    #[arg(long)]
    pub json: bool,
    /// The public scripts' flags.
    #[command(flatten)]
    pub flags: Overrides,
}

impl SampleArgs {
    /// The checkpoint, under either name; None for the built-in model.
    pub fn model(&self) -> Option<&Path> {
        self.model.as_deref().or(self.flags.model_path.as_deref())
    }
}

/// Which adapter, and how it computes.
#[derive(Debug, Clone, Args)]
pub struct DeviceArgs {
    /// GPU adapter: part of a name that `adapters` lists
    #[arg(long, value_name = "NAME")]
    pub adapter: Option<String>,
    /// How weights are stored [default: f32]
    #[arg(long, value_enum)]
    pub precision: Option<PrecisionArg>,
}

/// `info`'s arguments.
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// Checkpoint (.safetensors); the built-in model where it is left out
    pub file: Option<PathBuf>,
    /// Print the plan of one step at WebGPU's default limits: ops, kernels, shapes, memory
    #[arg(long, conflicts_with_all = ["json", "tensors"])]
    pub plan: bool,
    /// Images at a time, for the plan
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: u32,
    /// List every tensor
    #[arg(long)]
    pub tensors: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// The public scripts' flags.
    #[command(flatten)]
    pub flags: Overrides,
}

/// `adapters`' arguments.
#[derive(Debug, Args)]
pub struct AdaptersArgs {
    /// Print a JSON list
    #[arg(long)]
    pub json: bool,
}

/// `bench`'s arguments.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Checkpoint (.safetensors); the built-in model where it is left out
    #[arg(long, value_name = "FILE", conflicts_with = "arch")]
    pub model: Option<PathBuf>,
    /// A public architecture with synthetic weights, such as 64x64_diffusion
    #[arg(long, value_name = "NAME")]
    pub arch: Option<String>,
    /// Images at a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: Option<u32>,
    /// Timed runs; the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// The device and its precision.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `--sampler`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sampler {
    /// DDPM: draws from the learned posterior
    Ancestral,
    /// DDIM: deterministic at eta 0
    Ddim,
}

/// `--precision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// float32 throughout
    F32,
    /// Weights stored as float16, float32 arithmetic
    F16Weights,
}

impl From<PrecisionArg> for Precision {
    fn from(precision: PrecisionArg) -> Self {
        match precision {
            PrecisionArg::F32 => Self::F32,
            PrecisionArg::F16Weights => Self::F16Weights,
        }
    }
}

/// `--shard`: part `index` of `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub index: u32,
    /// The number of parts.
    pub of: u32,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((index, of)) if index < of => Ok(Self { index, of }),
            _ => Err("write I/N with I from 0 to N-1, such as 0/4".into()),
        }
    }
}

impl Shard {
    /// The images of this part: contiguous, so that parts put together in order are the whole.
    pub fn range(self, count: u32) -> std::ops::Range<u32> {
        // A part of count never exceeds it, so the casts lose nothing.
        let start = |i: u32| (u64::from(count) * u64::from(i) / u64::from(self.of.max(1))) as u32;
        start(self.index)..start(self.index + 1)
    }
}

impl Sampler {
    /// The sampler and steps that the arguments mean, with the defaults of the model.
    ///
    /// # Errors
    /// [`crate::Error::Options`] for an impossible spec.
    pub fn resolve(
        sampler: Option<Self>,
        steps: Option<&str>,
        built_in: bool,
        diffusion_steps: usize,
    ) -> crate::Result<(Self, Respacing)> {
        let respacing = match (steps, sampler) {
            (Some(spec), _) => spec.parse()?,
            (None, Some(Self::Ddim)) => Respacing::Ddim(25),
            (None, None) if built_in => Respacing::Ddim(25),
            // The public scripts' choice.
            (None, _) => Respacing::Sections(vec![diffusion_steps.min(250)]),
        };
        let implied = if matches!(respacing, Respacing::Ddim(_)) { Self::Ddim } else { Self::Ancestral };
        Ok((sampler.unwrap_or(implied), respacing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn shards_cover_the_whole() {
        for (count, of) in [(1, 1), (10, 3), (2, 5), (50_000, 7), (u32::MAX, 3)] {
            let mut next = 0;
            for index in 0..of {
                let range = Shard { index, of }.range(count);
                assert_eq!(range.start, next);
                next = range.end;
            }
            assert_eq!(next, count);
        }
        assert_eq!("1/4".parse::<Shard>(), Ok(Shard { index: 1, of: 4 }));
        for text in ["", "4", "4/4", "-1/4", "a/b", "0/0", "1/99999999999"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }

    #[test]
    fn sampler_and_steps_follow_each_other() {
        let resolve = |sampler, steps, built_in| {
            let (sampler, respacing) = Sampler::resolve(sampler, steps, built_in, 1000).expect("possible");
            (sampler, respacing.to_string())
        };
        assert_eq!(resolve(None, None, true), (Sampler::Ddim, "ddim25".into()));
        assert_eq!(resolve(None, None, false), (Sampler::Ancestral, "250".into()));
        assert_eq!(resolve(None, Some("ddim50"), false), (Sampler::Ddim, "ddim50".into()));
        assert_eq!(resolve(None, Some("100"), true), (Sampler::Ancestral, "100".into()));
        assert_eq!(resolve(Some(Sampler::Ddim), Some("100"), true), (Sampler::Ddim, "100".into()));
        assert_eq!(resolve(Some(Sampler::Ancestral), None, true), (Sampler::Ancestral, "250".into()));
        assert!(Sampler::resolve(None, Some("x"), true, 1000).is_err());
    }
}
