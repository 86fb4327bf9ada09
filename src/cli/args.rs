//! The command line's grammar. What the arguments mean is decided where they are used.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use super::device::DeviceArgs;
use super::given::Files;
use super::other_args::{AdaptersArgs, BenchArgs, ConvertArgs, GridArgs, InfoArgs, MergeArgs, TuneArgs};
use super::settings::{
    EditSettings, InvertSettings, NllSettings, SampleSettings, UPSAMPLER, UpsampleSettings, UpsamplerSettings,
};
use super::values::{Expected, Shard};
use crate::Result;
use crate::config::Flags;
use crate::interpolate::Interpolation;
use crate::resize::Fit;
use crate::sampler::{Respacing, Sampler, Settings};

/// Guided diffusion (ADM) models on any GPU, through WebGPU.
#[derive(Debug, Parser)]
#[command(name = "guided-diffusion", version, arg_required_else_help = true, after_help = EXAMPLES)]
// A repeated argument replaces itself, as in the public scripts, whose README repeats --image_size.
#[command(args_override_self = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  guided-diffusion sample                                   a grid of the built-in model's images, samples.png
  guided-diffusion sample --class face,heart --count 8 --seed 7 --out faces.png
  guided-diffusion sample --model 64x64_diffusion.pt --classifier 64x64_classifier.pt --upsampler 64_256_upsampler.pt
  guided-diffusion upsample --model 64_256_upsampler.pt --input samples.npz --out large.png
  guided-diffusion sample --init heart.png --strength 0.5 --class heart --count 8
  guided-diffusion edit --input heart.png --mask mask.png --class heart --count 8
  guided-diffusion edit --model 256x256_diffusion_uncond.pt --input small.png --upscale 4 --colourise
  guided-diffusion invert --input heart.png --class heart --out noise.npy
  guided-diffusion merge part*.npz --out all.npz
  guided-diffusion convert 64x64_diffusion.pt --dtype f16
  guided-diffusion grid 64x64_diffusion.safetensors --steps 6
  guided-diffusion info 64x64_diffusion.safetensors
  guided-diffusion bench --json
  guided-diffusion tune --arch 64x64_diffusion --batch 4

What is cached for a device (its fastest kernels, compiled code) lies in the folder that GUIDED_DIFFUSION_CACHE names,
else in the system's place for caches; where the variable is empty, nothing is cached.

Exit codes: 0 done, 1 failed, 2 impossible arguments, 130 stopped by Ctrl-C (finished images are kept).";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Generate images
    Sample(Box<SampleArgs>),
    /// Enlarge images with an upsampler
    Upsample(Box<UpsampleArgs>),
    /// Complete, colour or enlarge pictures with a model that was not trained for it
    Edit(Box<EditArgs>),
    /// Find the noise that ddim makes pictures from, a .npy file for `sample --noise`
    Invert(Box<InvertArgs>),
    /// Bits per dimension of images: the bound on their negative log likelihood
    Nll(Box<NllArgs>),
    /// Put the parts of a run (--shard) together
    Merge(MergeArgs),
    /// Turn a .pt file into a .safetensors file that carries its configuration
    Convert(ConvertArgs),
    /// Search a time grid for few steps, and keep it in the file
    Grid(GridArgs),
    /// Show what a checkpoint holds
    Info(InfoArgs),
    /// List the GPU adapters
    Adapters(AdaptersArgs),
    /// Measure the network, op by op, against a plain matrix product
    Bench(BenchArgs),
    /// Measure all kernels that a model could use here, and remember the fastest
    Tune(TuneArgs),
}

