//! Which ways to compute an op are legal on a device, in the order of an estimate.

use super::estimate::Size;
use super::variant::{AttentionTile, GemmTile, Sharing, Variant};
use crate::device::Caps;
use crate::tensor::Shape;

/// Bytes of transformed weights above which Winograd is not worth its memory.
const LARGEST_TRANSFORM: usize = 96 << 20;

/// The variants of attention or of its gradient, the default first.
pub fn attention(output: Shape, heads: usize, gradient: bool, caps: &Caps) -> Vec<Variant> {
    let head4 = output.c / heads.max(1) / 4;
    // vec4s of an invocation's queries, and as many sums. A gradient has twice of each, and SwiftShader, whose subgroups have 4
    // invocations (lavapipe's too, where vectors have 128 bits), compiled two kernels of 64 for 26 seconds, of 16 for 4.
    let most = if !caps.software {
        4
    } else if gradient && caps.subgroup == Some(4) {
        16
    } else {
        64
    };
    let fits = |queries: usize| (caps.software && queries == 1) || queries * head4 <= most;
    let mut tiles = Vec::new();
    if let Some(subgroup) = caps.subgroup {
        // Broadcasts of a large subgroup are unrolled for each of its keys.
        tiles.extend([32, 16, 8, 4].map(|count| AttentionTile {
            queries: count / subgroup.min(count),
            subgroup,
            ..AttentionTile::GENERAL
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
    // Four rows of wide heads, and of gradients, take more registers than Intel's GPUs have.
    let fitting = [(4, 16), (2, 64)].into_iter().filter(|(rows, widest)| head4 <= *widest && !(gradient && *rows > 2));
    let mut shared: Vec<_> =
        fitting.map(|(queries, _)| AttentionTile { queries, workgroup: true, ..AttentionTile::GENERAL }).collect();
    let (tokens, all_heads) = (output.pixels(), heads * output.n);
    // Parts of the keys make more workgroups where there are few, of the larger tile. Gradients are not split.
    let split = shared.first().filter(|_| !gradient).map(|tile| tile.split(tokens, all_heads, head4));
    // Two rows read more per product, which more workgroups outweigh where there are few: by the model and on an H200.
    shared.sort_by_key(|tile| tile.groups(tokens, all_heads, head4) < tile.busy() && tile.queries > 2);
    shared.splice(0..0, split.filter(|tile| tile.parts > 1));
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
        return if three && caps.software { vec![Variant::Block, Variant::Naive] } else { vec![Variant::Naive] };
    }
    let (taps, kept) = (conv.kernel * conv.kernel, caps.transformed_weights);
    let size = Size { output, c4: channels / 4, n4: output.c.div_ceil(4), taps, kept };
    // Gradients multiply in float32.
    let cooperative = caps.cooperative.filter(|_| !conv.transposed);
    let tensor_cores = move || cooperative.into_iter().flat_map(GemmTile::cooperative);
    // In float16, sums on the way to float32 take registers too, and the next tile is as fast.
    let half = caps.f16_products && !conv.transposed;
    let fits = move |tile: &GemmTile, half: bool| caps.software || tile.fits(caps.wide_registers && !half);
    let sharing = Sharing::Workgroup { ahead: caps.reads_ahead };
    let shared = move |half| {
        // Wide workgroups are for GPUs; on a CPU they are only one more kernel to compile.
        let tiles = GemmTile::SHARED.into_iter().filter(move |tile| !caps.software || tile.x <= 8);
        let tiles = tiles.filter(move |tile| fits(tile, half));
        tiles.map(move |tile| GemmTile { sharing, ..tile })
    };
    let many = move |half| {
        let tiles = [GemmTile::WIDE].into_iter().chain(caps.subgroup.into_iter().flat_map(GemmTile::subgroup));
        tiles.filter(move |tile| fits(tile, half))
    };
    let mut variants = vec![Variant::Gemm(GemmTile::FLAT)];
    variants.extend(many(half).map(Variant::Gemm));
    if size.n4 <= 2 {
        let narrow = GemmTile { rows: 4, columns4: size.n4, x: 1, y: 64, sharing: Sharing::Nothing, parts: 1 };
        variants.push(Variant::Gemm(narrow));
        // A block takes more registers than many GPUs have, which want many invocations.
        variants.extend((three && caps.software).then_some(Variant::Block));
    }
    let narrow = (size.n4 <= 2).then_some(GemmTile { sharing, ..GemmTile::NARROW });
    for tile in shared(half).chain(narrow).chain(tensor_cores()) {
        let split = tile.split(output.rows(), size.n4, size.taps * size.c4);
        variants.push(Variant::Gemm(tile));
        variants.extend((split != tile).then_some(Variant::Gemm(split)));
    }
    if three {
        let sizes = [4, 2].into_iter().filter(|t| (t + 2) * (t + 2) * channels * output.c * 4 <= LARGEST_TRANSFORM);
        variants.extend(sizes.flat_map(|t| {
            many(half && t == 2).chain(shared(half && t == 2)).map(move |tile| Variant::Winograd(t, tile))
        }));
        // F(4x4) multiplies in float32 at every precision.
        variants.extend(tensor_cores().map(|tile| Variant::Winograd(2, tile)));
    }
    let cost = |variant: &Variant| if caps.software { size.software_cost(*variant) } else { size.gpu_cost(*variant) };
    variants.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
    variants.push(Variant::Naive);
    variants
}
