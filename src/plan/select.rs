//! Which kernel computes a node on this device.

use std::collections::HashMap;

use super::Caps;
use crate::graph::{Node, Shape};
use crate::op::Conv2d;
use crate::shader::Kernel;

/// Bytes of transformed weights above which Winograd is not worth its memory.
const LARGEST_TRANSFORM: usize = 96 << 20;

/// A way to compute an op.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// The op's general kernel (variant 0), which runs everywhere.
    Only,
    /// A matrix product, implicit for kernels larger than 1.
    Gemm(GemmTile),
    /// Winograd F(t x t, 3 x 3) around a matrix product.
    Winograd(usize, GemmTile),
    /// Attention, several queries an invocation.
    Attention(AttentionTile),
}

/// How attention is shared among invocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttentionTile {
    /// Queries an invocation.
    pub queries: usize,
    /// Keys and values are broadcast within subgroups of this size; 0: every invocation reads all of them.
    pub subgroup: usize,
}

impl AttentionTile {
    /// What attention's general kernel does.
    pub const GENERAL: Self = Self { queries: 1, subgroup: 0 };
    const WORKERS: usize = 64;

    /// Invocations a workgroup.
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
    /// Rows an invocation.
    pub rows: usize,
    /// Columns an invocation, in vec4s.
    pub columns4: usize,
    /// Invocations along the columns.
    pub x: usize,
    /// Invocations along the rows.
    pub y: usize,
}

impl GemmTile {
    /// The register tile that is fastest on software adapters.
    pub const WIDE: Self = Self { rows: 8, columns4: 2, x: 8, y: 8 };
    /// For few rows: linear layers of a batch of vectors.
    pub const FLAT: Self = Self { rows: 1, columns4: 1, x: 64, y: 1 };

    pub(crate) fn define(&self, kernel: Kernel) -> Kernel {
        kernel
            .with("TM", self.rows as i64)
            .with("TN", self.columns4 as i64)
            .with("WX", self.x as i64)
            .with("WY", self.y as i64)
    }

    /// Workgroups for `m` rows, `n4` vec4 columns, `z` products.
    pub fn groups(&self, m: usize, n4: usize, z: usize) -> [usize; 3] {
        [n4.div_ceil(self.columns4 * self.x), m.div_ceil(self.rows * self.y), z]
    }
}

/// What a choice depends on: the op as printed, its operands' and its result's shapes.
pub type Problem = String;

/// Variants chosen by measurement or by a test, by problem; `*` stands for every problem where it is legal.
pub type Overrides = HashMap<Problem, Variant>;

/// The key of a node's choice.
pub fn problem(node: &Node, inputs: &[Shape]) -> Problem {
    let inputs: Vec<String> = inputs.iter().map(Shape::to_string).collect();
    format!("{:?} {} -> {}", node.op, inputs.join(" "), node.shape)
}

/// The variant for `node`; `None` where no kernel is legal.
pub fn choose(node: &Node, inputs: &[Shape], caps: &Caps, overrides: &Overrides) -> Option<Variant> {
    let legal = node.op.operator().variants(inputs, node.shape, caps);
    let wanted = overrides.get("*").or_else(|| overrides.get(&problem(node, inputs)));
    wanted.filter(|v| legal.contains(v)).or(legal.first()).copied()
}

/// Attention's variants for heads of `channels`, the default first.
pub fn attention(channels: usize, output: Shape, heads: usize, caps: &Caps) -> Vec<Variant> {
    // Queries and sums of an invocation: beyond this many vec4s even drivers that spill to a cache get slower.
    const REGISTERS: usize = 64;
    let fits = |queries: usize| queries == 1 || queries * channels / 4 <= REGISTERS;
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
    let parallel = |tile: &AttentionTile| output.pixels().div_ceil(tile.workers() * tile.queries) * heads * output.n >= 8;
    tiles.sort_by_key(|tile| !parallel(tile));
    let mut variants: Vec<Variant> = tiles.into_iter().map(Variant::Attention).collect();
    variants.insert(if caps.software { variants.len() } else { 0 }, Variant::Only);
    variants
}

/// A convolution's variants, the default first.
pub fn convolution(conv: &Conv2d, inputs: &[Shape], output: Shape, caps: &Caps) -> Vec<Variant> {
    let channels = conv.prologue.shape(inputs).map_or(0, |s| s.c);
    let first = inputs.first().map_or(0, |s| s.c);
    if !channels.is_multiple_of(4) || !first.is_multiple_of(4) {
        return vec![Variant::Only];
    }
    let few_rows = output.rows() < 32;
    let few_columns = output.c <= 8;
    let narrow = GemmTile { rows: 4, columns4: output.c.div_ceil(4).min(2), x: 1, y: 64 };
    let mut variants = vec![Variant::Gemm(GemmTile::WIDE), Variant::Gemm(GemmTile::FLAT)];
    if few_rows {
        variants.swap(0, 1);
    }
    if few_columns {
        variants.insert(0, Variant::Gemm(narrow));
    }
    if conv.kernel == 3 && conv.stride == 1 && conv.padding == 1 {
        let mut winograd = vec![(4, GemmTile::WIDE), (2, GemmTile::WIDE)];
        winograd.retain(|(t, _)| (t + 2) * (t + 2) * channels * output.c * 4 <= LARGEST_TRANSFORM);
        let winograd = winograd.into_iter().map(|(t, tile)| Variant::Winograd(t, tile));
        // Below 16 tiles the transformed weights cost more than they save.
        let at = if few_columns || output.n * output.h.div_ceil(4) * output.w.div_ceil(4) < 16 { 1 } else { 0 };
        variants.splice(at..at, winograd);
    }
    variants.push(Variant::Only);
    let fits = |tile: &GemmTile| {
        tile.groups(output.rows(), output.c.div_ceil(4), 1).iter().all(|groups| *groups <= caps.max_workgroups as usize)
    };
    variants.retain(|v| !matches!(v, Variant::Gemm(tile) if !fits(tile)));
    variants
}
