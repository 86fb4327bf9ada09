// Multi-head attention with an online softmax (Milakov & Gimelshein 2018): no T x T matrix is stored.
// One invocation: one query of one head. Keys and values are read at the same address by a whole workgroup.
struct Params {
    tokens: u32,
    width4: u32, // of a row of qkv, / 4
    channels4: u32, // of a row of the result, / 4
    head4: u32, // distance of two heads' queries in a row of qkv, / 4
    key4: u32, // distance of a head's query and key
    value4: u32, // distance of a head's query and value
    scale: f32, // 1 / sqrt(head channels)
}
#import math
@auto var<uniform> p: Params;
@auto var<storage, read> qkv: array<vec4<f32>>;
@auto var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(${WORKERS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) worker: u32) {
    let token = group.x * ${WORKERS}u + worker;
    let row = group.z * p.tokens;
    let head = group.y * p.head4;
    let base = (row + min(token, p.tokens - 1u)) * p.width4 + head;
#for d in 0..D4
    let q${d} = qkv[base + ${d}u] * p.scale;
    var acc${d} = vec4<f32>(0.0);
#end
    var highest = -3.4e38;
    var total = 0.0;
    for (var first = 0u; first < p.tokens; first += 4u) {
#for b in 0..4
        let at${b} = (row + min(first + ${b}u, p.tokens - 1u)) * p.width4 + head;
        var dot${b} = vec4<f32>(0.0);
#for d in 0..D4
        dot${b} += q${d} * qkv[at${b} + p.key4 + ${d}u];
#end
        let score${b} = select(-3.4e38, (dot${b}.x + dot${b}.y) + (dot${b}.z + dot${b}.w), first + ${b}u < p.tokens);
#end
        var peak = highest;
#for b in 0..4
        peak = max(peak, score${b});
#end
        let fade = exp4(vec4<f32>(highest - peak)).x;
        highest = peak;
        let e = exp4(vec4<f32>(score0, score1, score2, score3) - peak);
        total = total * fade + ((e.x + e.y) + (e.z + e.w));
#for d in 0..D4
        acc${d} *= fade;
#for b in 0..4
        acc${d} += e[${b}] * qkv[at${b} + p.value4 + ${d}u];
#end
#end
    }
    if (token < p.tokens) {
        let to = (row + token) * p.channels4 + group.y * ${D4}u;
#for d in 0..D4
        out[to + ${d}u] = acc${d} / total;
#end
    }
}
