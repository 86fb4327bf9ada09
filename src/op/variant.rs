//! The ways to compute an op: kernels and their tiles.

use crate::shader::Kernel;

/// Workgroups that keep a large GPU busy: two for each of 160 SIMDs (Navi 21).
pub(super) const BUSY: usize = 320;
/// vec4s of a part of a matrix product's inner dimension, at least.
const SHORTEST_PART: usize = 24;
/// Keys of a part of attention, at least.
const SHORTEST_KEYS: usize = 64;
/// Elements of the sums of all parts, at most.
const LARGEST_PARTIAL: usize = 1 << 21;

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

impl Variant {
    /// Whether both run the same kernels where each is legal: those in workgroup memory take any number of parts.
    fn is_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::Gemm(a), Self::Gemm(b)) if a.needs_workgroup_memory() => {
                GemmTile { parts: 1, ..a } == GemmTile { parts: 1, ..b }
            }
            (Self::Attention(a), Self::Attention(b)) if a.workgroup => {
                AttentionTile { parts: 1, ..a } == AttentionTile { parts: 1, ..b }
            }
            _ => self == other,
        }
    }

    /// Whether it may compute what `listed` are the variants of: more or fewer parts than an estimate gives, at least one, are
    /// no other kernel.
    pub fn is_legal(self, listed: &[Self]) -> bool {
        let no_parts =
            matches!(self, Self::Gemm(GemmTile { parts: 0, .. }) | Self::Attention(AttentionTile { parts: 0, .. }));
        !no_parts && listed.iter().any(|variant| self.is_like(*variant))
    }
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
    /// Parts of the keys, each with sums of its own until they are added up; only in workgroup memory.
    pub parts: usize,
}

impl AttentionTile {
    /// What attention's general kernel does.
    pub const GENERAL: Self = Self { queries: 1, subgroup: 0, workgroup: false, parts: 1 };
    const WORKERS: usize = 64;

    /// Where tiles pass through workgroup memory: invocations that share a query of a head of `head4` vec4s, so that
    /// each one's sums fit its registers; and queries per workgroup.
    pub(crate) fn shared(&self, head4: usize) -> (usize, usize) {
        let lanes = if head4 > 24 { 16 } else { 8 };
        (lanes, Self::WORKERS / lanes * self.queries)
    }

    /// Keys of a part: whole columns of a tile.
    pub(crate) fn share(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.parts).next_multiple_of(32)
    }

    /// Workgroups for `heads` heads of `head4` vec4s, of all samples.
    pub(super) fn groups(&self, tokens: usize, heads: usize, head4: usize) -> usize {
        tokens.div_ceil(self.shared(head4).1) * heads
    }

    /// Workgroups that keep a large GPU busy: by the model, the larger a tile, the fewer hide its waits.
    pub(super) fn busy(&self) -> usize {
        if self.queries > 2 { 5 * BUSY / 4 } else { 2 * BUSY }
    }

    /// The same tile with the keys in so many parts that a GPU is busy, each of some tiles.
    pub(super) fn split(self, tokens: usize, heads: usize, head4: usize) -> Self {
        let parts = self.busy().div_ceil(self.groups(tokens, heads, head4)).min(tokens / SHORTEST_KEYS).max(1);
        Self { parts, ..self }
    }

    /// How many parts of the keys there are.
    pub(crate) fn count(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.share(tokens))
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
    Workgroup {
        /// What comes next is read before what is there is multiplied, into registers.
        ahead: bool,
    },
    /// By workgroup memory, and what has the tile is a subgroup, in cooperative matrices of that size.
    Cooperative(usize),
}

impl GemmTile {
    /// For many rows, where there are no subgroups.
    pub const WIDE: Self = Self { rows: 8, columns4: 2, x: 8, y: 8, sharing: Sharing::Nothing, parts: 1 };
    /// For few rows: linear layers of a batch of vectors.
    pub const FLAT: Self = Self { rows: 1, columns4: 1, x: 64, y: 1, sharing: Sharing::Nothing, parts: 1 };
    /// For GPUs: the larger the tile, the more arithmetic per value read, and the fewer workgroups.
    pub const SHARED: [Self; 4] =
        [Self::shared(8, 2, 8), Self::shared(8, 2, 16), Self::shared(4, 2, 8), Self::shared(2, 2, 8)];
    /// For GPUs and few columns.
    pub(super) const NARROW: Self = Self { y: 32, ..Self::shared(2, 1, 2) };

