// How a convolution reads its input: one tensor or two (a skip connection is never concatenated), GroupNorm as an
// affine map per (sample, channel), SiLU, then 2x nearest upsampling or 2x2 average pooling.
// Needs p.source_height, p.source_width (of x), p.c4 (all channels / 4) and, with two sources, p.c4_first.
#import math
@auto var<storage, read> x: array<vec4<f32>>;
#if SOURCES == 2
@auto var<storage, read> skip: array<vec4<f32>>;
#end
#if AFFINE
@auto var<storage, read> affine: array<vec4<f32>>;
#end

struct Affine {
    scale: vec4<f32>,
    shift: vec4<f32>,
}

fn affine_of(n: u32, c: u32) -> Affine {
#if AFFINE
    return Affine(affine[2u * n * p.c4 + c], affine[(2u * n + 1u) * p.c4 + c]);
#else
    return Affine(vec4<f32>(1.0), vec4<f32>(0.0));
#end
}

fn activated(n: u32, y: u32, column: u32, c: u32, a: Affine) -> vec4<f32> {
    let pixel = (n * p.source_height + y) * p.source_width + column;
#if SOURCES == 2
    var v: vec4<f32>;
    if (c < p.c4_first) {
        v = x[pixel * p.c4_first + c];
    } else {
        v = skip[pixel * (p.c4 - p.c4_first) + c - p.c4_first];
    }
#else
    var v = x[pixel * p.c4 + c];
#end
#if AFFINE
    v = v * a.scale + a.shift;
#end
#if SILU
    v = silu4(v);
#end
    return v;
}

/// The convolution's input at (y, column) of its own grid.
fn source(n: u32, y: u32, column: u32, c: u32, a: Affine) -> vec4<f32> {
#if RESAMPLE == 1
    return activated(n, y / 2u, column / 2u, c, a);
#elif RESAMPLE == 2
    return 0.25 * (activated(n, 2u * y, 2u * column, c, a) + activated(n, 2u * y, 2u * column + 1u, c, a)
        + activated(n, 2u * y + 1u, 2u * column, c, a) + activated(n, 2u * y + 1u, 2u * column + 1u, c, a));
#else
    return activated(n, y, column, c, a);
#end
}
