// The gradient of group normalization (and of the modulation and SiLU after it) with respect to its input.
// One workgroup: one group of one sample. With g the incoming gradient times all that follows the normalization and
// x' the normalized input: g - mean(g) - x' mean(g x').
struct Params {
    pixels: u32, // of one sample
    channels: u32,
    group_channels: u32,
    epsilon: f32,
}
#import math
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<f32>;
@auto var<storage, read> incoming: array<f32>;
@auto var<storage, read> weight: array<f32>;
@auto var<storage, read> bias: array<f32>;
#if SCALE_SHIFT
@auto var<storage, read> embedding: array<f32>; // [sample][scale, shift][channel]
#end
@auto var<storage, read_write> out: array<f32>;

var<workgroup> shared_sums: array<vec2<f32>, ${WORKERS}>;

/// The sum of every invocation's value.
fn total(value: vec2<f32>, worker: u32) -> vec2<f32> {
    workgroupBarrier();
    shared_sums[worker] = value;
    workgroupBarrier();
    for (var half = ${WORKERS / 2}u; half > 0u; half /= 2u) {
        if (worker < half) {
            shared_sums[worker] += shared_sums[worker + half];
        }
        workgroupBarrier();
    }
    return shared_sums[0];
}

@compute @workgroup_size(${WORKERS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) worker: u32) {
    let first = group.x * p.group_channels;
    let n = group.y;
    let count = p.pixels * p.group_channels;
    let start = n * p.pixels * p.channels + first;
    var sum = 0.0;
    for (var i = worker; i < count; i += ${WORKERS}u) {
        sum += x[start + i / p.group_channels * p.channels + i % p.group_channels];
    }
    let mean = total(vec2<f32>(sum, 0.0), worker).x / f32(count);
    var squares = 0.0;
    for (var i = worker; i < count; i += ${WORKERS}u) {
        let d = x[start + i / p.group_channels * p.channels + i % p.group_channels] - mean;
        squares += d * d;
    }
    let deviation = 1.0 / sqrt(total(vec2<f32>(squares, 0.0), worker).x / f32(count) + p.epsilon);
    var sums = vec2<f32>(0.0);
    for (var i = worker; i < count; i += ${WORKERS}u) {
        let c = i % p.group_channels;
        let at = start + i / p.group_channels * p.channels + c;
        let normalized = (x[at] - mean) * deviation;
        var factor = weight[first + c];
#if SILU || SCALE_SHIFT
        var z = normalized * factor + bias[first + c];
#end
#if SCALE_SHIFT
        let scale = 1.0 + embedding[2u * n * p.channels + first + c];
        factor *= scale;
        z = z * scale + embedding[(2u * n + 1u) * p.channels + first + c];
#end
        var g = incoming[at] * factor * deviation;
#if SILU
        let s = 1.0 / (1.0 + exp_vec4(vec4<f32>(min(-z, 80.0))).x);
        g *= s * (1.0 + z * (1.0 - s));
#end
        out[at] = g;
        sums += vec2<f32>(g, g * normalized);
    }
    let means = total(sums, worker) / f32(count);
    for (var i = worker; i < count; i += ${WORKERS}u) {
        let at = start + i / p.group_channels * p.channels + i % p.group_channels;
        out[at] = out[at] - means.x - (x[at] - mean) * deviation * means.y;
    }
}
