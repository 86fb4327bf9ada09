//! Prints a plan: one line a step with the shapes it reads and yields, the slot it writes, and the kernel; then the
//! totals.

use std::fmt;

use super::{Buffer, Plan, Step, mebibytes};
use crate::shader::Access;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>4}  {:<18} {:<14} {:>9} {:>5} {:>10} {:>9}  {:<44} node",
            "step", "op", "shape", "reads", "slot", "bytes", "MFLOP", "kernel"
        )?;
        let mut segment = None;
        for (i, step) in self.steps.iter().enumerate() {
            if segment != Some(step.segment) {
                segment = Some(step.segment);
                let steps = || self.steps.iter().filter(|s| s.segment == step.segment);
                let flops: u64 = steps().map(|s| s.flops).sum();
                writeln!(f, "{:?}: {} steps, {:.3} GFLOP", step.segment, steps().count(), flops as f64 / 1e9)?;
            }
            let slots = |access| step.slots(access).map(|slot| slot.to_string()).collect::<Vec<_>>().join(" ");
            let bytes: u64 = step.slots(Access::ReadWrite).filter_map(|slot| self.slots.get(slot)).sum();
            writeln!(
                f,
                "{i:>4}  {:<18} {:<14} {:>9} {:>5} {bytes:>10} {:>9.2}  {:<44} {}",
                step.op,
                step.shape.to_string(),
                slots(Access::Read),
                slots(Access::ReadWrite),
                step.flops as f64 / 1e6,
                step.kernel.to_string(),
                step.node
            )?;
        }
        let (steps, slots) = (self.steps.len(), self.slots.len());
        let (activations, weights) = (mebibytes(self.activation_bytes()), mebibytes(self.weight_bytes()));
        writeln!(f, "{steps} steps, {slots} slots, activations {activations}, weights {weights}")
    }
}

impl Step {
    /// The slots it uses so.
    fn slots(&self, wanted: Access) -> impl Iterator<Item = usize> {
        self.buffers.iter().filter_map(move |(buffer, access)| match buffer {
            Buffer::Slot(slot) | Buffer::Part { slot, .. } if *access == wanted => Some(*slot),
            _ => None,
        })
    }
}
