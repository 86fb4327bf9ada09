//! The device of a command, and what is cached for it between runs: the tuning cache and compiled code.
//!
//! The cache only saves time, so that nothing about it ends a run: a broken or unwritable file is reported, and the run goes
//! without.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::console::note;
use crate::config::ModelConfig;
use crate::device::Precision;
use crate::gpu::tuner::{TuneOptions, TuneReport};
use crate::gpu::{AdapterChoice, AdapterSummary, Cache, Gpu, OpenOptions, TensorCores};
use crate::plan::tuning::TuningCache;
use crate::session::{Session, SessionOptions};
use crate::{Error, Result};

/// The variable that names the cache's folder; where it is empty, nothing is cached.
const VARIABLE: &str = "GUIDED_DIFFUSION_CACHE";
/// Evaluations of the network from which on a run pays for measuring its kernels first.
const WORTH_TUNING: usize = 100;
/// Seconds that this may take where no flag says otherwise.
const BUDGET: f64 = 5.0;

/// What to do where kernels pass through FXC.
const OLD_COMPILER: &str = "note: Direct3D 12 compiles kernels by FXC here, which takes minutes; a Vulkan driver, or Microsoft's \
    dxcompiler.dll beside the program, is faster";

/// Whether kernels are compiled by FXC: wgpu takes it where it finds no DXC, and then offers no subgroups.
fn has_old_compiler(adapter: &AdapterSummary) -> bool {
    adapter.backend == "Dx12" && !adapter.features.contains(&"subgroups")
}

/// Which adapter, and how it computes.
#[derive(Debug, Clone, Args)]
pub struct DeviceArgs {
    /// GPU adapter: part of a name that `adapters` lists
    #[arg(long, value_name = "NAME")]
    pub adapter: Option<String>,
    /// How weights are stored and multiplied [default: f32]
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,
    /// Multiply matrices on tensor cores too, with --precision f16; experimental in wgpu, and on Vulkan
    /// without its guarantee of right results (docs/performance.md)
    #[arg(long)]
    pub tensor_cores: bool,
    /// Use the kernels of GPUs on a software driver too, where they are slow: for tests
    #[arg(long)]
    pub assume_gpu: bool,
    /// Time for measuring which kernels are fastest here, once per device and driver; 0 for none
    /// [default: 5 where a run evaluates the network 100 times or more; `tune` takes what it needs]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub tune_budget: Option<f64>,
}

/// A finite time of at least 0.
fn seconds(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(seconds),
        _ => Err("give a number of seconds, such as 5".into()),
    }
}

/// An open device.
pub struct Device {
    /// The device.
    pub gpu: Arc<Gpu>,
    cache: Option<Cache>,
    budget: Option<f64>,
}

impl Device {
    /// Opens the adapter that was asked for.
    ///
    /// # Errors
    /// As [`Gpu::open`]; tensor cores at another precision than theirs.
    pub async fn open(args: &DeviceArgs) -> Result<Self> {
        let choice = args.adapter.clone().map_or(AdapterChoice::Default, AdapterChoice::Named);
        if args.tensor_cores && args.precision != Some(Precision::F16) {
            return Err(Error::Options("--tensor-cores needs --precision f16: they multiply float16".into()));
        }
        // SAFETY: the flag's help says what is accepted by giving it.
        let tensor_cores = args.tensor_cores.then(|| unsafe { TensorCores::enabled() });
        let options = OpenOptions { tensor_cores, assume_gpu: args.assume_gpu, ..OpenOptions::default() };
        let gpu = Gpu::open_with(&choice, options).await?;
        if has_old_compiler(gpu.summary()) {
            note(OLD_COMPILER);
        }
        let cache = folder().map(Cache::new);
        if let Some(cache) = &cache {
            cache.load_pipelines(&gpu).unwrap_or_else(|error| warn(&error));
        }
        Ok(Self { gpu, cache, budget: args.tune_budget })
    }

    /// The tuning cache for a session of `options` that evaluates its network `evaluations` times: those remembered and, where
    /// that pays, those measured now. Without a folder to remember them in, nothing is measured.
    ///
    /// # Errors
    /// A device that is too small or was lost.
    pub async fn tuning(
        &self,
        config: &ModelConfig,
        classifier: Option<&ModelConfig>,
        options: &SessionOptions,
        evaluations: usize,
    ) -> Result<TuningCache> {
        let mut known = self.remembered();
        let usual = if evaluations >= WORTH_TUNING { BUDGET } else { 0.0 };
        let budget = self.budget.unwrap_or(usual);
        if self.cache.is_some() && budget > 0.0 {
            let how = TuneOptions { budget: Some(budget), ..TuneOptions::default() };
            let report = Session::tune(&self.gpu, config, classifier, options, &mut known, &how).await?;
            self.remember(&known, &report);
            if report.left > 0 && !report.tuned.is_empty() {
                note(&format!(
                    "note: the first long run on a device begins with {budget} s of trying which kernels are fastest on it: {} of \
                     {} kinds were tried, the others stay as they are, right but perhaps slower; `guided-diffusion tune` of \
                     this model with --batch {} tries all",
                    report.tuned.len(),
                    report.tuned.len() + report.left,
                    options.batch
                ));
            }
        }
        Ok(known)
    }

    /// What was measured on this device before.
    pub fn remembered(&self) -> TuningCache {
        let found = self.cache.as_ref().map_or(Ok(TuningCache::default()), |cache| cache.tuning(&self.gpu));
        found.unwrap_or_else(|error| {
            warn(&error);
            TuningCache::default()
        })
    }

    /// Remembers what was measured or settled, if anything was: defaults too, so that a machine too slow for the budget spends
    /// it once.
    pub fn remember(&self, tuning: &TuningCache, report: &TuneReport) {
        if let Some(cache) = self.cache.as_ref().filter(|_| !report.tuned.is_empty() || report.left > 0) {
            cache.store_tuning(&self.gpu, tuning).unwrap_or_else(|error| warn(&error));
        }
    }

    /// Remembers the driver's compiled code; to be called once a session is loaded.
    pub fn remember_pipelines(&self) {
        if let Some(cache) = &self.cache {
            cache.store_pipelines(&self.gpu).unwrap_or_else(|error| warn(&error));
        }
    }

    /// Where things are remembered.
    pub fn folder(&self) -> Option<PathBuf> {
        self.cache.as_ref().map(|cache| cache.folder().to_owned())
    }
}

fn warn(error: &Error) {
    note(&format!("note: {error}; continuing without what was cached ({VARIABLE} names another folder)"));
}

/// The variable's folder, else the platform's place for caches.
fn folder() -> Option<PathBuf> {
    if let Some(chosen) = std::env::var_os(VARIABLE) {
        return (!chosen.is_empty()).then(|| chosen.into());
    }
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let place = if cfg!(target_os = "windows") {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        absolute("HOME").map(|home| home.join("Library/Caches"))
    } else {
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))
    };
    place.map(|place| place.join("guided-diffusion"))
}
