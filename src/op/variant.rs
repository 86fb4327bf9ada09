//! The ways to compute an op, and which of them are legal on a device, in the order of an estimate.

use crate::device::Caps;
use crate::shader::Kernel;
use crate::tensor::Shape;

/// Bytes of transformed weights above which Winograd is not worth its memory.
const LARGEST_TRANSFORM: usize = 96 << 20;

/// Multiply-adds in the time that a driver on the CPU takes to read or write a vec4, which it does value by value (fitted
/// on two drivers).
const READ: usize = 20;

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
}

impl AttentionTile {
    /// What attention's general kernel does.
    pub const GENERAL: Self = Self { queries: 1, subgroup: 0 };
    const WORKERS: usize = 64;

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
    pub const WIDE: Self = Self { rows: 8, columns4: 2, x: 8, y: 8, sharing: Sharing::Nothing };
    /// For few rows: linear layers of a batch of vectors.
    pub const FLAT: Self = Self { rows: 1, columns4: 1, x: 64, y: 1, sharing: Sharing::Nothing };
    /// For GPUs.
    pub const SHARED: [Self; 2] = [
        Self { rows: 8, columns4: 1, x: 16, y: 8, sharing: Sharing::Workgroup },
        Self { rows: 4, columns4: 1, x: 8, y: 8, sharing: Sharing::Workgroup },
    ];

    /// For cooperative matrices of `size`.
    pub fn cooperative(size: usize) -> Self {
        Self { rows: 32, columns4: 8, x: 2, y: 2, sharing: Sharing::Cooperative(size) }
    }

    /// For subgroups of `size`: tiles from large to small.
    fn subgroup(size: usize) -> impl Iterator<Item = Self> {
        let tile =
            move |(reads, columns4)| Self { rows: reads * size, columns4, x: size, y: 1, sharing: Sharing::Subgroup };
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
    fn needs_workgroup_memory(&self) -> bool {
        matches!(self.sharing, Sharing::Workgroup | Sharing::Cooperative(_))
    }

    /// Rows that an invocation reads.
    fn reads(&self) -> usize {
        if self.sharing == Sharing::Subgroup { self.rows / self.x } else { self.rows }
    }

    /// Workgroups for `m` rows, `n4` vec4 columns, `z` products.
    pub fn groups(&self, m: usize, n4: usize, z: usize) -> [usize; 3] {
        [n4.div_ceil(self.columns4 * self.x), m.div_ceil(self.rows * self.y), z]
    }

    /// What a driver on the CPU takes for `m` rows and `n4` vec4 columns, in multiply-adds per inner vec4.
    fn cost(&self, m: usize, n4: usize) -> usize {
        let [x, y, _] = self.groups(m, n4, 1);
        x * y * self.x * self.y * (16 * self.rows * self.columns4 + READ * (self.reads() + 4 * self.columns4))
    }
}

/// Attention's variants, the default first; an invocation's queries may be `most` vec4s.
pub fn attention(output: Shape, heads: usize, most: usize, caps: &Caps) -> Vec<Variant> {
    let fits = |queries: usize| queries == 1 || queries * output.c / heads.max(1) / 4 <= most;
    let mut tiles = Vec::new();
    if let Some(subgroup) = caps.subgroup {
        // Broadcasts of a large subgroup are unrolled for each of its keys.
        tiles.extend([32, 16, 8, 4].map(|count| AttentionTile { queries: count / subgroup.min(count), subgroup }));
    }
    tiles.extend([4, 2].map(|queries| AttentionTile { queries, subgroup: 0 }));
    tiles.retain(|tile| fits(tile.queries));
    tiles.dedup();
    // Drivers on a CPU read memory value by value: what was read should serve many queries, if that leaves work for
    // every core. A GPU wants many invocations.
    let parallel =
        |tile: &AttentionTile| output.pixels().div_ceil(tile.workers() * tile.queries) * heads * output.n >= 8;
    tiles.sort_by_key(|tile| !parallel(tile));
    let mut variants: Vec<Variant> = tiles.into_iter().map(Variant::Attention).collect();
    variants.insert(if caps.software { variants.len() } else { 0 }, Variant::Naive);
    variants
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
        return if three { vec![Variant::Block, Variant::Naive] } else { vec![Variant::Naive] };
    }
    let size = Size { output, c4: channels / 4, n4: output.c.div_ceil(4), taps: conv.kernel * conv.kernel };
    let many = || [GemmTile::WIDE].into_iter().chain(caps.subgroup.into_iter().flat_map(GemmTile::subgroup));
    // Gradients multiply in float32.
    let tensor_cores = caps.cooperative.filter(|_| !conv.transposed).map(GemmTile::cooperative);
    let mut variants = vec![Variant::Gemm(GemmTile::FLAT)];
    variants.extend(many().map(Variant::Gemm));
    if size.n4 <= 2 {
        let narrow = GemmTile { rows: 4, columns4: size.n4, x: 1, y: 64, sharing: Sharing::Nothing };
        variants.push(Variant::Gemm(narrow));
        variants.extend(three.then_some(Variant::Block));
    }
    if conv.kernel == 1 && conv.stride == 1 {
        variants.extend(GemmTile::SHARED.map(Variant::Gemm));
        variants.extend(tensor_cores.map(Variant::Gemm));
    }
    if three {
        let sizes = [4, 2].into_iter().filter(|t| (t + 2) * (t + 2) * channels * output.c * 4 <= LARGEST_TRANSFORM);
        variants.extend(sizes.flat_map(|t| many().chain(GemmTile::SHARED).map(move |tile| Variant::Winograd(t, tile))));
        // F(4x4) multiplies in float32 at every precision.
        variants.extend(tensor_cores.map(|tile| Variant::Winograd(2, tile)));
    }
    let most = caps.max_workgroups as usize;
    variants.retain(
        |v| !matches!(v, Variant::Gemm(tile) if tile.groups(output.rows(), size.n4, 1).iter().any(|g| *g > most)),
    );
    if caps.software {
        variants.sort_by_key(|variant| size.software_cost(*variant));
    } else {
        variants.sort_by_key(|variant| size.gpu_rank(*variant));
    }
    variants.push(Variant::Naive);
    variants
}

