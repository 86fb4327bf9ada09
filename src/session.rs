//! A loaded model: its graph planned for a device, its weights there, ready to sample any number of times (by `run`).

use std::sync::Arc;

use crate::checkpoint::Checkpoint;
use crate::config::{self, ModelConfig, Role};
use crate::device::{Caps, mebibytes};
use crate::error::{Error, Result};
use crate::gpu::tuner::{self, TuneOptions, TuneReport};
use crate::gpu::{Gpu, Program, selftest};
use crate::graph::{Graph, fuse};
pub use crate::model::sampling::CLASSIFIER;
use crate::model::{sampling::ports, sampling_graph};
use crate::plan::tuning::{TuningCache, VariantOverrides};
use crate::plan::{Plan, PlanOptions};
use crate::sampler::{Facts, Settings};
use crate::tensor::Shape;

/// How a model is loaded.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Images of one run; fewer take as long.
    pub batch: usize,
    /// An upsampler's input size in pixels; 0 for a quarter of its output's, as the public ones have it.
    pub low_size: usize,
    /// Height and width of the images, multiples of 2 to the power of the network's downsamplings; the configuration's where
    /// it is `None`.
    pub size: Option<[usize; 2]>,
    /// Precision and kernels.
    pub plan: PlanOptions,
    /// Kernels that were measured fastest on this device ([`Session::tune`]); `plan`'s own come first.
    pub tuning: TuningCache,
    /// Check the kernels on the device first, and replace those that compute wrong values.
    pub self_test: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            batch: 1,
            low_size: 0,
            size: None,
            plan: PlanOptions::default(),
            tuning: TuningCache::default(),
            self_test: true,
        }
    }
}

impl SessionOptions {
    /// What the measurements change in a plan of `graph`.
    fn measured(&self, graph: &Graph, caps: &Caps) -> VariantOverrides {
        self.tuning.overrides(graph, caps, self.plan.precision)
    }

    /// The plan's options with these, its own overrides first.
    fn chosen(&self, measured: &VariantOverrides) -> PlanOptions {
        let mut overrides = measured.clone();
        overrides.extend(self.plan.overrides.clone());
        PlanOptions { overrides, ..self.plan.clone() }
    }
}

/// A model on a device.
#[derive(Debug)]
pub struct Session {
    pub(crate) program: Program,
    config: ModelConfig,
    classifier: Option<ModelConfig>,
    batch: usize,
    tuned: usize,
    warnings: Vec<String>,
}

/// A network's file and its configuration.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The file.
    pub checkpoint: &'a Checkpoint,
    /// What it is.
    pub config: &'a ModelConfig,
}

impl Session {
    /// Plans `config` for the device of `gpu`, compiles its kernels and uploads the checkpoint's parameters, one
    /// tensor at a time.
    ///
    /// # Errors
    /// Tensors that do not fit the configuration, a device too small or out of memory, a refused shader.
    pub async fn load(
        gpu: &Arc<Gpu>,
        checkpoint: &Checkpoint,
        config: &ModelConfig,
        options: &SessionOptions,
    ) -> Result<Self> {
        Self::load_guided(gpu, Source { checkpoint, config }, None, options).await
    }

    /// As [`Session::load`], with a noisy-image classifier that guides sampling. Where memory is refused and convolutions keep
    /// transformed weights, it plans again without those, with a warning.
    ///
    /// # Errors
    /// As [`Session::load`]; a classifier of other images, classes or noise than the model's.
    pub async fn load_guided(
        gpu: &Arc<Gpu>,
        model: Source<'_>,
        classifier: Option<Source<'_>>,
        options: &SessionOptions,
    ) -> Result<Self> {
        for Source { checkpoint, config } in [Some(model), classifier].into_iter().flatten() {
            config::check(checkpoint.name(), checkpoint.header(), config)?;
        }
        let refused = match Self::upload_all(gpu, model, classifier, options).await {
            Err(Error::OutOfMemory(reason)) => reason,
            other => return other,
        };
        // Weights that are kept in the Winograd domain may take what the rest needs.
        let plan = PlanOptions { transform_budget: Some(0), ..options.plan.clone() };
        let leaner = SessionOptions { plan, ..options.clone() };
        let bytes = |options| {
            let plan = Self::plan(gpu.caps(), model.config, classifier.map(|c| c.config), options)?;
            Ok::<_, Error>(plan.activation_bytes() + plan.weight_bytes())
        };
        let (wanted, needed) = (bytes(options)?, bytes(&leaner)?);
        if needed >= wanted {
            return Err(Error::OutOfMemory(refused));
        }
        // What was freed comes back with this. Errors that the refusal brought with it are past; a lost device is not.
        if let Err(lost @ Error::DeviceLost(_)) = gpu.finish().await {
            return Err(lost);
        }
        let mut session = Self::upload_all(gpu, model, classifier, &leaner).await?;
        let (wanted, needed) = (mebibytes(wanted), mebibytes(needed));
        session.warnings.push(format!(
            "{wanted} did not fit the memory of {} ({refused}); convolutions transform their weights at each step instead, which \
             takes {needed} and a little longer; a smaller batch may fit without",
            gpu.summary().name
        ));
        Ok(session)
    }

    /// A session with all parameters.
    async fn upload_all(
        gpu: &Arc<Gpu>,
        model: Source<'_>,
        classifier: Option<Source<'_>>,
        options: &SessionOptions,
    ) -> Result<Self> {
        let mut session = Self::prepare(gpu, model.config, classifier.map(|c| c.config), options).await?;
        for (prefix, source) in [("", Some(model)), (CLASSIFIER, classifier)] {
            let Some(Source { checkpoint, .. }) = source else { continue };
            for (name, _) in checkpoint.header().in_file_order() {
                session.upload(&format!("{prefix}{name}"), &checkpoint.tensor_f32(name)?).await?;
            }
        }
        session.seal()?;
        Ok(session)
    }

