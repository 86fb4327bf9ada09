// What a convolution reads: one tensor or two (a skip connection is never concatenated), GroupNorm as an affine map per
// (sample, channel), SiLU. Channels are read WIDTH (2 or 4) at a time.
// Needs p.c4 (all channels / 4) and, with two sources, p.c4_first.
#import math
alias Channels = vec${WIDTH}<f32>;
@auto var<storage, read> x: array<Channels>;
#if SOURCES == 2
@auto var<storage, read> skip: array<Channels>;
#end
#if AFFINE
@auto var<storage, read> affine: array<Channels>;
#end

struct Affine {
    scale: Channels,
    shift: Channels,
}

fn affine_of(n: u32, c: u32) -> Affine {
#if AFFINE
    let all = ${4 / WIDTH}u * p.c4;
    return Affine(affine[2u * n * all + c], affine[(2u * n + 1u) * all + c]);
#else
    return Affine(Channels(1.0), Channels(0.0));
#end
}

fn activate(value: Channels, a: Affine) -> Channels {
    var v = value;
#if AFFINE
    v = v * a.scale + a.shift;
#end
#if SILU
    v = silu_vec${WIDTH}(v);
#end
    return v;
}
