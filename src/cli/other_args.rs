//! The arguments of the commands that make no images.

use std::path::{Path, PathBuf};

use clap::Args;

use super::device::DeviceArgs;
use crate::checkpoint::DType;
use crate::config::Flags;
use crate::device::Precision;
use crate::time_grid::MOST_STEPS;

/// `convert`'s arguments.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// Checkpoints (.pt or .safetensors)
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Type of the weights: f32, f16 or bf16; biases and norms keep theirs [default: as they are]
    #[arg(long, value_name = "TYPE")]
    pub dtype: Option<DType>,
    /// The new file [default: the old one's name with .safetensors, which must not exist yet]
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Which of a .pt file's state dicts to take, where it holds several
    #[arg(long, value_name = "KEY")]
    pub state_dict: Option<String>,
    /// Print a JSON list
    #[arg(long)]
    pub json: bool,
    /// The public scripts' flags.
    #[command(flatten)]
    pub flags: Flags,
}

impl ConvertArgs {
    /// The checkpoints, under either name.
    pub fn files(&self) -> Vec<&Path> {
        let flags = [&self.flags.model_path, &self.flags.classifier_path];
        self.files.iter().chain(flags.into_iter().flatten()).map(PathBuf::as_path).collect()
    }
}

/// `merge`'s arguments.
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// The parts: .npz files or folders of PNGs, in any order
    #[arg(value_name = "PART", required = true)]
    pub parts: Vec<PathBuf>,
    /// The .npz file of the whole run
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
    /// Images of the whole run; .npz files say it, PNGs do not [default: up to the last one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: Option<u32>,
    /// Report as one JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// `grid`'s arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
`sample --model OUT --steps N` uses the grid of N steps, by the samplers that count their steps: dpm++2m, which is the \
default, dpm++3m, ipndm, euler, euler_ancestral, heun and dpm; with --grid none they take their own times. Without --steps \
dpm++2m and dpm++3m take the fewest that has a grid, unless the file names steps of its own. `info OUT` lists what a file has.")]
pub struct GridArgs {
    /// A converted checkpoint (.safetensors with its configuration)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Steps to search grids for, in a list
    #[arg(long, value_name = "N,...", required = true, value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(2..=MOST_STEPS as i64))]
    pub steps: Vec<u32>,
    /// Images whose trajectories are followed, in 60 steps each
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub images: u32,
    /// Images at a time [default: as many as fit a 64x64 batch of four]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: Option<u32>,
    /// Seed of their noise
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// The file to write [default: FILE itself]
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The device and its precision.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `info`'s arguments.
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// Checkpoint (.safetensors or .pt); the built-in model where it is left out
    pub file: Option<PathBuf>,
    /// Print the plan of one step at WebGPU's default limits: ops, kernels, shapes, memory
    #[arg(long, conflicts_with_all = ["json", "tensors"])]
    pub plan: bool,
    /// Images at a time, for the plan
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: u32,
    /// How weights are stored and multiplied, for the plan [default: f32]
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,
    /// A classifier that guides, for the plan
    #[arg(long, value_name = "FILE", conflicts_with = "classifier_path")]
    pub classifier: Option<PathBuf>,
    /// List every tensor
    #[arg(long)]
    pub tensors: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// The public scripts' flags.
    #[command(flatten)]
    pub flags: Flags,
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
    /// Checkpoint (.safetensors or .pt); the built-in model where it is left out
    #[arg(long, value_name = "FILE", conflicts_with = "arch")]
    pub model: Option<PathBuf>,
    /// A public architecture with synthetic weights, such as 64x64_diffusion (of a classifier: with its gradient, and
    /// without), or `small`
    #[arg(long, value_name = "NAME")]
    pub arch: Option<String>,
    /// One operation instead of a network, by every kernel for it: conv192@64 (3x3), matmul1024, attention1024 (6 heads of 64
    /// channels)
    #[arg(long, value_name = "OP", conflicts_with_all = ["model", "arch"])]
    pub op: Option<String>,
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

/// `tune`'s arguments.
#[derive(Debug, Args)]
pub struct TuneArgs {
    /// Checkpoint (.safetensors or .pt); the built-in model where it is left out
    #[arg(value_name = "FILE", conflicts_with = "arch")]
    pub model: Option<PathBuf>,
    /// A public architecture, such as 64x64_diffusion
    #[arg(long, value_name = "NAME")]
    pub arch: Option<String>,
    /// Images at a time: kernels are chosen for each size of batch
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: Option<u32>,
    /// The device and its precision.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
