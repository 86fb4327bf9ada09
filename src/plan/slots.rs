//! Assigns activations to slots: whole buffers whose values have disjoint lifetimes.
//!
//! Offsets in one arena would pack tighter, but WebGPU tracks usage by whole buffer: a dispatch cannot read one part
//! of a buffer and write another.

use super::lifetime::Lifetime;
use crate::order::{pair, sort_by_number};

/// The slot of each value, and each slot's bytes. Largest values first, so that a slot's size is set by the value that
/// opened it; among the free slots, the smallest that fits.
pub fn assign(lifetimes: &[Lifetime]) -> (Vec<usize>, Vec<u64>) {
    let mut order: Vec<usize> = (0..lifetimes.len()).filter(|i| !lifetimes[*i].is_unused()).collect();
    sort_by_number(&mut order, |i| pair(u64::MAX - lifetimes[*i].bytes, lifetimes[*i].first as u64));
    let mut assignment = vec![usize::MAX; lifetimes.len()];
    let mut slots: Vec<(u64, Vec<usize>)> = Vec::new();
    for i in order {
        let free = |tenants: &[usize]| tenants.iter().all(|other| !lifetimes[i].overlaps(&lifetimes[*other]));
        let candidates = slots.iter().enumerate().filter(|(_, (_, tenants))| free(tenants));
        let slot = match candidates.min_by_key(|(_, (bytes, _))| *bytes) {
            Some((slot, _)) => slot,
            None => {
                slots.push((lifetimes[i].bytes, Vec::new()));
                slots.len() - 1
            }
        };
        slots[slot].1.push(i);
        assignment[i] = slot;
    }
    (assignment, slots.into_iter().map(|(bytes, _)| bytes).collect())
}