/// `sample`'s arguments.
#[derive(Debug, Args)]
pub struct SampleArgs {
    /// Checkpoint (.safetensors or .pt); the built-in model where it is left out
    #[arg(long, value_name = "FILE", conflicts_with = "model_path")]
    pub model: Option<PathBuf>,
    /// How to sample.
    #[command(flatten)]
    pub settings: SampleSettings,
    /// What `upsample` has as well.
    #[command(flatten)]
    pub run: RunArgs,
    /// Images between those of two seeds: their first draws by spherical interpolation (of one class: add --class)
    #[arg(long, value_name = "SEED_A,SEED_B,N", conflicts_with = "noise")]
    pub interpolate: Option<Interpolation>,
    /// Pictures to vary, image to image, with --strength: .png, .jpg, .npz, .npy or a folder; image K is made from picture K
    /// modulo their number
    #[arg(long, value_name = "PATH", requires = "strength")]
    pub init: Option<PathBuf>,
    /// Bring pictures of another size to the model's
    #[arg(long, value_enum, value_name = "HOW", requires = "init")]
    pub fit: Option<Fit>,
    /// Guidance by a noisy-image classifier: its checkpoint
    #[arg(long, value_name = "FILE", conflicts_with = "classifier_path")]
    pub classifier: Option<PathBuf>,
    /// A second stage: the upsampler's checkpoint, which enlarges the images
    #[arg(long, value_name = "FILE", help_heading = UPSAMPLER)]
    pub upsampler: Option<PathBuf>,
    /// The second stage's settings.
    #[command(flatten)]
    pub upsampler_settings: UpsamplerSettings,
    /// The upsampler's --batch
    #[arg(long, value_name = "N", requires = "upsampler", help_heading = UPSAMPLER,
        value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub upsampler_batch: Option<u32>,
    /// Keep the small images as well, in any form that --out has
    #[arg(long, value_name = "PATH", requires = "upsampler", help_heading = UPSAMPLER)]
    pub small_out: Option<PathBuf>,
}

/// `upsample`'s arguments.
#[derive(Debug, Args)]
pub struct UpsampleArgs {
    /// The upsampler's checkpoint (.safetensors or .pt)
    #[arg(long, value_name = "FILE", required_unless_present = "model_path", conflicts_with = "model_path")]
    pub model: Option<PathBuf>,
    /// Images to enlarge: .npz (arr_0 uint8 N,H,W,C, arr_1 labels), .npy, a PNG or JPEG, or a folder of them
    #[arg(long, value_name = "PATH", required_unless_present = "base_samples", conflicts_with = "base_samples")]
    pub input: Option<PathBuf>,
    /// Bring images of another size to the upsampler's: crop to the middle, or pad with black
    #[arg(long, value_enum, value_name = "HOW")]
    pub fit: Option<Fit>,
    /// How to sample.
    #[command(flatten)]
    pub settings: UpsampleSettings,
    /// What `sample` has as well.
    #[command(flatten)]
    pub run: RunArgs,
}

impl UpsampleArgs {
    /// The images, under either name.
    pub fn input(&self) -> Option<&Path> {
        self.input.as_deref().or(self.run.flags.base_samples.as_deref())
    }
}

/// The model and the pictures of commands that begin with a picture.
#[derive(Debug, Args)]
pub struct Source {
    /// Checkpoint (.safetensors or .pt); the built-in model where it is left out
    #[arg(long, value_name = "FILE", conflicts_with = "model_path")]
    pub model: Option<PathBuf>,
    /// Pictures: .png, .jpg, .npz, .npy or a folder; image K is made from picture K modulo their number
    #[arg(long, value_name = "PATH")]
    pub input: PathBuf,
    /// Bring pictures of another size to the model's; `edit` makes what pad adds (outpainting)
    #[arg(long, value_enum, value_name = "HOW")]
    pub fit: Option<Fit>,
}

impl Source {
    /// The pictures' files; `expected` are those of `--expect`.
    pub fn files<'a>(&'a self, expected: &'a [Expected]) -> Files<'a> {
        Files { path: &self.input, name: "input", mask: None, fit: self.fit, expected }
    }
}

