// The gradient of attention, first of two: of the queries. One invocation: one query of one head. Also keeps, for the
// second kernel, each row's largest score, the inverse of the softmax's denominator, and forward . incoming.
struct Params {
    tokens: u32,
    width4: u32, // of a row of qkv, / 4
    channels4: u32, // of a row of the forward result, / 4
    head4: u32, // distance of two heads' queries in a row of qkv, / 4
    key4: u32, // distance of a head's query and key
    value4: u32, // distance of a head's query and value
    scale: f32, // 1 / sqrt(head channels)
    heads: u32,
}
#import math
@auto var<uniform> p: Params;
@auto var<storage, read> qkv: array<vec4<f32>>;
@auto var<storage, read> forward: array<vec4<f32>>;
@auto var<storage, read> incoming: array<vec4<f32>>;
@auto var<storage, read_write> rows: array<vec4<f32>>;
@auto var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(${WORKERS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) worker: u32) {
    let token = group.x * ${WORKERS}u + worker;
    let row = group.z * p.tokens;
    let head = group.y * p.head4;
    let base = (row + min(token, p.tokens - 1u)) * p.width4 + head;
    let result = (row + min(token, p.tokens - 1u)) * p.channels4 + group.y * ${D4}u;
    var products = vec4<f32>(0.0);
#for d in 0..D4
    let q${d} = qkv[base + ${d}u] * p.scale;
    let g${d} = incoming[result + ${d}u];
    products += g${d} * forward[result + ${d}u];
    var acc${d} = vec4<f32>(0.0);
#end
    let correction = (products.x + products.y) + (products.z + products.w);
    var peak = -3.4e38;
    for (var i = 0u; i < p.tokens; i++) {
        let at = (row + i) * p.width4 + head + p.key4;
        var s = vec4<f32>(0.0);
#for d in 0..D4
        s += q${d} * qkv[at + ${d}u];
#end
        peak = max(peak, (s.x + s.y) + (s.z + s.w));
    }
    // With the peak known, one pass gives the denominator and the sums that it divides.
    var total = 0.0;
    for (var i = 0u; i < p.tokens; i++) {
        let at = (row + i) * p.width4 + head;
        var s = vec4<f32>(0.0);
        var v = vec4<f32>(0.0);
#for d in 0..D4
        s += q${d} * qkv[at + p.key4 + ${d}u];
        v += g${d} * qkv[at + p.value4 + ${d}u];
#end
        let e = exp4(vec4<f32>((s.x + s.y) + (s.z + s.w) - peak)).x;
        total += e;
        let w = e * ((v.x + v.y) + (v.z + v.w) - correction);
#for d in 0..D4
        acc${d} += w * qkv[at + p.key4 + ${d}u];
#end
    }
    if (token < p.tokens) {
        rows[(group.z * p.heads + group.y) * p.tokens + token] = vec4<f32>(peak, 1.0 / total, correction, 0.0);
#for d in 0..D4
        out[base + ${d}u] = acc${d} * (p.scale / total);
#end
    }
}