    /// The first half of [`Session::load`], for parameters that arrive one by one: follow with
    /// [`Session::upload`] for each (a classifier's under their names after [`CLASSIFIER`]) and [`Session::seal`].
    ///
    /// # Errors
    /// A device too small or out of memory, a refused shader; [`Error::Config`] for a `few_step` that the model cannot make.
    pub async fn prepare(
        gpu: &Arc<Gpu>,
        config: &ModelConfig,
        classifier: Option<&ModelConfig>,
        options: &SessionOptions,
    ) -> Result<Self> {
        if config.few_step.is_some() {
            // Its sampler is not known where the configuration is read.
            Settings::default().resolve(&Facts::new(config, classifier.is_some())).map_err(|error| match error {
                Error::Options(message) => Error::Config(format!("few_step: {message}")),
                other => other,
            })?;
        }
        let graph = Self::graph(config, classifier, options)?;
        // What does not fit is refused before anything is compiled.
        let mut measured = options.measured(&graph, gpu.caps());
        let chosen = options.chosen(&measured);
        let mut plan = Plan::new(&graph, gpu.caps(), &chosen)?;
        let mut warnings = Vec::new();
        if options.self_test {
            // All at once is faster than case by case. A kernel that is refused here is refused there again, where
            // another takes its place.
            match gpu.compiled(&plan.kernels()).await {
                Ok(_) | Err(Error::Shader { .. }) => {}
                Err(error) => return Err(error),
            }
            let report = selftest::verify(gpu, &graph, &chosen).await?;
            if !report.warnings.is_empty() {
                warnings = report.warnings;
                measured.retain(|problem, variant| report.overrides.get(problem) == Some(variant));
                plan = Plan::new(&graph, gpu.caps(), &PlanOptions { overrides: report.overrides, ..chosen })?;
            }
        }
        let program = Program::new(gpu, plan).await?;
        let (config, classifier, tuned) = (config.clone(), classifier.cloned(), measured.len());
        Ok(Self { program, config, classifier, batch: options.batch, tuned, warnings })
    }

    /// The plan that a session would have, without a device.
    ///
    /// # Errors
    /// A configuration without a sampler (a classifier), sizes that do not fit, a device too small.
    pub fn plan(
        caps: &Caps,
        config: &ModelConfig,
        classifier: Option<&ModelConfig>,
        options: &SessionOptions,
    ) -> Result<Plan> {
        let graph = Self::graph(config, classifier, options)?;
        Plan::new(&graph, caps, &options.chosen(&options.measured(&graph, caps)))
    }

    /// Measures the kernels that such a session could use and that `tuning` does not have, and adds the fastest: give
    /// `tuning` to the session as [`SessionOptions::tuning`].
    ///
    /// # Errors
    /// As [`Session::plan`]; a lost device.
    pub async fn tune(
        gpu: &Arc<Gpu>,
        config: &ModelConfig,
        classifier: Option<&ModelConfig>,
        options: &SessionOptions,
        tuning: &mut TuningCache,
        how: &TuneOptions,
    ) -> Result<TuneReport> {
        tuner::tune(gpu, &Self::graph(config, classifier, options)?, &options.plan, tuning, how).await
    }

    fn graph(config: &ModelConfig, classifier: Option<&ModelConfig>, options: &SessionOptions) -> Result<Graph> {
        config.validate()?;
        classifier.map_or(Ok(()), ModelConfig::validate)?;
        let low_size = match config.role {
            Role::Diffusion => None,
            Role::Upsampler if options.low_size == 0 => Some(config.low_size()),
            Role::Upsampler => Some(options.low_size),
            Role::Classifier => {
                return Err(Error::Options("a classifier makes no images; sample with a diffusion model".into()));
            }
        };
        if options.batch == 0 {
            return Err(Error::Options("the batch is 0; it must be at least 1".into()));
        }
        fuse::fuse(&sampling_graph(config, classifier, options.batch, low_size, options.size)?)
    }

    /// Uploads one parameter; names that the network does not have are ignored.
    ///
    /// # Errors
    /// The wrong number of elements, out of memory.
    pub async fn upload(&mut self, name: &str, data: &[f32]) -> Result<()> {
        self.program.upload(name, data).await
    }

    /// Ends the loading.
    ///
    /// # Errors
    /// Parameters that were not uploaded.
    pub fn seal(&mut self) -> Result<()> {
        self.program.seal()
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Whether a classifier guides sampling.
    pub fn is_guided(&self) -> bool {
        self.classifier.is_some()
    }

    /// Classes that a run's labels choose from: those that guide, the classifier's; else the model's; 0 without either.
    pub fn classes(&self) -> usize {
        self.classifier.as_ref().unwrap_or(&self.config).classes()
    }

    /// Kinds of kernel that [`SessionOptions::tuning`] has replaced by faster ones.
    pub fn tuned(&self) -> usize {
        self.tuned
    }

    /// What the self-test found wrong and replaced, and what memory was refused; empty on a sound driver with room.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Images of one run.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The shape of a run's images.
    ///
    /// # Errors
    /// None where the session was loaded.
    pub fn image_shape(&self) -> Result<Shape> {
        Ok(self.program.port(ports::X)?.shape)
    }

    /// The plan and its resources.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The same, to run, read or profile it step by step.
    pub fn program_mut(&mut self) -> &mut Program {
        &mut self.program
    }
}
