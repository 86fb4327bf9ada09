//! The ways to compute an op, and which of them are legal on a device, in the order of an estimate.

use super::estimate::Size;
use crate::device::Caps;
use crate::shader::Kernel;
use crate::tensor::Shape;

/// Bytes of transformed weights above which Winograd is not worth its memory.
const LARGEST_TRANSFORM: usize = 96 << 20;

/// Workgroups that keep a large GPU busy: two for each of 160 SIMDs (Navi 21).
const BUSY: usize = 320;
/// vec4s of a part of a matrix product's inner dimension, at least.
const SHORTEST_PART: usize = 24;
/// Elements of the sums of all parts, at most.
const LARGEST_PARTIAL: usize = 1 << 20;

/// A way to compute an op.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// The op's general kernel, which runs everywhere.
    Naive,
    /// One invocation does what a workgroup shares in the general kernel: drivers that compute on the CPU are slow at
    /// barriers.
    Serial,
    /// A matrix product, implicit for kernels larger than 1.
    Gemm(GemmTile),
    /// Blocks of 4 x 4 pixels per invocation, for few channels.
    Block,
    /// Winograd F(t x t, 3 x 3) around a matrix product.
    Winograd(usize, GemmTile),
    /// Attention, several queries per invocation.
    Attention(AttentionTile),
}

/// How attention is shared among invocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttentionTile {
    /// Queries per invocation.
    pub queries: usize,
    /// Keys and values are broadcast within subgroups of this size; 0: every invocation reads all of them.
    pub subgroup: usize,
    /// Tiles of both pass through workgroup memory, and several invocations share a query.
    pub workgroup: bool,
}

impl AttentionTile {
    /// What attention's general kernel does.
    pub const GENERAL: Self = Self { queries: 1, subgroup: 0, workgroup: false };
    const WORKERS: usize = 64;

    /// Where tiles pass through workgroup memory: invocations that share a query of a head of `head4` vec4s, so that
    /// each one's sums fit its registers; and queries per workgroup.
    pub(crate) fn shared(&self, head4: usize) -> (usize, usize) {
        let lanes = if head4 > 24 { 16 } else { 8 };
        (lanes, Self::WORKERS / lanes * self.queries)
    }

    /// That of a chosen variant.
    pub(crate) fn of(variant: Variant) -> Self {
        if let Variant::Attention(tile) = variant { tile } else { Self::GENERAL }
    }

    /// Invocations per workgroup.
    pub fn workers(&self) -> usize {
        if self.subgroup > 0 { self.subgroup } else { Self::WORKERS }
    }

    pub(crate) fn define(&self, kernel: Kernel) -> Kernel {
        kernel
            .with("QUERIES", self.queries as i64)
            .with("SUBGROUP", self.subgroup > 0)
            .with("KEYS", if self.subgroup > 0 { self.subgroup as i64 } else { 4 })
            .with("WORKERS", self.workers() as i64)
    }
}

/// Register tile and workgroup of a matrix product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GemmTile {
    /// Rows per invocation.
    pub rows: usize,
    /// Columns per invocation, in vec4s.
    pub columns4: usize,
    /// Invocations along the columns; of cooperative matrices, subgroups.
    pub x: usize,
    /// Invocations along the rows; of cooperative matrices, subgroups.
    pub y: usize,
    /// How invocations share what they read.
    pub sharing: Sharing,
    /// Parts of the inner dimension, which are products of their own until they are added up.
    pub parts: usize,
}

/// How the invocations of a workgroup share what they read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// Not at all: each reads what it needs.
    Nothing,
    /// By broadcasts: the workgroup is one subgroup, and its invocations have the same rows.
    Subgroup,
    /// By workgroup memory.
    Workgroup,
    /// By workgroup memory, and what has the tile is a subgroup, in cooperative matrices of that size.
    Cooperative(usize),
}

impl GemmTile {
    /// For many rows, where there are no subgroups.
    pub const WIDE: Self = Self { rows: 8, columns4: 2, x: 8, y: 8, sharing: Sharing::Nothing, parts: 1 };
    /// For few rows: linear layers of a batch of vectors.
    pub const FLAT: Self = Self { rows: 1, columns4: 1, x: 64, y: 1, sharing: Sharing::Nothing, parts: 1 };
    /// For GPUs: the larger the tile, the more arithmetic per value read, and the fewer workgroups.
    pub const SHARED: [Self; 3] = [Self::shared(8, 2, 8), Self::shared(4, 2, 8), Self::shared(2, 2, 8)];
    /// For GPUs and few columns.
    const NARROW: Self = Self { y: 32, ..Self::shared(2, 1, 2) };

