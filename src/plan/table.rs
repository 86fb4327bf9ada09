//! Prints a plan: one line per dispatch with the shapes it reads and yields, the slot it writes, and the kernel; then the
//! totals.

use std::fmt;

use super::{Buffer, Dispatch, Plan};
use crate::device::mebibytes;
use crate::shader::Access;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>4}  {:<18} {:<14} {:>9} {:>5} {:>10} {:>9}  {:<44} node",
            "#", "op", "shape", "reads", "slot", "bytes", "MFLOP", "kernel"
        )?;
        let mut segment = None;
        for (i, dispatch) in self.dispatches.iter().enumerate() {
            if segment != Some(dispatch.segment) {
                segment = Some(dispatch.segment);
                let dispatches = || self.dispatches.iter().filter(|s| s.segment == dispatch.segment);
                let flops: u64 = dispatches().map(|s| s.flops).sum();
                writeln!(
                    f,
                    "{:?}: {} dispatches, {:.3} GFLOP",
                    dispatch.segment,
                    dispatches().count(),
                    flops as f64 / 1e9
                )?;
            }
            let slots = |access| dispatch.slots(access).map(|slot| slot.to_string()).collect::<Vec<_>>().join(" ");
            let bytes: u64 = dispatch.slots(Access::ReadWrite).filter_map(|slot| self.slots.get(slot)).sum();
            writeln!(
                f,
                "{i:>4}  {:<18} {:<14} {:>9} {:>5} {bytes:>10} {:>9.2}  {:<44} {}",
                dispatch.op,
                dispatch.shape.to_string(),
                slots(Access::Read),
                slots(Access::ReadWrite),
                dispatch.flops as f64 / 1e6,
                dispatch.kernel.to_string(),
                dispatch.node
            )?;
        }
        let (dispatches, slots) = (self.dispatches.len(), self.slots.len());
        let (activations, weights) = (mebibytes(self.activation_bytes()), mebibytes(self.weight_bytes()));
        writeln!(f, "{dispatches} dispatches, {slots} slots, activations {activations}, weights {weights}")
    }
}

impl Dispatch {
    /// The slots that it binds with this access.
    fn slots(&self, wanted: Access) -> impl Iterator<Item = usize> {
        self.buffers.iter().filter_map(move |(buffer, access)| match buffer {
            Buffer::Slot(slot) | Buffer::Part { slot, .. } if *access == wanted => Some(*slot),
            _ => None,
        })
    }
}
