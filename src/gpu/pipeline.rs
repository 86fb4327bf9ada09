//! Compiles kernels, once each, under an error scope, so that a refused shader is an error with the kernel's name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::adapter::Gpu;
use super::signal::lock;
use crate::error::{Error, Result};
use crate::shader::{Access, Kernel};

/// A compiled kernel.
#[derive(Debug)]
pub struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
}

/// All compiled kernels of a device.
#[derive(Debug)]
pub struct Pipelines {
    compiled: Mutex<HashMap<Kernel, Arc<Pipeline>>>,
    checked: bool,
}

impl Pipelines {
    pub(crate) fn new(checked: bool) -> Self {
        Self { compiled: Mutex::default(), checked }
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.compiled).len()
    }

    /// The pipeline of `kernel`, compiled at its first use.
    ///
    /// # Errors
    /// [`Error::Shader`] with the compiler's message.
    pub(crate) async fn get(&self, gpu: &Gpu, kernel: &Kernel) -> Result<Arc<Pipeline>> {
        if let Some(done) = lock(&self.compiled).get(kernel) {
            return Ok(done.clone());
        }
        let broken = |reason: String| Error::Shader { kernel: kernel.to_string(), reason };
        let shader = kernel.expand().map_err(broken)?;
        let accesses: Vec<Access> = shader.bindings.iter().map(|b| b.access).collect();
        let label = kernel.to_string();
        let scope = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = self.module(gpu, &label, shader.text);
        let layout = bind_group_layout(&gpu.device, &accesses);
        let pipeline_layout = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&label),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Kernels write workgroup memory before they read it.
                zero_initialize_workgroup_memory: self.checked,
                ..Default::default()
            },
            cache: None,
        });
        let refused = scope.pop().await;
        gpu.check()?;
        if let Some(error) = refused {
            return Err(broken(error.to_string()));
        }
        let pipeline = Arc::new(Pipeline { pipeline, layout });
        lock(&self.compiled).insert(kernel.clone(), pipeline.clone());
        Ok(pipeline)
    }

    fn module(&self, gpu: &Gpu, label: &str, text: String) -> wgpu::ShaderModule {
        let descriptor =
            wgpu::ShaderModuleDescriptor { label: Some(label), source: wgpu::ShaderSource::Wgsl(text.into()) };
        if self.checked {
            return gpu.device.create_shader_module(descriptor);
        }
        // SAFETY: the text is this library's own, and so is every buffer it runs on: a `Plan` can only be made by
        // lowering a graph, which derives buffer sizes and shader parameters from the same shapes; indices that come from
        // the host's data (labels) are clamped in the shader. Divisors are never 0, and every loop ends.
        unsafe { gpu.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
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