    const fn shared(rows: usize, columns4: usize, x: usize) -> Self {
        Self { rows, columns4, x, y: 8, sharing: Sharing::Workgroup, parts: 1 }
    }

    /// For cooperative matrices of `size`.
    pub fn cooperative(size: usize) -> Self {
        Self { rows: 32, columns4: 8, x: 2, y: 2, sharing: Sharing::Cooperative(size), parts: 1 }
    }

    /// For subgroups of `size`: tiles from large to small.
    fn subgroup(size: usize) -> impl Iterator<Item = Self> {
        let tile = move |(reads, columns4)| Self {
            rows: reads * size,
            columns4,
            x: size,
            y: 1,
            sharing: Sharing::Subgroup,
            parts: 1,
        };
        // Drivers of subgroups of 4 have 16 registers, and gain nothing from sums that do not fit.
        let most = if size == 4 { 16 } else { 64 };
        let tiles = [(4, 2), (2, 2), (1, 1)].into_iter().map(tile);
        tiles.filter(move |tile| tile.rows * tile.columns4 <= most)
    }

    pub(crate) fn define(&self, kernel: Kernel) -> Kernel {
        // Rows and columns are counted in the units of which the tile is made.
        let (rows, columns) = match self.sharing {
            Sharing::Cooperative(size) => (self.rows / size, 4 * self.columns4 / size),
            _ => (self.rows, self.columns4),
        };
        let kernel = kernel
            .with("TM", rows as i64)
            .with("TN", columns as i64)
            .with("WX", self.x as i64)
            .with("WY", self.y as i64);
        match self.sharing {
            Sharing::Workgroup => kernel,
            Sharing::Cooperative(size) => kernel.with("SUBGROUP", true).with("COOPERATIVE", size as i64),
            sharing => kernel.with("SUBGROUP", sharing == Sharing::Subgroup).with("READS", self.reads() as i64),
        }
    }

    /// The kernel of plain matrix products.
    pub(crate) fn stem(&self) -> &'static str {
        match self.sharing {
            Sharing::Nothing | Sharing::Subgroup => "gemm",
            Sharing::Workgroup => "gemm_workgroup",
            Sharing::Cooperative(_) => "gemm_cooperative",
        }
    }

    /// Whether it needs workgroup memory, which is slow on drivers that compute on the CPU.
    pub(crate) fn needs_workgroup_memory(&self) -> bool {
        matches!(self.sharing, Sharing::Workgroup | Sharing::Cooperative(_))
    }

    /// Whether its sums take more registers than 128 with all else.
    fn is_wide(&self) -> bool {
        self.sharing == Sharing::Workgroup && self.rows * self.columns4 > 8
    }

    /// Rows that an invocation reads.
    pub(crate) fn reads(&self) -> usize {
        if self.sharing == Sharing::Subgroup { self.rows / self.x } else { self.rows }
    }

    /// Workgroups along `n4` vec4 columns.
    pub fn columns(&self, n4: usize) -> usize {
        n4.div_ceil(self.columns4 * self.x)
    }

    /// Lines of workgroups along `m` rows.
    pub fn lines(&self, m: usize) -> usize {
        m.div_ceil(self.rows * self.y)
    }

    /// The same tile with the inner dimension of `k4` vec4s in so many parts that `m` rows and `n4` vec4 columns keep a
    /// GPU busy, each long enough to be worth its sums' way through memory.
    fn split(self, m: usize, n4: usize, k4: usize) -> Self {
        let groups = self.columns(n4) * self.lines(m);
        let parts = BUSY.div_ceil(groups).min(k4 / SHORTEST_PART).min(LARGEST_PARTIAL / (4 * m * n4)).max(1);
        Self { parts, ..self }
    }
}

