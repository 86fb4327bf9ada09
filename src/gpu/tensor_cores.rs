//! Whether an adapter's tensor cores can be used: wgpu's cooperative matrices, an experimental feature that
//! is enabled only on request.

use crate::error::{Error, Result};

/// Sizes of cooperative matrices that the kernel is written for.
const SIZES: [usize; 2] = [8, 16];

/// Bytes of workgroup memory that the largest tile takes, at most.
const WORKGROUP_MEMORY: u32 = 32 << 10;

/// An opt-in token: its owner accepts the risks of tensor cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorCores(());

impl TensorCores {
    /// # Safety
    /// The caller accepts what [`wgpu::ExperimentalFeatures::enabled`] warns of: safe calls may meet bugs of wgpu that lead
    /// to undefined behaviour. One is known: for Vulkan's memory model, which comes with the feature, naga does not mark
    /// accesses to workgroup memory as shared, so that by the letter barriers do not order them (wgpu issue 8805), and the
    /// kernel relies on drivers.
    pub unsafe fn enabled() -> Self {
        Self(())
    }
}

/// wgpu's own token for a device with the feature, where the caller opted in.
pub(super) fn token(opt_in: Option<TensorCores>) -> wgpu::ExperimentalFeatures {
    match opt_in {
        None => wgpu::ExperimentalFeatures::disabled(),
        // SAFETY: `TensorCores` is only made by a caller that accepts just this. Of the feature only `gemm_cooperative.wgsl` is used,
        // with a size and types that the adapter reports.
        Some(TensorCores(())) => unsafe { wgpu::ExperimentalFeatures::enabled() },
    }
}

/// The size of the adapter's cooperative matrices, where the kernel may use them.
///
/// # Errors
/// [`Error::Feature`] where it may not.
pub(super) fn size(adapter: &wgpu::Adapter) -> Result<usize> {
    let (info, features) = (adapter.get_info(), adapter.features());
    let needed =
        wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP;
    // wgpu does not know Metal's; Apple's own GPUs have this one.
    let apple = info.backend == wgpu::Backend::Metal && info.name.starts_with("Apple");
    let subgroups = apple || (info.subgroup_min_size == 32 && info.subgroup_max_size == 32);
    let found = adapter.cooperative_matrix_properties();
    let memory = adapter.limits().max_compute_workgroup_storage_size >= WORKGROUP_MEMORY;
    let size = largest_square(&found).filter(|_| features.contains(needed) && subgroups && memory);
    size.ok_or_else(|| Error::Feature {
        what: "a matrix product on tensor cores (float16 factors, float32 sums, subgroups of 32, 32 KiB of workgroup memory)".into(),
        adapter: info.name,
        name: "wgpu-cooperative-matrix",
        advice: "without --tensor-cores other kernels are used".into(),
    })
}

/// The largest square of float16 factors and float32 sums that kernels are written for.
fn largest_square(found: &[wgpu::CooperativeMatrixProperties]) -> Option<usize> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let fits = |p: &&wgpu::CooperativeMatrixProperties| {
        p.ab_type == F16 && p.cr_type == F32 && p.m_size == p.n_size && p.n_size == p.k_size
    };
    let sizes = found.iter().filter(fits).map(|p| p.m_size as usize);
    sizes.filter(|size| SIZES.contains(size)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cooperative_matrices_are_squares_of_float16_with_float32_sums() {
        use wgpu::CooperativeScalarType::{F16, F32};
        let of = |m_size, n_size, k_size, ab_type, cr_type| wgpu::CooperativeMatrixProperties {
            m_size,
            n_size,
            k_size,
            ab_type,
            cr_type,
            saturating_accumulation: false,
        };
        let (small, large) = (of(8, 8, 8, F16, F32), of(16, 16, 16, F16, F32));
        assert_eq!(largest_square(&[]), None);
        assert_eq!(largest_square(&[of(16, 16, 16, F16, F16), of(8, 8, 8, F32, F32), of(16, 8, 16, F16, F32)]), None);
        assert_eq!(largest_square(&[large, small]), Some(16));
        assert_eq!(largest_square(&[of(16, 16, 16, F16, F16), small]), Some(8));
    }
}
