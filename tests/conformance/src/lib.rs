//! What every way of running the core must compute: the op case table, the golden fixtures and the list of shaders, with
//! their tolerances, in one place. Native tests run it on each adapter, the browser tests in each browser.
//!
//! The fixtures are this project's own, so that reading them panics where a product would return an error.

pub mod cases;
mod configs;
mod golden;
mod kernels;
mod networks;
mod ops;
pub mod samples;
pub mod solvers;
mod steps;
mod tiny;

use std::fmt;
use std::sync::Arc;

use guided_diffusion::checkpoint::synthetic;
use guided_diffusion::device::Precision;
use guided_diffusion::{Gpu, Result};

pub use configs::{model_config, numbers, sampler_config, sizes, unet_config};
pub use golden::{CHAOTIC, Golden};
use kernels::PRECISIONS;
pub use kernels::{ample, kernels};
pub use networks::{run_classifier, run_unet};
pub use ops::{Kinds, OpRun, kind, op_runs};
pub use tiny::tiny;

/// The devices that all native tests of a program share, and with them all kernels that were compiled: here, because each test
/// file has its own copy of the tests' common parts.
#[cfg(not(target_arch = "wasm32"))]
pub static SHARED: std::sync::OnceLock<Vec<Arc<Gpu>>> = std::sync::OnceLock::new();

/// Relative L2 errors that results may have. A kernel's own is [`cases::TOLERANCE`].
pub mod tolerance {
    /// A network in float32; the reference is float64, rounded once.
    pub const NETWORK: f64 = 2e-5;
    /// The same with matrices stored as float16, whose own rounding is 5e-4 an element.
    pub const F16_WEIGHTS: f64 = 2e-3;
    /// The same with float16 products, which round the values as well.
    pub const F16: f64 = 4e-3;
    /// A classifier's logits and gradients, whose path is twice as long.
    pub const CLASSIFIER: f64 = 5e-5;
    /// One guided step: the gradient's own bound, as its shift may be most of the step.
    pub const STEP: f64 = 5e-5;
    /// A whole sample, which adds up to 25 networks.
    pub const SAMPLE: f64 = 2e-4;
    /// The same where a classifier's gradient, through a network of its own, adds to each step.
    pub const GUIDED: f64 = 5e-4;
}

/// A comparison with what is expected.
#[derive(Debug, Clone)]
pub struct Check {
    /// What was compared.
    pub name: String,
    /// Relative L2 error.
    pub error: f64,
    /// The largest that passes.
    pub tolerance: f64,
}

impl Check {
    /// Whether the error is within the tolerance; no number is not.
    pub fn passed(&self) -> bool {
        self.error <= self.tolerance
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2e} of {:.0e} {}", self.error, self.tolerance, self.name)
    }
}

/// One thing to run on a device.
#[derive(Debug, Clone)]
pub enum Task {
    /// An op by one kernel.
    Op(OpRun),
    /// A small golden UNet, by its place among the cases.
    Network(usize, Precision),
    /// A small golden classifier: logits and gradient.
    Classifier(usize),
    /// A golden sample.
    Sample(usize),
    /// Single steps of the golden sample that is chaotic.
    Steps(usize),
    /// A case of the samplers' fixtures.
    Solver(usize),
}

/// Between them these golden networks have 34 of the 37 kernels that plans of GPUs take for any of them and those of software
/// drivers do not: products in parts, both sizes of Winograd's tiles, attention in tiles, its gradient.
const GPU_PLANS: [&str; 3] = ["spatial_v2", "attention_legacy_heads_conv", "deep_attention_everywhere"];

/// Every task of a suite: `ops`, `networks`, `classifiers`, `samples`, `steps`, `solvers`; or `gpu_plans`, for a device with
/// [`guided_diffusion::OpenOptions::assume_gpu`].
///
/// # Panics
/// There is no such suite.
pub fn tasks(suite: &str, gpu: &Gpu, golden: &Golden) -> Vec<Task> {
    let small = |kind| golden.small(kind).map(|(i, _)| i);
    match suite {
        "ops" => op_runs(gpu.caps(), Kinds::InTurns).into_iter().map(Task::Op).collect(),
        "networks" => {
            let able = |precision: &Precision| *precision != Precision::F16 || gpu.caps().shader_f16;
            let precisions = PRECISIONS.into_iter().filter(able);
            small("unet").flat_map(|i| precisions.clone().map(move |precision| Task::Network(i, precision))).collect()
        }
        "classifiers" => small("classifier").map(Task::Classifier).collect(),
        "samples" => small("sampler").map(Task::Sample).collect(),
        "steps" => small("sampler").filter(|i| golden.name(*i) == CHAOTIC).map(Task::Steps).collect(),
        "solvers" => golden.solvers.on_device().into_iter().map(Task::Solver).collect(),
        "gpu_plans" => {
            let chosen = |i: &usize| GPU_PLANS.contains(&golden.name(*i));
            let unets = small("unet").filter(chosen).map(|i| Task::Network(i, Precision::F32));
            small("classifier").filter(chosen).map(Task::Classifier).chain(unets).collect()
        }
        other => panic!("there is no suite named {other}"),
    }
}

impl Task {
    /// What it is about.
    pub fn name(&self, golden: &Golden) -> String {
        match self {
            Self::Op(run) => run.name(),
            Self::Network(i, Precision::F32) => format!("unet {}", golden.name(*i)),
            Self::Network(i, Precision::F16Weights) => format!("unet {}, float16 weights", golden.name(*i)),
            Self::Network(i, Precision::F16) => format!("unet {}, float16 products", golden.name(*i)),
            Self::Classifier(i) => format!("classifier {}", golden.name(*i)),
            Self::Sample(i) => format!("sample {}", golden.name(*i)),
            Self::Steps(i) => format!("steps of {}", golden.name(*i)),
            Self::Solver(i) => golden.solvers.name(*i),
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// A refused shader, a lost device.
    pub async fn run(&self, gpu: &Arc<Gpu>, golden: &Golden) -> Result<Vec<Check>> {
        match self {
            Self::Op(run) => Ok(vec![run.check(gpu).await?]),
            Self::Network(i, precision) => Ok(vec![networks::check_unet(gpu, golden, *i, *precision).await?]),
            Self::Classifier(i) => networks::check_classifier(gpu, golden, *i).await,
            Self::Sample(i) => Ok(vec![samples::check(gpu, golden, *i).await?]),
            Self::Steps(i) => steps::check(gpu, golden, *i).await,
            Self::Solver(i) => golden.solvers.check(gpu, *i).await,
        }
    }
}

/// |actual - expected| / |expected|, in L2.
///
/// # Panics
/// Different lengths.
pub fn relative_l2(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len(), "different lengths");
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        actual.iter().zip(expected).map(|(a, e)| f(f64::from(*a), f64::from(*e))).sum()
    };
    (sum(&|a, e| (a - e) * (a - e)) / sum(&|_, e| e * e).max(1e-60)).sqrt()
}

/// The noise stream `name` for a tensor of `shape`.
pub fn noise_of(name: &str, shape: &[usize], seed: u64) -> Vec<f32> {
    synthetic::noise(name, shape.iter().product(), seed)
}
