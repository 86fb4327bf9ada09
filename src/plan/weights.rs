//! How parameters lie in device memory: pure functions from a checkpoint tensor to the bytes a kernel reads.

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::error::{Error, Result};
use crate::op::lowering::Layout;

/// A parameter in a layout.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WeightSpec {
    /// The parameter's name in the checkpoint.
    pub name: String,
    /// Its shape there.
    pub shape: Vec<usize>,
    /// The layout.
    pub layout: Layout,
    /// Stored as float16.
    pub f16: bool,
    /// Where it lies in a packed weight buffer; `None` where it has a buffer of its own.
    pub place: Option<Place>,
}

/// A place in a packed weight buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Index of the buffer.
    pub packed: usize,
    /// Its first byte there.
    pub offset: u64,
}

impl WeightSpec {
    /// Elements on the device.
    pub fn elements(&self) -> usize {
        let all: usize = self.shape.iter().product();
        let (out, inner) = self.matrix();
        match self.layout {
            Layout::Vector | Layout::Table => all.next_multiple_of(4),
            Layout::Taps | Layout::TransposedTaps => out.next_multiple_of(4) * (all / out.max(1)),
            Layout::Winograd(t) | Layout::TransposedWinograd(t) => (t + 2) * (t + 2) * inner * out.next_multiple_of(4),
        }
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        self.elements() as u64 * if self.f16 { 2 } else { 4 }
    }

    fn transposed(&self) -> bool {
        matches!(self.layout, Layout::TransposedTaps | Layout::TransposedWinograd(_))
    }

    /// Output and input channels, as the kernel sees them.
    fn matrix(&self) -> (usize, usize) {
        let (out, inner) = (self.shape.first().copied().unwrap_or(1), self.shape.get(1).copied().unwrap_or(1));
        if self.transposed() { (inner, out) } else { (out, inner) }
    }

    /// The device's bytes from the checkpoint's elements, in pieces in order, so that memory holds a large tensor in one
    /// layout and only a piece of it in the other: `write` is called with each piece and its offset.
    ///
    /// # Errors
    /// [`Error::Options`] for an element that is too large for float16, where weights are stored so.
    pub fn pack(&self, data: &[f32], mut write: impl FnMut(u64, &[u8])) -> Result<()> {
        let mut offset = 0;
        let mut result = |piece: &[f32]| {
            if !self.f16 {
                let bytes: &[u8] = bytemuck::cast_slice(piece);
                write(offset, bytes);
                offset += bytes.len() as u64;
                return Ok(());
            }
            // Whole slices, for which the crate uses the processor's own instructions.
            let mut halves = vec![f16::ZERO; piece.len()];
            halves.convert_from_f32_slice(piece);
            if let Some(at) = halves.iter().position(|half| !half.is_finite()) {
                return Err(self.too_large(piece[at]));
            }
            let bytes: &[u8] = bytemuck::cast_slice(&halves);
            write(offset, bytes);
            offset += bytes.len() as u64;
            Ok(())
        };
        let (out, inner) = self.matrix();
        let width = out.next_multiple_of(4);
        let taps = data.len() / (out * inner).max(1);
        let at = |o: usize, i: usize, tap: usize| match self.transposed() {
            false => data[(o * inner + i) * taps + tap],
            true => data[(i * out + o) * taps + taps - 1 - tap],
        };
        match self.layout {
            Layout::Vector | Layout::Table => {
                let whole = data.len() - data.len() % 4;
                if whole > 0 {
                    result(&data[..whole])?;
                }
                if whole < data.len() {
                    let mut last = [0.0; 4];
                    last[..data.len() - whole].copy_from_slice(&data[whole..]);
                    result(&last)?;
                }
            }
            Layout::Taps | Layout::TransposedTaps => {
                let mut piece = vec![0.0; inner * width];
                for tap in 0..taps {
                    tiled(out, inner, |o, i| piece[i * width + o] = at(o, i, tap));
                    result(&piece)?;
                }
            }
            Layout::Winograd(t) | Layout::TransposedWinograd(t) => {
                let transform = winograd_filter(t);
                let size = t + 2;
                let mut piece = vec![0.0; size * inner * width];
                for row in &transform {
                    tiled(out, inner, |o, i| {
                        let line = [0, 1, 2].map(|x| (0..3).map(|y| row[y] * at(o, i, 3 * y + x) as f64).sum::<f64>());
                        for (v, column) in transform.iter().enumerate() {
                            let value: f64 = line.iter().zip(column).map(|(a, b)| a * b).sum();
                            piece[(v * inner + i) * width + o] = value as f32;
                        }
                    });
                    result(&piece)?;
                }
            }
        }
        Ok(())
    }

    fn too_large(&self, value: f32) -> Error {
        Error::Options(format!(
            "tensor {} holds {value:e}, but float16 weights reach to {} only; use --precision f32",
            self.name,
            f16::MAX
        ))
    }
}

/// Visits every pair, in tiles, as a transpose is blocked: a tile of what is read and of what is written stays in the cache.
fn tiled(outs: usize, inners: usize, mut visit: impl FnMut(usize, usize)) {
    const SIDE: usize = 16;
    for out in (0..outs).step_by(SIDE) {
        for inner in (0..inners).step_by(SIDE) {
            for o in out..outs.min(out + SIDE) {
                for i in inner..inners.min(inner + SIDE) {
                    visit(o, i);
                }
            }
        }
    }
}

/// G of F(t x t, 3 x 3) (Lavin & Gray 2016); the points are 0, 1, -1 and, for t = 4, 2 and -2.
fn winograd_filter(t: usize) -> Vec<[f64; 3]> {
    if t == 2 {
        return vec![[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];
    }
    let (a, b, c) = (1.0 / 4.0, 1.0 / 6.0, 1.0 / 24.0);
    vec![[a, 0.0, 0.0], [-b, -b, -b], [-b, b, -b], [c, 2.0 * c, 4.0 * c], [c, -2.0 * c, 4.0 * c], [0.0, 0.0, 1.0]]
}
