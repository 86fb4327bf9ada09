//! The adapters there are, and the choice among them.

use crate::error::{Error, Result};

/// Which adapter to use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AdapterChoice {
    /// The fastest: discrete before integrated before software.
    #[default]
    Default,
    /// Of the lowest power: integrated before others.
    LowPower,
    /// The first whose name, driver or backend contains this, ignoring case; or its number in [`crate::Gpu::adapters`].
    Named(String),
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

/// The adapters that can run compute shaders, the fastest first.
#[cfg_attr(not(target_arch = "wasm32"), expect(unused_variables, reason = "natively all are listed"))]
pub(super) async fn enumerate(choice: &AdapterChoice) -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    // No dispatch here is indirect. For their check wgpu compiles kernels of its own while it opens a device, and where that fails
    // it panics.
    descriptor.flags.remove(wgpu::InstanceFlags::VALIDATION_INDIRECT_CALL);
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
            // Vulkan before Direct3D, whose kernels pass through one more compiler. Of the software drivers, Mesa's is
            // several times faster than SwiftShader.
            let direct3d = info.backend == wgpu::Backend::Dx12;
            (rank(info.device_type), direct3d, info.name.starts_with("SwiftShader"))
        });
        adapters
    }
}

/// The adapter of a choice, with its number.
pub(super) fn choose(adapters: Vec<wgpu::Adapter>, choice: &AdapterChoice) -> Result<(usize, wgpu::Adapter)> {
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
const MISSING: &str = "this browser offers no WebGPU adapter; update it, or enable WebGPU in its settings";
#[cfg(not(target_arch = "wasm32"))]
const MISSING: &str = "install a Vulkan driver (on Debian and Ubuntu: `apt install mesa-vulkan-drivers` for Intel, AMD \
    and software rendering, or NVIDIA's driver package, which in a container needs `libegl1` beside it), or check that the GPU's \
    driver is loaded";

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

/// What a listing shows of an adapter.
pub(super) fn summarize(index: usize, adapter: &wgpu::Adapter) -> AdapterSummary {
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
