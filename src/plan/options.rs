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
    /// Bytes that weights transformed at load may take; beyond it they are transformed at each step. `None`: as the
    /// device's memory allows ([`crate::device::Caps::transformed_weights`]).
    pub transform_budget: Option<u64>,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { precision: Precision::F32, overrides: VariantOverrides::new(), transform_budget: None }
    }
}
