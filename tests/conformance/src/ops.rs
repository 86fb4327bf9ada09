//! The op case table by every kernel that may compute it, in every precision, against the plain CPU reference.

use std::collections::BTreeMap;
use std::sync::Arc;

use guided_diffusion::device::{Caps, Precision};
use guided_diffusion::op::variant::{GemmTile, Variant};
use guided_diffusion::plan::Plan;
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
    /// Winograd's weights are transformed by the host, at load; else by a kernel.
    host: bool,
}

/// By how many kinds of kernel a case is computed, beside its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinds {
    /// By each that is legal.
    Each,
    /// By one, which the cases of an op take in turns: in browsers, where compiling takes minutes. Each kind of kernel meets their
    /// compilers, and native tests run it in each case.
    InTurns,
}

/// Every case by its default and by one kernel of each kind that is legal under `caps` (or of the kind whose turn it is), also
/// in float16 arithmetic, where that changes anything. Kernels of a kind differ in their tiles, which the cases take in turns:
/// all of them in all cases would compile for minutes, and a tile's edges are the same whatever is read before and added after
/// it. In other precisions than float32 the kinds take turns too: a fault that a kind has in float16 alone, and in one case alone, can
/// be missed.
///
/// # Panics
/// A defect of the table.
pub fn op_runs(caps: &Caps, by: Kinds) -> Vec<OpRun> {
    let mut runs = Vec::new();
    let mut turns: BTreeMap<String, usize> = BTreeMap::new();
    for case in cases::table().unwrap() {
        let case = Arc::new(case);
        for precision in PRECISIONS {
            let differs = |variant| match precision {
                Precision::F32 => true,
                Precision::F16Weights => case.has_matrices(),
                Precision::F16 => caps.shader_f16 && case.plan(caps, variant, precision).unwrap().uses_f16(),
            };
            let all = case.variants(&caps.at(precision));
            let mut kinds: BTreeMap<String, Vec<Variant>> = BTreeMap::new();
            let name = |variant| format!("{} {precision:?} {}", case.subject(), kind(variant));
            all.iter().for_each(|variant| kinds.entry(name(*variant)).or_default().push(*variant));
            if by == Kinds::InTurns || precision != Precision::F32 {
                // Each kind in the first case that has it, then the one that ran least.
                let next = kinds.keys().min_by_key(|kind| turns.get(*kind)).cloned();
                kinds.retain(|kind, _| !turns.contains_key(kind) || Some(kind) == next.as_ref());
            }
            let mut variants = all[..1].to_vec();
            for (kind, members) in kinds {
                let turn = turns.entry(kind).or_default();
                let next = members[*turn % members.len()];
                *turn += 1;
                variants.extend((next != all[0]).then_some(next));
            }
            for variant in variants.into_iter().filter(|variant| differs(*variant)) {
                // At float16 arithmetic either may do it; float16 weights are meant to save memory, and never come from the host.
                let both = precision == Precision::F16 && matches!(variant, Variant::Winograd(2, _));
                let hosts = if both { vec![false, true] } else { vec![precision == Precision::F32] };
                runs.extend(hosts.into_iter().map(|host| OpRun { case: case.clone(), variant, precision, host }));
            }
        }
    }
    runs
}

/// What kernels have in common that differ in only their tiles.
pub fn kind(variant: Variant) -> String {
    let shared = |tile: GemmTile| format!("{:?} {} {}", tile.sharing, tile.parts > 1, tile.x <= 2);
    match variant {
        Variant::Gemm(tile) => shared(tile),
        Variant::Winograd(t, tile) => format!("{t} {}", shared(tile)),
        Variant::Attention(tile) => format!("{} {} {}", tile.subgroup > 0, tile.workgroup, tile.parts > 1),
        Variant::Naive | Variant::Serial | Variant::Block => format!("{variant:?}"),
    }
}

impl OpRun {
    /// The op that its case is about, and how it is computed.
    pub fn kind(&self) -> String {
        format!("{} {:?} {:?}", self.case.subject(), self.variant, self.precision)
    }

    pub(crate) fn name(&self) -> String {
        let host = if self.host && self.precision == Precision::F16 { " host" } else { "" };
        format!("{}{host} | {}", self.kind(), self.case.name)
    }

    /// Its plan.
    ///
    /// # Errors
    /// A device that is too small.
    pub fn plan(&self, caps: &Caps) -> Result<Plan> {
        self.case.plan_by(caps, self.variant, self.precision, self.host)
    }

    pub(crate) async fn check(&self, gpu: &Arc<Gpu>) -> Result<Check> {
        let expected = self.case.trial.expected(self.precision)?;
        let result = self.case.trial.run(gpu, self.plan(gpu.caps())?).await?;
        Ok(Check {
            name: self.name(),
            error: relative_l2(&result, &expected),
            tolerance: self.case.tolerance(self.precision),
        })
    }
}
