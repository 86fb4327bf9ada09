//! Prints a plan: one line a step, then the slots.

use std::fmt;

use super::{Buffer, Plan, mebibytes};
use crate::shader::Access;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>4}  {:<20} {:<14} {:>5} {:>10}  {:<44} node",
            "step", "op", "shape", "slot", "bytes", "kernel"
        )?;
        for (i, step) in self.steps.iter().enumerate() {
            let written = step.buffers.iter().find_map(|(buffer, access)| match (buffer, access) {
                (Buffer::Slot(slot), Access::ReadWrite) => Some(*slot),
                _ => None,
            });
            let (slot, bytes) =
                written.map_or((String::new(), 0), |s| (s.to_string(), self.slots.get(s).copied().unwrap_or(0)));
            let (shape, kernel) = (step.shape.to_string(), step.kernel.to_string());
            writeln!(f, "{i:>4}  {:<20} {shape:<14} {slot:>5} {bytes:>10}  {kernel:<44} {}", step.op, step.node)?;
        }
        writeln!(
            f,
            "{} steps, {} slots, activations {}, weights {}",
            self.steps.len(),
            self.slots.len(),
            mebibytes(self.activation_bytes()),
            mebibytes(self.weight_bytes())
        )
    }
}
