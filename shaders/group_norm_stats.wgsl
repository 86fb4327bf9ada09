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

#if !SERIAL
var<workgroup> partial: array<array<vec4<f32>, 2>, 64>; // sum, squares; [line][channel]
#end

// A chunk has LINES invocations, each for every LINES-th pixel; where it is SERIAL, one.
#if SERIAL
#let LINES = 1
@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let line = 0u;
    let index = id.y + id.z * 524280u; // 65535 workgroups of 8
#else
#let LINES = 8
@compute @workgroup_size(8, 8)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let line = local.y;
    let index = group.y + group.z * 65535u;
#end
    if (index >= p.chunks * p.samples) {
        return;
    }
    let c = min(id.x, p.c4 - 1u);
    let n = index / p.chunks;
    let first = index % p.chunks * p.chunk;
    let last = min(first + p.chunk, p.pixels);
    let shift = value(n * p.pixels + first, c);
    var sum = vec4<f32>(0.0);
    var squares = vec4<f32>(0.0);
    for (var i = first + line; i < last; i += ${LINES}u) {
        let d = value(n * p.pixels + i, c) - shift;
        sum += d;
        squares += d * d;
    }
#if !SERIAL
    partial[8u * line + local.x] = array<vec4<f32>, 2>(sum, squares);
    workgroupBarrier();
#end
    if (line > 0u || id.x >= p.c4) {
        return;
    }
#for i in 1..LINES
    sum += partial[${8 * i}u + local.x][0];
    squares += partial[${8 * i}u + local.x][1];
#end
    let mean = sum / f32(last - first);
    out[2u * index * p.c4 + c] = shift + mean;
    out[(2u * index + 1u) * p.c4 + c] = max(squares - sum * mean, vec4<f32>(0.0));
}