/// `edit`'s arguments.
#[derive(Debug, Args)]
pub struct EditArgs {
    /// What it works on.
    #[command(flatten)]
    pub source: Source,
    /// The pixels that are kept, exactly (white), and those that are made (black), in the picture's size or the model's
    #[arg(long, value_name = "FILE")]
    pub mask: Option<PathBuf>,
    /// How to sample.
    #[command(flatten)]
    pub settings: EditSettings,
    /// Guidance by a noisy-image classifier: its checkpoint
    #[arg(long, value_name = "FILE", conflicts_with = "classifier_path")]
    pub classifier: Option<PathBuf>,
    /// What `sample` has as well.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `invert`'s arguments.
#[derive(Debug, Args)]
pub struct InvertArgs {
    /// What it works on.
    #[command(flatten)]
    pub source: Source,
    /// How to step.
    #[command(flatten)]
    pub settings: InvertSettings,
    /// What `sample` has as well.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `nll`'s arguments.
#[derive(Debug, Args)]
pub struct NllArgs {
    /// What it works on.
    #[command(flatten)]
    pub source: Source,
    /// Classes of the images in turn [default: the images' own]
    #[arg(long, value_name = "CLASS,...")]
    pub class: Vec<String>,
    /// How to step.
    #[command(flatten)]
    pub settings: NllSettings,
    /// Images at a time [default: as many as fit a 64x64 batch of four]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096), conflicts_with = "batch_size")]
    pub batch: Option<u32>,
    /// Do not clip the predicted image to the range of pixels at each step
    #[arg(long)]
    pub no_clip: bool,
    /// The device and its precision.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Report as one JSON object on standard output, with every step's terms
    #[arg(long)]
    pub json: bool,
    /// The public scripts' flags.
    #[command(flatten)]
    pub flags: Flags,
}

/// What the commands that make images share.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Classes to take in turn: names, parts of names, indices, synset ids, lists of them, or all [default: given pictures' own;
    /// where they say none, a model's null class; without pictures all]
    #[arg(long, value_name = "CLASS,...")]
    pub class: Vec<String>,
    /// Images in all [default: the noise file's or the input's, else eight per class for the built-in model, else one
    /// batch]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true,
        conflicts_with = "num_samples")]
    pub count: Option<u32>,
    /// Images at a time [default: as many as fit a 64x64 batch of four]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096),
        allow_negative_numbers = true, conflicts_with = "batch_size")]
    pub batch: Option<u32>,
    /// First draw from a file: .npy, float32, N,C,H,W for all images of the run (of its first stage)
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
    /// [default: samples.png, of `invert` noise.npy]
    #[arg(long, short, value_name = "PATH")]
    pub out: Option<PathBuf>,
    /// The predicted image at each step as well: a .png with a row per image and a column per step, or an animated .apng
    #[arg(long, value_name = "FILE")]
    pub trajectory: Option<PathBuf>,
    /// Refuse given files with other values than those of a recipe: hashes, as pictures' recipes have them
    #[arg(long, value_name = "FILE=HASH,...", value_delimiter = ',')]
    pub expect: Vec<Expected>,
    /// Start over, though an earlier run to the same output was stopped; without it, that run is continued
    #[arg(long)]
    pub restart: bool,
    /// The device and its precision.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Report as one JSON object on standard output
    #[arg(long)]
    pub json: bool,
    /// The public scripts' flags.
    #[command(flatten)]
    pub flags: Flags,
}

impl RunArgs {
    /// The output of a command that makes pictures.
    pub fn out(&self) -> &Path {
        self.out.as_deref().unwrap_or(Path::new("samples.png"))
    }

    /// The first stage's settings: those of its own arguments (`own`), else of the public scripts' flags.
    ///
    /// # Errors
    /// [`crate::Error::Options`] for what is no respacing.
    pub fn settings(&self, own: &Settings) -> Result<Settings> {
        let flags = &self.flags;
        let respacing: Option<Respacing> = flags.timestep_respacing.as_deref().map(str::parse).transpose()?;
        let scripts = match (flags.use_ddim, &respacing) {
            (Some(true), _) => Some(Sampler::ddim()),
            (Some(false), _) => Some(Sampler::ancestral()),
            // As in the scripts, where nothing else is said.
            (None, Some(Respacing::Sections(_))) if own.edit.is_none() => Some(Sampler::ancestral()),
            (None, _) => None,
        };
        Ok(Settings {
            sampler: own.sampler.or(scripts),
            steps: respacing.or(own.steps.clone()),
            clip_denoised: Some(!self.no_clip && flags.clip_denoised != Some(false)),
            guidance: own.guidance.or(flags.classifier_scale),
            ..own.clone()
        })
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
}
