// GroupNorm's gradient, third: g, the incoming gradient times all that follows the normalization, and over a chunk of
// pixels the sums of g and of g times the normalized input. One invocation: four channels of one chunk.
// out is g; sums is [sample][chunk][g, g x'][channel / 4].
#import group_norm
#import math
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<vec4<f32>>;
@auto var<storage, read> incoming: array<vec4<f32>>;
@auto var<storage, read> moments: array<vec2<f32>>;
@auto var<storage, read> weight: array<vec4<f32>>;
@auto var<storage, read> bias: array<vec4<f32>>;
#if SCALE_SHIFT
@auto var<storage, read> embedding: array<vec4<f32>>; // [sample][scale, shift][channel / 4]
#end
@auto var<storage, read_write> sums: array<vec4<f32>>;
@auto var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let c = id.x;
    let index = id.y + id.z * 524280u; // 65535 workgroups of 8
    if (c >= p.c4 || index >= p.chunks * p.samples) {
        return;
    }
    let n = index / p.chunks;
    let groups = 4u * p.c4 / p.group_channels;
#for i in 0..4
    let moment${i} = moments[n * groups + (4u * c + ${i}u) / p.group_channels];
#end
    let mean = vec4<f32>(moment0.x, moment1.x, moment2.x, moment3.x);
    let deviation = vec4<f32>(moment0.y, moment1.y, moment2.y, moment3.y);
    var factor = weight[c];
    var shift = bias[c];
#if SCALE_SHIFT
    let scale = 1.0 + embedding[2u * n * p.c4 + c];
    factor *= scale;
    shift = shift * scale + embedding[(2u * n + 1u) * p.c4 + c];
#end
    let first = index % p.chunks * p.chunk;
    let last = min(first + p.chunk, p.pixels);
    var sum = vec4<f32>(0.0);
    var products = vec4<f32>(0.0);
    for (var i = first; i < last; i++) {
        let at = (n * p.pixels + i) * p.c4 + c;
        let normalized = (x[at] - mean) * deviation;
        var g = incoming[at] * factor * deviation;
#if SILU
        let z = normalized * factor + shift;
        let s = 1.0 / (1.0 + exp_vec4(min(-z, vec4<f32>(80.0))));
        g *= s * (1.0 + z * (1.0 - s));
#end
        out[at] = g;
        sum += g;
        products += g * normalized;
    }
    sums[2u * index * p.c4 + c] = sum;
    sums[(2u * index + 1u) * p.c4 + c] = products;
}