/// What the order of a convolution's variants depends on.
struct Size {
    output: Shape,
    c4: usize,
    n4: usize,
    taps: usize,
}

impl Size {
    /// Tiles of Winograd F(t x t).
    fn tiles(&self, t: usize) -> usize {
        self.output.n * self.output.h.div_ceil(t) * self.output.w.div_ceil(t)
    }

    /// The time on a driver that computes on the CPU, in multiply-adds. Workgroup memory is slow there.
    fn software_cost(&self, variant: Variant) -> (bool, usize) {
        let gemm = |tile: GemmTile, rows| self.c4 * tile.cost(rows, self.n4);
        match variant {
            Variant::Gemm(tile) => (tile.needs_workgroup_memory(), self.taps * gemm(tile, self.output.rows())),
            Variant::Winograd(t, tile) => {
                let (tiles, points) = (self.tiles(t), (t + 2) * (t + 2));
                let moved = self.c4 * 2 * points + self.n4 * (points + t * t);
                (tile.needs_workgroup_memory(), points * gemm(tile, tiles) + tiles * moved * READ)
            }
            Variant::Block => (false, self.tiles(4) * self.n4 * self.c4 * (16 * 9 * 16 + READ * 108)),
            _ => (true, usize::MAX),
        }
    }

    /// Ranks of what a GPU most likely runs fastest; measurements decide where there is time for them.
    fn gpu_rank(&self, variant: Variant) -> usize {
        // Workgroups that keep a GPU busy.
        const BUSY: usize = 64;
        let rank = |tile: GemmTile, rows: usize, products: usize| {
            let groups: usize = tile.groups(rows, self.n4, products).iter().product();
            match tile.sharing {
                Sharing::Nothing if tile.x == 1 => 0,
                Sharing::Nothing if tile == GemmTile::FLAT => {
                    if rows < 32 {
                        1
                    } else {
                        5
                    }
                }
                Sharing::Workgroup => {
                    if groups >= BUSY || tile == GemmTile::SHARED[1] {
                        2
                    } else {
                        3
                    }
                }
                Sharing::Nothing => 4,
                Sharing::Subgroup => 6,
                Sharing::Cooperative(_) => {
                    if groups >= BUSY {
                        1
                    } else {
                        3
                    }
                }
            }
        };
        match variant {
            Variant::Gemm(tile) => 20 + rank(tile, self.output.rows(), 1),
            // Below 16 tiles the transformed weights cost more than they save.
            Variant::Winograd(t, tile) => {
                let first = if self.n4 <= 2 || self.tiles(4) < 16 { 40 } else { 0 };
                first + (4 - t) * 4 + rank(tile, self.tiles(t), (t + 2) * (t + 2))
            }
            Variant::Block => 29,
            _ => usize::MAX,
        }
    }
}
