//! When each activation is alive, counted in steps.

use super::recording::{Recording, Resource, Value};

/// From the first step that writes a value to the last that touches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifetime {
    /// What it is.
    pub label: String,
    /// Its size.
    pub bytes: u64,
    /// The first step, inclusive.
    pub first: usize,
    /// The last step, inclusive.
    pub last: usize,
}

impl Lifetime {
    /// Whether both are alive in some step. WebGPU tracks whole buffers, so a step's result may not share a buffer
    /// with what the step reads: sharing one step is overlapping.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// A value that no step touches needs no memory.
    pub fn is_unused(&self) -> bool {
        self.first > self.last
    }
}

/// The lifetimes of all values, in order.
pub fn of(recording: &Recording) -> Vec<Lifetime> {
    let last_step = recording.steps.len().saturating_sub(1);
    let unused = |v: &Value| {
        let (first, last) = if v.pinned { (0, last_step) } else { (usize::MAX, 0) };
        Lifetime { label: v.label.clone(), bytes: v.bytes, first, last }
    };
    let mut lifetimes: Vec<Lifetime> = recording.values.iter().map(unused).collect();
    for (i, step) in recording.steps.iter().enumerate() {
        for (resource, _) in &step.buffers {
            if let Resource::Value(value) | Resource::Part { value, .. } = resource {
                let lifetime = &mut lifetimes[value.0];
                lifetime.first = lifetime.first.min(i);
                lifetime.last = lifetime.last.max(i);
            }
        }
    }
    lifetimes
}