    const fn shared(rows: usize, columns4: usize, x: usize) -> Self {
        Self { rows, columns4, x, y: 8, sharing: Sharing::Workgroup { ahead: false }, parts: 1 }
    }

    /// For cooperative matrices of `size`: tiles from large to small, of four subgroups. The larger a subgroup's, the more
    /// products per value that it loads; one of 64 x 64 was slower on an H200.
    pub fn cooperative(size: usize) -> impl Iterator<Item = Self> {
        let tile = move |rows| Self { rows, columns4: 8, x: 2, y: 2, sharing: Sharing::Cooperative(size), parts: 1 };
        [64, 32, 16].into_iter().map(tile)
    }

    /// For subgroups of `size`: tiles from large to small.
    pub(super) fn subgroup(size: usize) -> impl Iterator<Item = Self> {
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
            Sharing::Workgroup { ahead } => kernel.with("DEPTH4", self.depth4() as i64).with("AHEAD", ahead),
            Sharing::Cooperative(size) => {
                kernel.with("SUBGROUP", true).with("COOPERATIVE", size as i64).with("DEPTH4", self.depth4() as i64)
            }
            sharing => kernel.with("SUBGROUP", sharing == Sharing::Subgroup).with("READS", self.reads() as i64),
        }
    }

    /// The kernel of plain matrix products.
    pub(crate) fn stem(&self) -> &'static str {
        match self.sharing {
            Sharing::Nothing | Sharing::Subgroup => "gemm",
            Sharing::Workgroup { .. } => "gemm_workgroup",
            Sharing::Cooperative(_) => "gemm_cooperative",
        }
    }

    /// Whether it needs workgroup memory, which is slow on drivers that compute on the CPU. Its kernel then can do parts of the
    /// inner dimension.
    pub(crate) fn needs_workgroup_memory(&self) -> bool {
        matches!(self.sharing, Sharing::Workgroup { .. } | Sharing::Cooperative(_))
    }

    /// vec4s of the inner dimension that a workgroup reads at a time (the kernel's DEPTH4). Of four float32 ones Intel's compilers
    /// spill.
    pub(super) fn depth4(&self) -> usize {
        if matches!(self.sharing, Sharing::Cooperative(_)) { 8 } else { 2 }
    }

    /// Whether an invocation's sums fit a GPU's registers: with all else, 8 vec4s take 128 of them, 16 most of what `wide` ones
    /// have.
    pub(super) fn fits(&self, wide: bool) -> bool {
        matches!(self.sharing, Sharing::Cooperative(_)) || self.rows * self.columns4 <= if wide { 16 } else { 8 }
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
    pub(super) fn split(self, m: usize, n4: usize, k4: usize) -> Self {
        let groups = self.columns(n4) * self.lines(m);
        let parts = BUSY.div_ceil(groups).min(k4 / SHORTEST_PART).min(LARGEST_PARTIAL / (4 * m * n4)).max(1);
        Self { parts, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_split_where_workgroups_are_few() {
        let tile = AttentionTile { queries: 4, workgroup: true, ..AttentionTile::GENERAL };
        // Tokens, heads of all samples, parts: 64x64_diffusion at batch 1, then 8.
        for (tokens, heads, parts) in [(1024, 6, 3), (256, 9, 4), (64, 12, 1), (1024, 48, 1), (256, 72, 1)] {
            let split = tile.split(tokens, heads, 16);
            assert_eq!(split.parts, parts, "{tokens} tokens, {heads} heads");
            assert!(parts == 1 || split.groups(tokens, heads, 16) < split.busy());
        }
    }

    #[test]
    fn every_key_is_in_one_part_and_no_part_is_empty() {
        for tokens in [1, 31, 32, 33, 64, 65, 130, 255, 256, 1024, 4095] {
            for parts in [1, 2, 3, 4, 7, 100, usize::MAX] {
                let tile = AttentionTile { workgroup: true, parts, ..AttentionTile::GENERAL };
                let (share, count) = (tile.share(tokens), tile.count(tokens));
                assert!(share.is_multiple_of(32) && count <= parts && count * share >= tokens, "{tokens} {parts}");
                assert!((count - 1) * share < tokens, "{tokens} tokens in {parts} parts: the last one is empty");
            }
        }
    }
}
