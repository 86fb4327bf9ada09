//! Adapters, the open device, and the errors that it reports.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::pipeline::{Pipeline, Pipelines};
use super::results::SelfTestResults;
use super::scope::{self, Caught};
use super::signal::{Sender, lock, signal};
use super::tensor_cores::{self, TensorCores};
use crate::device::Caps;
use crate::error::{Error, Result};
use crate::shader::Kernel;

/// Subgroup sizes that kernels are written for.
const SUBGROUPS: [usize; 4] = [4, 8, 16, 32];

/// Which adapter to use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AdapterChoice {
    /// The fastest: discrete before integrated before software.
    #[default]
    Default,
    /// Of the lowest power: integrated before others.
    LowPower,
    /// The first whose name, driver or backend contains this, ignoring case; or its number in [`Gpu::adapters`].
    Named(String),
}

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

/// An adapter in a listing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AdapterSummary {
    /// Its number.
    pub index: usize,
    /// The device's name.
    pub name: String,
    /// The vendor's number; 0 where the system does not report it.
    pub vendor: u32,
    /// The device's number; 0 where the system does not report it.
    pub device: u32,
    /// Vulkan, Metal, Dx12 or BrowserWebGpu.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
    /// discrete, integrated, virtual, software or other.
    pub kind: &'static str,
    /// Bytes of the largest storage binding.
    pub max_binding_size: u64,
    /// Bytes of the largest buffer.
    pub max_buffer_size: u64,
    /// Optional features that kernels or the profiler use.
    pub features: Vec<&'static str>,
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
        let pipelines = Pipelines::new(options.checked || cooperative.is_some());
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

#[cfg_attr(not(target_arch = "wasm32"), expect(unused_variables, reason = "natively all are listed"))]
async fn enumerate(choice: &AdapterChoice) -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    let instance = wgpu::Instance::new(descriptor);
    #[cfg(target_arch = "wasm32")]
    {
        // The browser offers one adapter at a time, on request.
        let options = wgpu::RequestAdapterOptions {
            power_preference: match choice {
                AdapterChoice::LowPower => wgpu::PowerPreference::LowPower,
                _ => wgpu::PowerPreference::HighPerformance,
            },
            ..Default::default()
        };
        instance.request_adapter(&options).await.into_iter().collect()
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        let mut adapters = instance.enumerate_adapters(wgpu::Backends::PRIMARY).await;
        let usable = wgpu::DownlevelFlags::COMPUTE_SHADERS;
        adapters.retain(|a| a.get_downlevel_capabilities().flags.contains(usable));
        adapters.sort_by_key(|a| {
            let info = a.get_info();
            // Of the software drivers, Mesa's is several times faster than SwiftShader.
            (rank(info.device_type), info.name.starts_with("SwiftShader"))
        });
        adapters
    }
}

fn choose(adapters: Vec<wgpu::Adapter>, choice: &AdapterChoice) -> Result<(usize, wgpu::Adapter)> {
    let summaries: Vec<AdapterSummary> = adapters.iter().enumerate().map(|(i, a)| summarize(i, a)).collect();
    let index = match choice {
        AdapterChoice::Default => summaries.first().map(|s| s.index),
        AdapterChoice::LowPower => {
            summaries.iter().find(|s| s.kind == "integrated").or(summaries.first()).map(|s| s.index)
        }
        AdapterChoice::Named(text) => {
            let wanted = text.to_lowercase();
            let matches = |s: &&AdapterSummary| {
                [&s.name, &s.driver, &s.backend].iter().any(|field| field.to_lowercase().contains(&wanted))
            };
            // Names hold digits too; a number in the list is taken as the number.
            let number = text.parse().ok().filter(|i| *i < summaries.len());
            number.or_else(|| summaries.iter().find(matches).map(|s| s.index))
        }
    };
    let found = index.and_then(|i| adapters.into_iter().nth(i).map(|adapter| (i, adapter)));
    found.ok_or_else(|| {
        Error::NoAdapter(match choice {
            AdapterChoice::Named(text) if !summaries.is_empty() => {
                let names: Vec<String> = summaries.iter().map(|s| format!("{} ({})", s.name, s.backend)).collect();
                format!("none matches `{text}`; there are: {}", names.join(", "))
            }
            _ => MISSING.into(),
        })
    })
}

#[cfg(target_arch = "wasm32")]
const MISSING: &str =
    "this browser offers no WebGPU adapter; Chrome and Edge 113, Firefox 141 and Safari 26 or newer do";
#[cfg(not(target_arch = "wasm32"))]
const MISSING: &str = "install a Vulkan driver (on Debian and Ubuntu: `apt install mesa-vulkan-drivers` for Intel, AMD \
    and software rendering, or NVIDIA's driver package), or check that the GPU's driver is loaded";

#[cfg(not(target_arch = "wasm32"))]
fn rank(kind: wgpu::DeviceType) -> u8 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

fn summarize(index: usize, adapter: &wgpu::Adapter) -> AdapterSummary {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    let known = [
        (wgpu::Features::TIMESTAMP_QUERY, "timestamp-query"),
        (wgpu::Features::SHADER_F16, "shader-f16"),
        (wgpu::Features::SUBGROUP, "subgroups"),
        (wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, "wgpu-cooperative-matrix"),
    ];
    AdapterSummary {
        index,
        // Most browsers do not report it.
        name: if info.name.is_empty() { "this browser's GPU".into() } else { info.name },
        vendor: info.vendor,
        device: info.device,
        backend: format!("{:?}", info.backend),
        driver: format!("{} {}", info.driver, info.driver_info).trim().into(),
        kind: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete",
            wgpu::DeviceType::IntegratedGpu => "integrated",
            wgpu::DeviceType::VirtualGpu => "virtual",
            wgpu::DeviceType::Cpu => "software",
            wgpu::DeviceType::Other => "other",
        },
        max_binding_size: limits.max_storage_buffer_binding_size,
        max_buffer_size: limits.max_buffer_size,
        features: known.iter().filter(|(f, _)| features.contains(*f)).map(|(_, name)| *name).collect(),
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
        shader_f16: features.contains(wgpu::Features::SHADER_F16),
        subgroup: fixed.then_some(info.subgroup_max_size as usize).filter(|size| SUBGROUPS.contains(size)),
        cooperative: None,
        software: info.device_type == wgpu::DeviceType::Cpu,
        // AMD, Apple, NVIDIA.
        wide_registers: [0x1002, 0x106b, 0x10de].contains(&info.vendor),
    }
}
