//! Bands: where a tensor is larger than a binding may be, a kernel is dispatched for some rows of one image at a time. It binds
//! the parts of its tensors that hold them, which look like images of their own, so that no kernel knows of it.

use super::conv2d::Conv2d;
use super::dispatch::{DispatchBuilder, Resource, ValueId};
use super::lowering::Lowering;
use crate::tensor::Shape;

/// A binding begins at a multiple of this (WebGPU's default, in bytes).
const ALIGNMENT: usize = 256;

/// Whether a tensor is larger than a binding may be.
fn is_too_large(lowering: &dyn Lowering, shape: Shape) -> bool {
    4 * shape.elements() as u64 > lowering.largest_binding()
}

/// How many of something of so many elements a binding can hold.
fn holds(lowering: &dyn Lowering, elements: usize) -> usize {
    usize::try_from(lowering.largest_binding()).unwrap_or(usize::MAX) / (4 * elements.max(1))
}

/// `elements` of a tensor from `first` on; `None` where no binding can begin there.
fn part(value: ValueId, first: usize, elements: usize) -> Option<Resource> {
    let (offset, bytes) = (4 * first, 4 * elements);
    let whole = offset.is_multiple_of(ALIGNMENT) && bytes.is_multiple_of(16);
    whole.then_some(Resource::Part { value, offset: offset as u64, bytes: bytes as u64 })
}

/// `all` in spans of about equal length, of `most` at most.
fn spans(all: usize, most: usize) -> impl Iterator<Item = [usize; 2]> {
    let count = all.div_ceil(most.max(1));
    (0..count).map(move |i| [all * i / count, all * (i + 1) / count])
}

/// What a dispatch of a band binds and is given instead of what holds for whole tensors.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    buffers: Vec<(&'static str, Resource)>,
    words: Vec<(&'static str, usize)>,
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

/// A chunk of Winograd's tiles.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    /// Of all tiles.
    pub first_tile: usize,
    /// How many.
    pub tiles: usize,
    /// What the input's transform reads.
    pub source: View,
    /// What the output's transform writes, and reads beside the products.
    pub result: View,
}

impl Conv2d {
    /// The chunks of Winograd F(t x t) of `most` tiles at most, where operand 0 (and 1) is read `directly`, as the prologue says.
    pub(super) fn chunks(&self, lowering: &dyn Lowering, t: usize, most: usize, directly: bool) -> Vec<Chunk> {
        if let Some(bands) = self.bands(lowering, t, most, directly) {
            return bands;
        }
        let out = lowering.output_shape();
        let tiles = out.n * out.h.div_ceil(t) * out.w.div_ceil(t);
        // All chunks alike: a small one would leave a GPU idle.
        let tiles_of_chunk = tiles.div_ceil(tiles.div_ceil(most));
        let chunk = |first_tile: usize| Chunk {
            first_tile,
            tiles: tiles_of_chunk.min(tiles - first_tile),
            source: View::default(),
            result: View::default(),
        };
        (0..tiles).step_by(tiles_of_chunk).map(chunk).collect()
    }

    /// Chunks that are lines of tiles, where a tensor is too large to be bound; `None` where none is, or where bands would not
    /// help.
    fn bands(&self, lowering: &dyn Lowering, t: usize, most: usize, directly: bool) -> Option<Vec<Chunk>> {
        let (out, shapes) = (lowering.output_shape(), lowering.input_shapes());
        let (tiles_x, tiles_y) = (out.w.div_ceil(t), out.h.div_ceil(t));
        let sources = if directly { &shapes[..1 + self.prologue.two_sources as usize] } else { &[] };
        let residual = self.epilogue.residual.map(|_| shapes[self.residual_input()]);
        let split_source = sources.iter().any(|shape| is_too_large(lowering, *shape));
        let split_result = residual.into_iter().chain([out]).any(|s| is_too_large(lowering, s));
        if !split_source && !split_result {
            return None;
        }
        // Rows of an operand to those of the grid: twice, half or as many.
        let scaled = |rows: usize, shape: Shape| rows * shape.h / out.h.max(1);
        let mut lines = most / tiles_x;
        if split_source {
            // A line of tiles above and one below are read, too.
            let fits = |s: &Shape| (holds(lowering, s.w * s.c) * out.h / s.h.max(1) / t).saturating_sub(2);
            lines = lines.min(sources.iter().map(fits).min()?);
        }
        if split_result {
            let fits = |s: Shape| holds(lowering, s.w * s.c) * out.h / s.h.max(1) / t;
            lines = lines.min(residual.map_or(usize::MAX, fits)).min(fits(out));
        }
        if lines == 0 {
            return None;
        }
        let rows = |value: ValueId, shape: Shape, sample: usize, [first, end]: [usize; 2]| {
            let (first, end) = (scaled(first, shape), scaled(end, shape));
            part(value, (sample * shape.h + first) * shape.w * shape.c, (end - first) * shape.w * shape.c)
        };
        let of_sample = |i: usize, sample: usize| {
            let elements = shapes[i].elements() / shapes[i].n;
            part(lowering.input(i), sample * elements, elements)
        };
        let band = |sample: usize, [first, end]: [usize; 2]| {
            let first_tile = (sample * tiles_y + first) * tiles_x;
            let (mut source, mut result) = (View::default(), View::default());
            if split_source {
                let (above, below) = (first.saturating_sub(1), (end + 1).min(tiles_y));
                let seen = [above * t, (below * t).min(out.h)];
                for (i, name) in (0..sources.len()).zip(["x", "skip"]) {
                    source.buffers.push((name, rows(lowering.input(i), shapes[i], sample, seen)?));
                }
                if self.prologue.affine {
                    source.buffers.push(("affine", of_sample(sources.len(), sample)?));
                }
                let height = seen[1] - seen[0];
                source.words = vec![
                    ("height", height),
                    ("source_height", scaled(height, shapes[0])),
                    ("tiles_y", below - above),
                    ("first_tile", (first - above) * tiles_x),
                ];
            }
            if split_result {
                let seen = [first * t, (end * t).min(out.h)];
                result.buffers.push(("out", rows(lowering.output(), out, sample, seen)?));
                if let Some(shape) = residual {
                    let value = lowering.input(self.residual_input());
                    result.buffers.push(("residual", rows(value, shape, sample, seen)?));
                }
                if self.epilogue.embedding && out.n > 1 {
                    result.buffers.push(("embedding", of_sample(self.prologue.operands(), sample)?));
                }
                result.words = vec![("height", seen[1] - seen[0]), ("tiles_y", end - first), ("first_tile", 0)];
            }
            Some(Chunk { first_tile, tiles: (end - first) * tiles_x, source, result })
        };
        let samples = (0..out.n).flat_map(|sample| spans(tiles_y, lines).map(move |span| (sample, span)));
        samples.map(|(sample, span)| band(sample, span)).collect()
    }
}
