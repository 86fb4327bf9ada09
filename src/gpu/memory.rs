//! How much memory a device has of its own, which WebGPU does not say.

/// Bytes, where the backend says it: Vulkan's device-local heap, and of Metal the largest buffer, which grows with the memory.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn of(adapter: &wgpu::Adapter) -> Option<u64> {
    match adapter.get_info().backend {
        wgpu::Backend::Vulkan => vulkan(adapter),
        wgpu::Backend::Metal => Some(adapter.limits().max_buffer_size),
        _ => None,
    }
}

/// No browser says it.
#[cfg(target_arch = "wasm32")]
pub(super) fn of(_: &wgpu::Adapter) -> Option<u64> {
    None
}

#[cfg(not(any(target_arch = "wasm32", target_vendor = "apple")))]
fn vulkan(adapter: &wgpu::Adapter) -> Option<u64> {
    const DEVICE_LOCAL: u32 = 1;
    // SAFETY: the handles are read while the guard keeps the adapter alive, and nothing of it is changed or destroyed.
    let heaps = unsafe {
        let adapter = adapter.as_hal::<wgpu::hal::api::Vulkan>()?;
        let instance = adapter.shared_instance().raw_instance();
        instance.get_physical_device_memory_properties(adapter.raw_physical_device())
    };
    let heaps = heaps.memory_heaps.iter().take(heaps.memory_heap_count as usize);
    heaps.filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0).map(|heap| heap.size).max()
}

#[cfg(all(target_vendor = "apple", not(target_arch = "wasm32")))]
fn vulkan(_: &wgpu::Adapter) -> Option<u64> {
    None
}
