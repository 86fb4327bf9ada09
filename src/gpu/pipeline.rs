//! Compiles kernels, once each, under an error scope, so that a refused shader is an error with the kernel's name.
//!
//! Many at once: natively on all cores; in a browser all are requested before the first is awaited.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock};

use super::scope::{self, Caught, Pending};
use super::signal::lock;
use crate::error::{Error, Result};
use crate::shader::{Access, Kernel, Shader};

/// WGSL's directive for subgroup operations, which naga does not accept yet.
const ENABLE_SUBGROUPS: &str = if cfg!(target_arch = "wasm32") { "enable subgroups;\n" } else { "" };

/// A compiled kernel.
#[derive(Debug)]
pub struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
}

/// Another text for a kernel.
pub type Alter = fn(&Kernel, String) -> String;

/// Kernels of a device that were compiled so far, of those that were asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compiling {
    /// Compiled, or refused.
    pub done: usize,
    /// Asked for.
    pub total: usize,
}

/// All compiled kernels of a device.
#[derive(Debug)]
pub struct Pipelines {
    compiled: Mutex<HashMap<Kernel, Arc<Pipeline>>>,
    progress: Mutex<Compiling>,
    checked: bool,
    /// The driver's own store of compiled code, which outlives the process by [`super::cache::Cache`].
    pub(crate) cache: OnceLock<wgpu::PipelineCache>,
    /// Makes kernels wrong, to test what notices.
    alter: Mutex<Option<Alter>>,
}

impl Pipelines {
    pub(crate) fn new(checked: bool) -> Self {
        let (compiled, progress, alter) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { compiled, progress, checked, cache: OnceLock::new(), alter }
    }

    pub(crate) fn progress(&self) -> Compiling {
        *lock(&self.progress)
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.compiled).len()
    }

    /// Alters the text of all kernels from now on; what was compiled is forgotten.
    pub(crate) fn alter(&self, alter: Option<Alter>) {
        *lock(&self.alter) = alter;
        lock(&self.compiled).clear();
    }

    /// The pipelines of `kernels`, in their order; those that are new are compiled at the same time.
    ///
    /// # Errors
    /// [`Error::Shader`] with the compiler's message, of the first kernel that was refused; no memory for it.
    pub(crate) async fn get(&self, device: &wgpu::Device, kernels: &[&Kernel]) -> Result<Vec<Arc<Pipeline>>> {
        let missing: Vec<&Kernel> = {
            let (known, mut seen) = (lock(&self.compiled), HashSet::new());
            kernels.iter().copied().filter(|kernel| !known.contains_key(kernel) && seen.insert(*kernel)).collect()
        };
        lock(&self.progress).total += missing.len();
        let mut failed = None;
        let started = each(&missing, |kernel| self.start(device, kernel));
        for (kernel, started) in missing.into_iter().zip(started) {
            let done = match started {
                Ok((pipeline, pending)) => accepted(kernel, pending).await.map(|()| pipeline),
                Err(error) => Err(error),
            };
            lock(&self.progress).done += 1;
            match done {
                Ok(pipeline) => {
                    lock(&self.compiled).insert(kernel.clone(), Arc::new(pipeline));
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let known = lock(&self.compiled);
        let found = kernels.iter().map(|kernel| known.get(*kernel).cloned()).collect::<Option<_>>();
        found.ok_or_else(|| Error::Gpu("a compiled kernel is gone".into()))
    }

    /// Has the text of `kernel` checked, as it is before a pipeline is made of it.
    ///
    /// # Errors
    /// As [`Pipelines::get`].
    pub(crate) async fn validate(&self, device: &wgpu::Device, kernel: &Kernel) -> Result<()> {
        let shader = self.shader(kernel)?;
        let (_, pending) = scope::watch(device, || self.module(device, &kernel.to_string(), shader.text));
        accepted(kernel, pending).await
    }

    /// The text of `kernel`, as a device gets it.
    fn shader(&self, kernel: &Kernel) -> Result<Shader> {
        let mut shader = kernel.expand().map_err(|reason| Error::Shader { kernel: kernel.to_string(), reason })?;
        if let Some(alter) = *lock(&self.alter) {
            shader.text = alter(kernel, shader.text);
        }
        if kernel.uses_subgroups() {
            shader.text.insert_str(0, ENABLE_SUBGROUPS);
        }
        Ok(shader)
    }

    /// Begins to compile `kernel`; why it was refused, if it was, is reported later.
    fn start(&self, device: &wgpu::Device, kernel: &Kernel) -> Result<(Pipeline, Pending)> {
        let (label, shader) = (kernel.to_string(), self.shader(kernel)?);
        let accesses: Vec<Access> = shader.bindings.iter().map(|b| b.access).collect();
        Ok(scope::watch(device, || {
            let module = self.module(device, &label, shader.text);
            let layout = bind_group_layout(device, &accesses);
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(&label),
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&label),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    // Kernels write workgroup memory before they read it.
                    zero_initialize_workgroup_memory: self.checked,
                    ..Default::default()
                },
                cache: self.cache.get(),
            });
            Pipeline { pipeline, layout }
        }))
    }

    fn module(&self, device: &wgpu::Device, label: &str, text: String) -> wgpu::ShaderModule {
        let descriptor =
            wgpu::ShaderModuleDescriptor { label: Some(label), source: wgpu::ShaderSource::Wgsl(text.into()) };
        if self.checked {
            return device.create_shader_module(descriptor);
        }
        // SAFETY: the text is this library's own, and so is every buffer it runs on: a `Plan` can only be made by
        // lowering a graph, which derives buffer sizes and shader parameters from the same shapes; indices that come from
        // the host's data (labels) are clamped in the shader. Divisors are never 0, and every loop ends.
        unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
    }
}

/// The error of `kernel`'s scope, if there was one, under the kernel's name.
async fn accepted(kernel: &Kernel, pending: Pending) -> Result<()> {
    match pending.error().await {
        None => Ok(()),
        Some(Caught { exhausted: true, reason }) => Err(Error::OutOfMemory(format!("shader {kernel}: {reason}"))),
        Some(Caught { reason, .. }) => Err(Error::Shader { kernel: kernel.to_string(), reason }),
    }
}

fn bind_group_layout(device: &wgpu::Device, accesses: &[Access]) -> wgpu::BindGroupLayout {
    let entry = |(binding, access): (usize, &Access)| wgpu::BindGroupLayoutEntry {
        binding: binding as u32,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: match access {
                Access::Uniform => wgpu::BufferBindingType::Uniform,
                Access::Read => wgpu::BufferBindingType::Storage { read_only: true },
                Access::ReadWrite => wgpu::BufferBindingType::Storage { read_only: false },
            },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    };
    let entries: Vec<wgpu::BindGroupLayoutEntry> = accesses.iter().enumerate().map(entry).collect();
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries })
}

/// `work` on each item, natively on as many threads as there are cores; results in the items' order.
#[cfg(not(target_arch = "wasm32"))]
fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    use std::sync::atomic::{AtomicUsize, Ordering};

    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((i, item)) = items.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(item);
                    lock(&results).push((i, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    results.sort_by_key(|(i, _)| *i);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(target_arch = "wasm32")]
fn each<T, R>(items: &[T], work: impl Fn(&T) -> R) -> Vec<R> {
    items.iter().map(work).collect()
}
