//! An adapter, opened: the device, its limits, and the errors that it reports.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::choice::{AdapterChoice, AdapterSummary, choose, enumerate, summarize};
use super::memory;
use super::pipeline::{Compiling, Pipeline, Pipelines};
use super::results::SelfTestResults;
use super::scope::{self, Caught};
use super::signal::{Sender, lock, signal};
use super::tensor_cores::{self, TensorCores};
use crate::device::Caps;
use crate::error::{Error, Result};
use crate::shader::Kernel;

/// Subgroup sizes that kernels are written for.
const SUBGROUPS: [usize; 4] = [4, 8, 16, 32];

/// How a device is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenOptions {
    /// Shaders are compiled with bounds checks natively too, for tests; browsers always check.
    pub checked: bool,
    /// The device has subgroups though wgpu does not report them: it has no name yet for the browsers' feature, so that
    /// there the caller requests `subgroups` when it makes the device.
    pub subgroups: bool,
    /// Matrices may be multiplied on tensor cores, at [`crate::device::Precision::F16`]. Experimental: wgpu warns of bugs
    /// that lead to undefined behaviour, and on Vulkan one is known (docs/performance.md).
    pub tensor_cores: Option<TensorCores>,
    /// Plans as for a GPU, on whatever adapter it is: tests run those plans on software drivers.
    pub assume_gpu: bool,
}

/// An open device.
#[derive(Debug)]
pub struct Gpu {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) pipelines: Pipelines,
    pub(crate) self_test: SelfTestResults,
    /// Read-back buffers that wait for their next use.
    pub(crate) staging: Mutex<Vec<wgpu::Buffer>>,
    buffers: AtomicUsize,
    caps: Caps,
    summary: AdapterSummary,
    failure: Arc<Mutex<Option<Failure>>>,
    /// Those that wait for the device's loss.
    waiting: Arc<Mutex<Vec<Sender<String>>>>,
}

#[derive(Debug, Clone)]
enum Failure {
    Lost(String),
    OutOfMemory(String),
    Other(String),
}

impl Gpu {
    /// All adapters that can run compute shaders.
    pub async fn adapters() -> Vec<AdapterSummary> {
        let adapters = enumerate(&AdapterChoice::Default).await;
        adapters.iter().enumerate().map(|(i, adapter)| summarize(i, adapter)).collect()
    }

    /// Opens an adapter with its own limits.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] naming the driver package to install or the adapters there are, [`Error::NoDevice`].
    pub async fn open(choice: &AdapterChoice) -> Result<Arc<Self>> {
        Self::open_with(choice, OpenOptions::default()).await
    }

