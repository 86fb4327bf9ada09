//! What a convolution's variants are expected to cost: the order in which they are chosen where nothing was measured.

use super::variant::{GemmTile, Sharing, Variant};
use crate::tensor::Shape;

/// Multiply-adds in the time that a driver on the CPU takes to read or write a vec4, which it does value by value (fitted
/// on two drivers).
const READ: usize = 20;

/// The nominal GPU of the estimate, a Navi 21: SIMDs, waves of 64 invocations, clock cycles.
const SIMDS: f64 = 160.0;
const WAVE: usize = 64;
/// Cycles of one dispatch (4 us).
const DISPATCH: f64 = 9000.0;
/// Bytes per cycle from memory (512 GB/s), which weights come from, and from the cache that activations stay in.
const MEMORY: f64 = 232.0;
const CACHE: f64 = 680.0;
/// Cycles that one wave waits in an iteration of a matrix product, mostly for global memory.
const LATENCY: f64 = 900.0;
/// A model has about so many weights as large as the one in question: the part of what may be kept that is its own.
const SHARES: f64 = 16.0;

/// What the cost of a convolution depends on.
pub(super) struct Size {
    pub output: Shape,
    /// Input channels / 4.
    pub c4: usize,
    /// Output channels / 4.
    pub n4: usize,
    /// Values of the kernel.
    pub taps: usize,
    /// Bytes of transformed weights that the device keeps.
    pub kept: u64,
}

impl Size {
    /// Tiles of Winograd F(t x t).
    fn tiles(&self, t: usize) -> usize {
        self.output.n * self.output.h.div_ceil(t) * self.output.w.div_ceil(t)
    }

    /// The time on a driver that computes on the CPU, in multiply-adds. Workgroup memory is slow there.
    pub fn software_cost(&self, variant: Variant) -> f64 {
        let gemm = |tile: GemmTile, rows| {
            let slow = if tile.needs_workgroup_memory() { 1e3 } else { 1.0 };
            slow * (self.c4 * software_product(tile, rows, self.n4)) as f64
        };
        match variant {
            Variant::Gemm(tile) => self.taps as f64 * gemm(tile, self.output.rows()),
            Variant::Winograd(t, tile) => {
                let (tiles, points) = (self.tiles(t), (t + 2) * (t + 2));
                let moved = self.c4 * 2 * points + self.n4 * (points + t * t);
                points as f64 * gemm(tile, tiles) + (tiles * moved * READ) as f64
            }
            Variant::Block => (self.tiles(4) * self.n4 * self.c4 * (16 * 9 * 16 + READ * 108)) as f64,
            _ => f64::INFINITY,
        }
    }

    /// The time on the nominal GPU, in clock cycles: a model that ranks, and measures nothing.
    pub fn gpu_cost(&self, variant: Variant) -> f64 {
        let weights = 64.0 * (self.taps * self.c4 * self.n4) as f64;
        let sums = 16.0 * (self.output.rows() * self.n4) as f64;
        match variant {
            Variant::Gemm(tile) => {
                let product = gpu_product(tile, self.output.rows(), self.n4, self.taps * self.c4, 1);
                let adding = if tile.parts > 1 { DISPATCH + (tile.parts + 1) as f64 * sums / CACHE } else { 0.0 };
                DISPATCH + beside(product, weights / MEMORY) + adding
            }
            Variant::Winograd(t, tile) => {
                let (tiles, points) = (self.tiles(t), (t + 2) * (t + 2));
                let transformed = weights * points as f64 / self.taps as f64;
                let made = if transformed * SHARES > self.kept as f64 {
                    DISPATCH + (weights + transformed) / MEMORY
                } else {
                    0.0
                };
                let moved = 16.0 * (tiles * (self.c4 + self.n4)) as f64 * (points + t * t) as f64;
                let product = gpu_product(tile, tiles, self.n4, self.c4, points);
                made + 3.0 * DISPATCH + moved / CACHE + beside(product, transformed / MEMORY)
            }
            // Both would do, but take more registers than many GPUs have, or read too much.
            _ => f64::INFINITY,
        }
    }
}

/// The time of arithmetic and of reading that go on at once: most of the shorter is hidden.
fn beside(arithmetic: f64, reading: f64) -> f64 {
    arithmetic.max(reading) + arithmetic.min(reading) / 8.0
}

/// What a driver on the CPU takes for `m` rows and `n4` vec4 columns, in multiply-adds per inner vec4.
fn software_product(tile: GemmTile, m: usize, n4: usize) -> usize {
    let invocations = tile.columns(n4) * tile.lines(m) * tile.x * tile.y;
    invocations * (16 * tile.rows * tile.columns4 + READ * (tile.reads() + 4 * tile.columns4))
}

/// The cycles of `products` matrix products of `m` rows, `n4` vec4 columns and `k4` inner vec4s: its waves spread evenly,
/// those that share a SIMD hide each other's waits.
fn gpu_product(tile: GemmTile, m: usize, n4: usize, k4: usize, products: usize) -> f64 {
    let (rows, columns4) = (tile.rows as f64, tile.columns4 as f64);
    let groups = (tile.columns(n4) * tile.lines(m) * tile.parts * products) as f64;
    let inner = (k4 as f64 / tile.parts as f64).ceil();
    // Per iteration of one wave: vec4s of the inner dimension, busy cycles (of arithmetic or of what is read, whichever is
    // more), cycles that it waits; then how many waves fit a SIMD.
    let (depth, busy, wait, fit, workers) = match tile.sharing {
        Sharing::Workgroup { .. } => {
            let read = 36.0 * (rows + 4.0 * columns4);
            (
                tile.depth4() as f64,
                read.max(68.0 * rows * columns4 + 20.0),
                LATENCY,
                48.0 / (rows * columns4),
                tile.x * tile.y,
            )
        }
        // Tensor cores multiply about eight times as fast; factors come from workgroup memory for each product. What is read next
        // arrives meanwhile.
        Sharing::Cooperative(_) => {
            let busy = rows * columns4 + 4.0 * (rows + 4.0 * columns4);
            (8.0, busy, (LATENCY - busy).max(200.0), 1024.0 / (rows * columns4), 32 * tile.x * tile.y)
        }
        Sharing::Nothing => {
            let read = 16.0 * (rows + 4.0 * columns4);
            (1.0, read.max(36.0 * rows * columns4), LATENCY, 48.0 / (rows * columns4), tile.x * tile.y)
        }
        // A broadcast per factor, and more sums than registers.
        Sharing::Subgroup => (1.0, 72.0 * rows * columns4, LATENCY / 2.0, 1.0, tile.x * tile.y),
    };
    let waves = (groups * workers.div_ceil(WAVE) as f64 / SIMDS).max(1.0);
    let together = waves.min(fit.clamp(1.0, 10.0));
    waves / together * (inner / depth).ceil() * (together * busy).max(busy + wait)
}
