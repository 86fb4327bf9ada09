//! Bands: where a tensor is larger than a binding may be, a kernel is dispatched for some rows of one image at a time. It binds
//! the parts of its tensors that hold them, which look like images of their own, so that no kernel knows of it.

use super::dispatch::{DispatchBuilder, Resource, ValueId};
use super::lowering::Lowering;
use crate::tensor::Shape;

/// A binding begins at a multiple of this (WebGPU's default, in bytes).
const ALIGNMENT: usize = 256;

/// Whether a tensor is larger than a binding may be.
pub(super) fn is_too_large(lowering: &dyn Lowering, shape: Shape) -> bool {
    4 * shape.elements() as u64 > lowering.largest_binding()
}

/// How many of something of so many elements a binding can hold.
pub(super) fn holds(lowering: &dyn Lowering, elements: usize) -> usize {
    usize::try_from(lowering.largest_binding()).unwrap_or(usize::MAX) / (4 * elements.max(1))
}

/// `elements` of a tensor from `first` on; `None` where no binding can begin there.
pub(super) fn part(value: ValueId, first: usize, elements: usize) -> Option<Resource> {
    let (offset, bytes) = (4 * first, 4 * elements);
    let whole = offset.is_multiple_of(ALIGNMENT) && bytes.is_multiple_of(16);
    whole.then_some(Resource::Part { value, offset: offset as u64, bytes: bytes as u64 })
}

/// `all` in spans of about equal length, of `most` at most.
pub(super) fn spans(all: usize, most: usize) -> impl Iterator<Item = [usize; 2]> {
    let count = all.div_ceil(most.max(1));
    (0..count).map(move |i| [all * i / count, all * (i + 1) / count])
}

/// What a dispatch of a band binds and is given instead of what holds for whole tensors.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    pub buffers: Vec<(&'static str, Resource)>,
    pub words: Vec<(&'static str, usize)>,
}

impl View {
    /// To be called first: what a dispatch is given first counts.
    pub fn apply(&self, dispatch: &mut DispatchBuilder) {
        for (name, resource) in &self.buffers {
            dispatch.bind(name, *resource);
        }
        for (name, value) in &self.words {
            dispatch.word(name, *value);
        }
    }
}

/// Views of some of `all` items at a time of tensors that are too large, or one of all, with how many items each has: `operands`
/// are names, values and elements per item; items are taken `multiple` at a time.
pub(super) fn views(
    lowering: &dyn Lowering,
    all: usize,
    multiple: usize,
    operands: &[(&'static str, ValueId, usize)],
) -> Vec<(View, usize)> {
    let whole = || vec![(View::default(), all)];
    let widest = operands.iter().map(|(_, _, elements)| *elements).max().unwrap_or(1);
    if holds(lowering, widest) >= all {
        return whole();
    }
    let most = holds(lowering, widest * multiple);
    let view = |[first, end]: [usize; 2]| {
        let (first, end) = (all.min(first * multiple), all.min(end * multiple));
        let part = |(name, value, elements): &(&'static str, ValueId, usize)| {
            Some((*name, part(*value, first * elements, (end - first) * elements)?))
        };
        let buffers = operands.iter().map(part).collect::<Option<_>>()?;
        Some((View { buffers, words: Vec::new() }, end - first))
    };
    // Where no binding can begin, the whole tensor is for the planner to refuse.
    spans(all.div_ceil(multiple), most).map(view).collect::<Option<_>>().unwrap_or_else(whole)
}