    /// As [`Gpu::open`], with options.
    ///
    /// # Errors
    /// As [`Gpu::open`]; [`Error::Feature`] where an option asks for a feature that the adapter lacks.
    #[cfg_attr(
        target_arch = "wasm32",
        expect(clippy::arc_with_non_send_sync, reason = "a browser's device stays on its thread; natively it travels")
    )]
    pub async fn open_with(choice: &AdapterChoice, options: OpenOptions) -> Result<Arc<Self>> {
        let (index, adapter) = choose(enumerate(choice).await, choice)?;
        let summary = summarize(index, &adapter);
        let cooperative = options.tensor_cores.map(|_| tensor_cores::size(&adapter)).transpose()?;
        let mut wanted = wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::PIPELINE_CACHE
            | wgpu::Features::SUBGROUP
            | wgpu::Features::SHADER_F16;
        wanted.set(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, options.tensor_cores.is_some());
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("guided-diffusion"),
            required_features: adapter.features() & wanted,
            required_limits: adapter.limits(),
            experimental_features: tensor_cores::token(options.tensor_cores),
            ..Default::default()
        };
        let (device, queue) = adapter
            .request_device(&descriptor)
            .await
            .map_err(|e| Error::NoDevice { adapter: summary.name.clone(), reason: e.to_string() })?;
        let failure = Arc::new(Mutex::new(None));
        let sink = failure.clone();
        scope::on_uncaught(&device, move |Caught { exhausted, reason }| {
            lock(&sink).get_or_insert(if exhausted { Failure::OutOfMemory(reason) } else { Failure::Other(reason) });
        });
        let (sink, waiting) = (failure.clone(), Arc::new(Mutex::new(Vec::<Sender<String>>::new())));
        let lost = waiting.clone();
        device.set_device_lost_callback(move |reason, message| {
            let reason = format!("{message} ({reason:?})");
            // A lost device is the cause of whatever else was reported.
            *lock(&sink) = Some(Failure::Lost(reason.clone()));
            std::mem::take(&mut *lock(&lost)).into_iter().for_each(|sender| sender.send(reason.clone()));
        });
        let mut features = device.features();
        features.set(wgpu::Features::SUBGROUP, options.subgroups || features.contains(wgpu::Features::SUBGROUP));
        let mut caps = Caps { cooperative, ..caps(&summary.name, &adapter.get_info(), &device.limits(), features) };
        caps.software &= !options.assume_gpu;
        caps.reads_ahead &= !options.assume_gpu || summary.kind != "software";
        let memory = memory::of(&adapter);
        caps.transformed_weights = Caps::transformed_weights(memory, caps.software);
        caps.workspace = Caps::workspace(memory.filter(|_| !caps.software));
        // Unchecked with tensor cores too: addresses follow from the plan's parameters alone, not from values in workgroup memory.
        let pipelines = Pipelines::new(options.checked);
        let (self_test, staging) = (SelfTestResults::default(), Mutex::default());
        let buffers = AtomicUsize::new(0);
        Ok(Arc::new(Self { device, queue, pipelines, self_test, staging, buffers, caps, summary, failure, waiting }))
    }

    /// Its limits, for plans.
    pub fn caps(&self) -> &Caps {
        &self.caps
    }

    /// The adapter.
    pub fn summary(&self) -> &AdapterSummary {
        &self.summary
    }

    /// What measurements and compiled kernels are valid for: the device, its driver, this version and its kernels. One line.
    pub fn fingerprint(&self) -> String {
        let AdapterSummary { name, backend, driver, vendor, device, .. } = &self.summary;
        let (version, kernels) = (env!("CARGO_PKG_VERSION"), crate::shader::fingerprint());
        // More kernels are legal with them.
        let cores = if self.caps.cooperative.is_some() { "; tensor cores" } else { "" };
        let as_gpu = if self.summary.kind == "software" && !self.caps.software { "; as a GPU" } else { "" };
        let text =
            format!("{name}; {backend}; {driver}; {vendor:04x}:{device:04x}; {version}; {kernels:016x}{cores}{as_gpu}");
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }

    /// Compiles `kernel` unless that is done already, as a plan's are when its program is made.
    ///
    /// # Errors
    /// [`Error::Shader`] with the compiler's message; a lost device.
    pub async fn compile(&self, kernel: &Kernel) -> Result<()> {
        self.compiled(&[kernel]).await.map(drop)
    }

    /// Has the device's front end check the WGSL of `kernel`, and makes no pipeline of it, which is what takes time: browsers' tests
    /// do so with kernels that they do not run.
    ///
    /// # Errors
    /// As [`Gpu::compile`].
    pub async fn validate(&self, kernel: &Kernel) -> Result<()> {
        let accepted = self.pipelines.validate(&self.device, kernel).await;
        self.check()?;
        accepted
    }

    /// The pipelines of `kernels`, in their order; those that are new are compiled at the same time.
    ///
    /// # Errors
    /// As [`Gpu::compile`], of the first kernel that was refused; no memory for it.
    pub(crate) async fn compiled(&self, kernels: &[&Kernel]) -> Result<Vec<Arc<Pipeline>>> {
        let pipelines = self.pipelines.get(&self.device, kernels).await;
        // A lost device is the cause of whatever else was reported.
        self.check()?;
        pipelines
    }

    /// How far the compiling of kernels is, since the device was opened.
    pub fn compiling(&self) -> Compiling {
        self.pipelines.progress()
    }

    /// How many pipelines were compiled so far; a second run with the same plan adds none.
    pub fn pipelines_created(&self) -> usize {
        self.pipelines.len()
    }

    /// How many buffers were created so far; a second run of a session adds none.
    pub fn buffers_created(&self) -> usize {
        self.buffers.load(Ordering::Relaxed)
    }

    /// Destroys the device, as a driver reset would: all that uses it fails with [`Error::DeviceLost`].
    pub fn destroy(&self) {
        // wgpu reports it at a later poll, and until then errors that follow from it.
        *lock(&self.failure) = Some(Failure::Lost("it was destroyed".into()));
        self.device.destroy();
    }

    /// Waits for the device's loss and returns its reason. Natively it is noticed while other work goes on.
    pub async fn lost(&self) -> String {
        let (sender, lost) = signal();
        // In this order a loss in between is not missed; at worst it is delivered twice.
        lock(&self.waiting).push(sender);
        if let Some(Failure::Lost(reason)) = &*lock(&self.failure) {
            return reason.clone();
        }
        lost.await
    }

    /// Fails if the device was lost, or has reported another error since the last call.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], [`Error::OutOfMemory`] or [`Error::Gpu`].
    pub fn check(&self) -> Result<()> {
        let mut failure = lock(&self.failure);
        let found = failure.clone();
        if !matches!(found, Some(Failure::Lost(_))) {
            *failure = None;
        }
        match found {
            None => Ok(()),
            Some(Failure::Lost(reason)) => Err(Error::DeviceLost(reason)),
            Some(Failure::OutOfMemory(reason)) => Err(Error::OutOfMemory(format!(
                "{reason}; a smaller batch, float16 weights or another adapter may fit"
            ))),
            Some(Failure::Other(reason)) => Err(Error::Gpu(reason)),
        }
    }

    /// Waits until the device has finished what was submitted so far.
    ///
    /// # Errors
    /// As [`Gpu::check`].
    pub async fn finish(&self) -> Result<()> {
        let (sender, done) = signal();
        self.queue.on_submitted_work_done(move || sender.send(()));
        self.wait(None)?;
        done.await;
        self.check()
    }

    /// Natively, callbacks run while polling; in the browser this returns at once.
    pub(crate) fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        match self.device.poll(wgpu::PollType::Wait { submission_index: submission, timeout: None }) {
            Ok(_) => Ok(()),
            Err(error) => self.check().and(Err(Error::Gpu(error.to_string()))),
        }
    }

    pub(crate) fn storage(&self, label: &str, bytes: u64) -> wgpu::Buffer {
        self.buffer(
            label,
            bytes,
            wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
        )
    }

    pub(crate) fn buffer(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.buffers.fetch_add(1, Ordering::Relaxed);
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes,
            usage,
            mapped_at_creation: false,
        })
    }
}

