//! The op case table by every kernel that may compute it, in every precision, against the plain CPU reference.

use std::sync::Arc;

use guided_diffusion::device::{Caps, Precision};
use guided_diffusion::op::variant::Variant;
use guided_diffusion::{Gpu, Result};

use crate::cases::{self, Case};
use crate::kernels::PRECISIONS;
use crate::{Check, relative_l2};

/// A case by one kernel.
#[derive(Debug, Clone)]
pub struct OpRun {
    /// The case.
    pub case: Arc<Case>,
    /// The kernel.
    pub variant: Variant,
    /// How weights are stored and multiplied.
    pub precision: Precision,
}

/// Every case by every kernel that is legal under `caps`; with float16 weights, and in float16 arithmetic, where that changes
/// anything.
///
/// # Panics
/// A defect of the table.
pub fn op_runs(caps: &Caps) -> Vec<OpRun> {
    let mut runs = Vec::new();
    for case in cases::table().unwrap() {
        let case = Arc::new(case);
        for precision in PRECISIONS {
            let differs = |variant| match precision {
                Precision::F32 => true,
                Precision::F16Weights => case.has_matrices(),
                Precision::F16 => caps.shader_f16 && case.plan(caps, variant, precision).unwrap().uses_f16(),
            };
            for variant in case.variants(&caps.at(precision)).into_iter().filter(|variant| differs(*variant)) {
                runs.push(OpRun { case: case.clone(), variant, precision });
            }
        }
    }
    runs
}

impl OpRun {
    /// The op that its case is about (the last one), and how it is computed.
    pub fn kind(&self) -> String {
        let op = self.case.ops().last().map_or("", |op| op.operator().name());
        format!("{op} {:?} {:?}", self.variant, self.precision)
    }

    pub(crate) fn name(&self) -> String {
        format!("{} | {}", self.kind(), self.case.name)
    }

    pub(crate) async fn check(&self, gpu: &Arc<Gpu>) -> Result<Check> {
        let expected = self.case.trial.expected(self.precision)?;
        let result = self.case.trial.run(gpu, self.case.plan(gpu.caps(), self.variant, self.precision)?).await?;
        Ok(Check {
            name: self.name(),
            error: relative_l2(&result, &expected),
            tolerance: cases::tolerance(self.precision),
        })
    }
}
