// GroupNorm, first of two: mean and sum of squared deviations of each channel over a chunk of pixels.
// Deviations are taken from the chunk's first value, so that a large mean costs no precision.
// out is [sample][chunk][mean, m2][channel / 4].
#import group_norm
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<vec4<f32>>;
#if SOURCES == 2
@auto var<storage, read> skip: array<vec4<f32>>;
#end
@auto var<storage, read_write> out: array<vec4<f32>>;

fn value(pixel: u32, c: u32) -> vec4<f32> {
#if SOURCES == 2
    if (c < p.c4_first) {
        return x[pixel * p.c4_first + c];
    }
    return skip[pixel * (p.c4 - p.c4_first) + c - p.c4_first];
#else
    return x[pixel * p.c4 + c];
#end
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let c = id.x;
    let index = id.y + id.z * 524280u; // 65535 workgroups of 8
    if (c >= p.c4 || index >= p.chunks * p.samples) {
        return;
    }
    let n = index / p.chunks;
    let first = index % p.chunks * p.chunk;
    let last = min(first + p.chunk, p.pixels);
    let shift = value(n * p.pixels + first, c);
    var sum = vec4<f32>(0.0);
    var squares = vec4<f32>(0.0);
    for (var i = first + 1u; i < last; i++) {
        let d = value(n * p.pixels + i, c) - shift;
        sum += d;
        squares += d * d;
    }
    let mean = sum / f32(last - first);
    out[2u * index * p.c4 + c] = shift + mean;
    out[(2u * index + 1u) * p.c4 + c] = max(squares - sum * mean, vec4<f32>(0.0));
}
