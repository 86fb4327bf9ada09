//! Options of a plan.

use super::tuning::VariantOverrides;
use crate::device::Precision;

/// What the caller decides, not the device.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// How weights are stored and multiplied.
    pub precision: Precision,
    /// Variants to use instead of the defaults.
    pub overrides: VariantOverrides,
    /// Bytes that float32 weights transformed at load may take; beyond it they are transformed at each step. `None`: enough
    /// for small models, for which the transform at each step would cost most, and more where the device's memory is the
    /// host's.
    pub transform_budget: Option<u64>,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { precision: Precision::F32, overrides: VariantOverrides::new(), transform_budget: None }
    }
}