fn caps(adapter: &str, info: &wgpu::AdapterInfo, limits: &wgpu::Limits, features: wgpu::Features) -> Caps {
    let subgroups = features.contains(wgpu::Features::SUBGROUP);
    let fixed = subgroups && info.subgroup_min_size == info.subgroup_max_size;
    Caps {
        adapter: adapter.into(),
        max_buffer_size: limits.max_buffer_size,
        max_binding_size: limits.max_storage_buffer_binding_size,
        max_workgroups: limits.max_compute_workgroups_per_dimension,
        max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
        most_work: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => Caps::MOST_WORK_DISCRETE,
            _ => Caps::MOST_WORK,
        },
        shader_f16: features.contains(wgpu::Features::SHADER_F16),
        subgroup: fixed.then_some(info.subgroup_max_size as usize).filter(|size| SUBGROUPS.contains(size)),
        f16_products: false,
        cooperative: None,
        workspace: 0,
        transformed_weights: 0,
        software: info.device_type == wgpu::DeviceType::Cpu,
        // AMD, Apple, NVIDIA.
        wide_registers: [0x1002, 0x106b, 0x10de].contains(&info.vendor),
        reads_ahead: info.vendor == 0x10de || info.device_type == wgpu::DeviceType::Cpu,
    }
}
