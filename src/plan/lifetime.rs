//! When each activation is alive, counted in dispatches.

use super::recording::{Recording, Value};
use crate::op::dispatch::Resource;

/// From the first dispatch that writes a value to the last that touches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifetime {
    /// What it is.
    pub label: String,
    /// Its size.
    pub bytes: u64,
    /// The first dispatch, inclusive.
    pub first: usize,
    /// The last dispatch, inclusive.
    pub last: usize,
}

impl Lifetime {
    /// Whether both are alive in some dispatch. WebGPU tracks whole buffers, so a dispatch's result may not share a buffer
    /// with what the dispatch reads: sharing one dispatch is overlapping.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// A value that no dispatch touches needs no memory.
    pub fn is_unused(&self) -> bool {
        self.first > self.last
    }
}

/// The lifetimes of all values, in order.
pub fn of(recording: &Recording) -> Vec<Lifetime> {
    let last_dispatch = recording.dispatches.len().saturating_sub(1);
    let unused = |v: &Value| {
        let (first, last) = if v.pinned { (0, last_dispatch) } else { (usize::MAX, 0) };
        Lifetime { label: v.label.clone(), bytes: v.bytes, first, last }
    };
    let mut lifetimes: Vec<Lifetime> = recording.values.iter().map(unused).collect();
    for (i, dispatch) in recording.dispatches.iter().enumerate() {
        for (resource, _) in &dispatch.buffers {
            if let Resource::Value(value) | Resource::Part { value, .. } = resource {
                let lifetime = &mut lifetimes[value.0];
                lifetime.first = lifetime.first.min(i);
                lifetime.last = lifetime.last.max(i);
            }
        }
    }
    lifetimes
}
