// The parts of attention that attention_tile.wgsl splits along the keys, under one softmax. One invocation: a vec4 of a token.
#import math
struct Params {
    elements: u32, // vec4s of the result
    stride: u32,
    channels4: u32, // of a token / 4
    tokens: u32,
    heads: u32,
    parts: u32,
}
@auto var<uniform> p: Params;
@auto var<storage, read> sums: array<vec4<f32>>; // [part][sample][token][channel / 4]
@auto var<storage, read> softmaxes: array<vec2<f32>>; // [part][sample][head][token]: highest score, sum
@auto var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.y * p.stride + id.x;
    if (id.x >= p.stride || i >= p.elements) {
        return;
    }
    let token = i / p.channels4;
    let head = i % p.channels4 * p.heads / p.channels4;
    let first = (token / p.tokens * p.heads + head) * p.tokens + token % p.tokens;
    let distance = p.elements / p.channels4 * p.heads; // of two parts
    var peak = softmaxes[first].x;
    for (var part = 1u; part < p.parts; part++) {
        peak = max(peak, softmaxes[first + part * distance].x);
    }
    var sum = vec4<f32>(0.0);
    var total = 0.0;
    for (var part = 0u; part < p.parts; part++) {
        let softmax = softmaxes[first + part * distance];
        let fade = exp_vec2(vec2<f32>(softmax.x - peak)).x;
        total += softmax.y * fade;
        sum += sums[i + part * p.elements] * fade;
    }
    out[i] = sum / total;
}