/// The variants of attention or of its gradient, the default first.
pub fn attention(output: Shape, heads: usize, gradient: bool, caps: &Caps) -> Vec<Variant> {
    // vec4s of an invocation's queries.
    let fits = |queries: usize| queries == 1 || queries * output.c / heads.max(1) / 4 <= 64;
    let mut tiles = Vec::new();
    if let Some(subgroup) = caps.subgroup {
        // Broadcasts of a large subgroup are unrolled for each of its keys.
        tiles.extend([32, 16, 8, 4].map(|count| AttentionTile {
            queries: count / subgroup.min(count),
            subgroup,
            workgroup: false,
        }));
    }
    tiles.extend([4, 2].map(|queries| AttentionTile { queries, ..AttentionTile::GENERAL }));
    tiles.retain(|tile| fits(tile.queries));
    tiles.dedup();
    // Drivers on a CPU read memory value by value: what was read should serve many queries, if that leaves work for
    // every core. A GPU wants many invocations.
    let parallel =
        |tile: &AttentionTile| output.pixels().div_ceil(tile.workers() * tile.queries) * heads * output.n >= 8;
    tiles.sort_by_key(|tile| !parallel(tile));
    let head4 = output.c / heads.max(1) / 4;
    // Four rows of wide heads, and of gradients, take more registers than Intel's GPUs have.
    let fitting = [(4, 16), (2, 64)].into_iter().filter(|(rows, widest)| head4 <= *widest && !(gradient && *rows > 2));
    let mut shared: Vec<_> =
        fitting.map(|(queries, _)| AttentionTile { queries, subgroup: 0, workgroup: true }).collect();
    // Two rows read more per product, which more workgroups outweigh where there are few.
    let groups = |tile: &AttentionTile| output.pixels().div_ceil(tile.shared(head4).1) * heads * output.n;
    shared.sort_by_key(|tile| groups(tile) < 2 * BUSY && tile.queries > 2);
    if caps.software {
        tiles.extend(shared);
    } else {
        tiles.splice(0..0, shared);
    }
    tiles.into_iter().map(Variant::Attention).chain([Variant::Naive]).collect()
}

/// What the variants of a convolution depend on.
#[derive(Debug, Clone, Copy)]
pub struct Convolution {
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Distance of two output pixels in the input.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: usize,
    /// By the transposed weight: a gradient.
    pub transposed: bool,
    /// Input channels.
    pub channels: usize,
    /// Channels of the first of its sources.
    pub first_channels: usize,
    /// Shape of the result.
    pub output: Shape,
}

/// A convolution's variants, the default first. Which are legal depends on channels alone; the order, on all sizes.
pub fn convolution(conv: &Convolution, caps: &Caps) -> Vec<Variant> {
    let Convolution { channels, output, .. } = *conv;
    let three = conv.kernel == 3 && conv.stride == 1 && conv.padding == 1;
    if !channels.is_multiple_of(4) || !conv.first_channels.is_multiple_of(4) {
        // A block takes more registers than many GPUs have, which want many invocations.
        let mut variants = if three { vec![Variant::Block, Variant::Naive] } else { vec![Variant::Naive] };
        if !caps.software {
            variants.reverse();
        }
        return variants;
    }
    let size = Size { output, c4: channels / 4, n4: output.c.div_ceil(4), taps: conv.kernel * conv.kernel };
    let many = || [GemmTile::WIDE].into_iter().chain(caps.subgroup.into_iter().flat_map(GemmTile::subgroup));
    // Gradients multiply in float32.
    let tensor_cores = caps.cooperative.filter(|_| !conv.transposed).map(GemmTile::cooperative);
    let mut variants = vec![Variant::Gemm(GemmTile::FLAT)];
    variants.extend(many().map(Variant::Gemm));
    if size.n4 <= 2 {
        let narrow = GemmTile { rows: 4, columns4: size.n4, x: 1, y: 64, sharing: Sharing::Nothing, parts: 1 };
        variants.push(Variant::Gemm(narrow));
        variants.extend(three.then_some(Variant::Block));
    }
    let narrow = (size.n4 <= 2).then_some(GemmTile::NARROW);
    let shared = || GemmTile::SHARED.into_iter().filter(|tile| caps.wide_registers || caps.software || !tile.is_wide());
    for tile in shared().chain(narrow) {
        let split = tile.split(output.rows(), size.n4, size.taps * size.c4);
        variants.push(Variant::Gemm(tile));
        variants.extend((split != tile).then_some(Variant::Gemm(split)));
    }
    variants.extend(tensor_cores.filter(|_| conv.kernel == 1 && conv.stride == 1).map(Variant::Gemm));
    if three {
        let sizes = [4, 2].into_iter().filter(|t| (t + 2) * (t + 2) * channels * output.c * 4 <= LARGEST_TRANSFORM);
        variants.extend(sizes.flat_map(|t| many().chain(shared()).map(move |tile| Variant::Winograd(t, tile))));
        // F(4x4) multiplies in float32 at every precision.
        variants.extend(tensor_cores.map(|tile| Variant::Winograd(2, tile)));
    }
    let cost = |variant: &Variant| if caps.software { size.software_cost(*variant) } else { size.gpu_cost(*variant) };
    variants.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
    variants.push(Variant::Naive);
    variants
}
