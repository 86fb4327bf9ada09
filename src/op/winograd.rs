//! Convolutions of kernels of 3 by Winograd's F(t x t, 3 x 3): an input transform, which evaluates the prologue, a batched
//! matrix product, and an output transform with the epilogue.

use super::bands::{View, holds, is_too_large, part, spans};
use super::conv2d::{Conv2d, Product, plain};
use super::dispatch::{DispatchBuilder, Resource, ValueId};
use super::fused::Prologue;
use super::lowering::{Layout, Lowering};
use super::resample::Resample;
use super::variant::GemmTile;
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::Shape;

/// A chunk of Winograd's tiles.
#[derive(Debug, Clone)]
struct Chunk {
    /// Of all tiles.
    first_tile: usize,
    /// How many.
    tiles: usize,
    /// What the input's transform reads.
    source: View,
    /// What the output's transform writes, and reads beside the products.
    result: View,
}

impl Conv2d {
    /// Three dispatches per chunk of tiles; chunks bound the workspace.
    pub(super) fn lower_winograd(&self, lowering: &mut dyn Lowering, t: usize, tile: GemmTile) -> Result<()> {
        let (first, grid, out) = (lowering.input_shape(0), self.grid(lowering)?, lowering.output_shape());
        let (tiles_x, tiles_y) = (out.w.div_ceil(t), out.h.div_ceil(t));
        let (tiles, points) = (tiles_x * tiles_y * out.n, (t + 2) * (t + 2));
        let (c4, n4) = (grid.c / 4, out.c.div_ceil(4));
        let most = lowering.workspace_rows(points * 16 * c4.max(n4)).clamp(1, tiles);
        // The sums of F(4x4)'s transforms cancel: they would amplify float16's rounding (of the weights alone, to 4e-3).
        let half = t == 2 && self.f16(lowering) == 2;
        let weight = self.winograd_weight(lowering, t, half, grid.c, n4)?;
        // A pool of four activated values is read by up to four tiles: it is computed once.
        let pool = self.prologue.resample == Some(Resample::Down);
        let pooled = if pool { Some(self.plain_source(lowering)?) } else { None };
        let prologue = if pool { &Prologue::default() } else { &self.prologue };
        // Channels per invocation of the input's transform: 36 vec4s are more than a GPU's registers hold.
        let width = if tile.needs_workgroup_memory() { 2 } else { 4 };
        let chunks = self.chunks(lowering, t, most, !pool);
        let chunk = chunks.iter().map(|chunk| chunk.tiles).max().unwrap_or(1);
        let v = lowering.temporary("V", points * chunk * c4 * 4);
        let m = lowering.temporary("M", points * chunk * n4 * 4);
        for Chunk { first_tile, tiles: count, source: seen, result } in chunks {
            let place = |dispatch: &mut DispatchBuilder| {
                dispatch
                    .word("tiles_x", tiles_x)
                    .word("tiles_y", tiles_y)
                    .word("first_tile", first_tile)
                    .word("tiles", count);
            };
            let kernel = prologue.define(Kernel::new("winograd_input")).with("T", t as i64).with("WIDTH", width as i64);
            let mut dispatch = DispatchBuilder::new(kernel);
            seen.apply(&mut dispatch);
            match pooled {
                Some(pooled) => drop(dispatch.bind("x", pooled)),
                None => prologue.bind(&mut dispatch, lowering),
            }
            let source = if pooled.is_some() { grid } else { first };
            dispatch
                .bind("out", v)
                .word("height", grid.h)
                .word("width", grid.w)
                .word("source_height", source.h)
                .word("source_width", source.w)
                .word("c4", c4)
                .word("c4_first", first.c / 4)
                .tiles(4 * c4 / width, count);
            place(&mut dispatch);
            lowering.emit(dispatch)?;

            let product = Product { m: count, n4, k4: c4, count: points };
            let kernel = product.kernel(tile, &[c4]).with("SOURCES", 1).with("F16", if half { 2 } else { 0 });
            let mut dispatch = DispatchBuilder::new(plain(kernel.with("IM2COL", 0)));
            dispatch
                .bind("a", v)
                .bind("w", weight)
                .bind("out", m)
                .word("n", 4 * n4)
                .word("n4", n4)
                .word("k4_first", c4)
                .word("height", 1)
                .word("width", count);
            product.describe(&mut dispatch, tile);
            lowering.emit(dispatch)?;

            let mut dispatch =
                DispatchBuilder::new(self.define(Kernel::new("winograd_output").with("T", t as i64), lowering));
            result.apply(&mut dispatch);
            dispatch.bind("m", m);
            self.finish(&mut dispatch, lowering)?;
            place(&mut dispatch);
            dispatch.tiles(n4, count);
            lowering.emit(dispatch)?;
        }
        Ok(())
    }

    /// The transformed weights: made at load where that is allowed to cost memory, else each time.
    fn winograd_weight(
        &self,
        lowering: &mut dyn Lowering,
        t: usize,
        half: bool,
        channels: usize,
        n4: usize,
    ) -> Result<Resource> {
        let layout = if self.transposed { Layout::TransposedWinograd(t) } else { Layout::Winograd(t) };
        if let Some(resident) = lowering.expanded_weight(0, layout, half) {
            return Ok(resident);
        }
        let elements = (t + 2) * (t + 2) * channels * n4 * 4;
        let (u, f16) = if half { (elements / 2, 2) } else { (elements, lowering.f16()) };
        let u = lowering.temporary("U", u);
        let kernel = Kernel::new("winograd_filter").with("T", t as i64).with("F16", f16);
        let mut dispatch = DispatchBuilder::new(kernel);
        dispatch
            .bind("w", lowering.weight(0, self.taps()))
            .bind("out", u)
            .word("channels", channels)
            .word("n4", n4)
            .tiles(n4, channels);
        lowering.emit(dispatch)?;
        Ok(u.into())
    }

    /// The chunks of Winograd F(t x t) of `most` tiles at most, where operand 0 (and 1) is read `directly`, as the prologue says.
    fn chunks(&self, lowering: &dyn Lowering, t: usize, most: usize, directly: bool) -> Vec<Chunk> {
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
