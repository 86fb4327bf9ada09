// The gradient of attention, second of two: of the keys and values. One invocation: one key of one head.
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
@auto var<storage, read> incoming: array<vec4<f32>>;
@auto var<storage, read> rows: array<vec4<f32>>;
@auto var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(${WORKERS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) worker: u32) {
    let token = group.x * ${WORKERS}u + worker;
    let row = group.z * p.tokens;
    let head = group.y * p.head4;
    let base = (row + min(token, p.tokens - 1u)) * p.width4 + head;
#for d in 0..D4
    let k${d} = qkv[base + p.key4 + ${d}u] * p.scale;
    let v${d} = qkv[base + p.value4 + ${d}u];
    var dk${d} = vec4<f32>(0.0);
    var dv${d} = vec4<f32>(0.0);
#end
    for (var i = 0u; i < p.tokens; i++) {
        let query = (row + i) * p.width4 + head;
        let gradient = (row + i) * p.channels4 + group.y * ${D4}u;
        let softmax = rows[(group.z * p.heads + group.y) * p.tokens + i];
        var s = vec4<f32>(0.0);
        var t = vec4<f32>(0.0);
#for d in 0..D4
        s += k${d} * qkv[query + ${d}u];
        t += v${d} * incoming[gradient + ${d}u];
#end
        let weight = exp4(vec4<f32>((s.x + s.y) + (s.z + s.w) - softmax.x)).x * softmax.y;
        let ds = weight * ((t.x + t.y) + (t.z + t.w) - softmax.z);
#for d in 0..D4
        dk${d} += ds * qkv[query + ${d}u];
        dv${d} += weight * incoming[gradient + ${d}u];
#end
    }
    if (token < p.tokens) {
#for d in 0..D4
        out[base + p.key4 + ${d}u] = dk${d} * p.scale;
        out[base + p.value4 + ${d}u] = dv${d};
#end
    }
}
