// The gradient of attention, first of two: of the queries. Invocations share keys and values as in attention.wgsl, and the
// softmax is computed online. Also keeps, for the second kernel, each row's largest score, the inverse of the softmax's
// denominator, and forward . incoming.
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
@auto var<storage, read_write> softmaxes: array<vec4<f32>>;
@auto var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(${WORKERS})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
#if SUBGROUP
    @builtin(subgroup_invocation_id) worker: u32,
#else
    @builtin(local_invocation_index) worker: u32,
#end
) {
    let last = p.tokens - 1u;
    let row = group.z * p.tokens;
    let head = group.y * p.head4;
#for q in 0..QUERIES
    let token${q} = group.x * ${WORKERS * QUERIES}u + ${WORKERS * q}u + worker;
    let base${q} = (row + min(token${q}, last)) * p.width4 + head;
    let result${q} = (row + min(token${q}, last)) * p.channels4 + group.y * ${D4}u;
    var highest${q} = -3.4e38;
    var total${q} = 0.0;
    var products${q} = vec4<f32>(0.0);
#for d in 0..D4
    let q${q}_${d} = qkv[base${q} + ${d}u] * p.scale;
    let g${q}_${d} = incoming[result${q} + ${d}u];
    products${q} += g${q}_${d} * forward[result${q} + ${d}u];
    var acc${q}_${d} = vec4<f32>(0.0);
#end
    let correction${q} = (products${q}.x + products${q}.y) + (products${q}.z + products${q}.w);
#end
    for (var first = 0u; first < p.tokens; first += ${KEYS}u) {
#if SUBGROUP
        let at = (row + min(first + worker, last)) * p.width4 + head;
#else
#for b in 0..KEYS
        let at${b} = (row + min(first + ${b}u, last)) * p.width4 + head;
#end
#end
#for q in 0..QUERIES
#for b in 0..KEYS
        var s${q}_${b} = 0.0;
        var t${q}_${b} = 0.0;
#end
#end
#for d in 0..D4
#if SUBGROUP
        let k${d} = qkv[at + p.key4 + ${d}u];
        let v${d} = qkv[at + p.value4 + ${d}u];
#end
#for b in 0..KEYS
        {
#if SUBGROUP
            let k = subgroupBroadcast(k${d}, ${b}u);
            let v = subgroupBroadcast(v${d}, ${b}u);
#else
            let k = qkv[at${b} + p.key4 + ${d}u];
            let v = qkv[at${b} + p.value4 + ${d}u];
#end
#for q in 0..QUERIES
            s${q}_${b} += q${q}_${d}.x * k.x;
            s${q}_${b} += q${q}_${d}.y * k.y;
            s${q}_${b} += q${q}_${d}.z * k.z;
            s${q}_${b} += q${q}_${d}.w * k.w;
            t${q}_${b} += g${q}_${d}.x * v.x;
            t${q}_${b} += g${q}_${d}.y * v.y;
            t${q}_${b} += g${q}_${d}.z * v.z;
            t${q}_${b} += g${q}_${d}.w * v.w;
#end
        }
#end
#end
#for q in 0..QUERIES
        var peak${q} = highest${q};
#for b in 0..KEYS
        let score${q}_${b} = select(-3.4e38, s${q}_${b}, first + ${b}u < p.tokens);
        peak${q} = max(peak${q}, score${q}_${b});
#end
        let fade${q} = exp_vec4(vec4<f32>(highest${q} - peak${q})).x;
        highest${q} = peak${q};
        total${q} *= fade${q};
#for c in 0..KEYS / 4
        let e${q}_${c} = exp_vec4(vec4<f32>(score${q}_${4*c}, score${q}_${4*c+1}, score${q}_${4*c+2}, score${q}_${4*c+3}) - peak${q});
        total${q} += (e${q}_${c}.x + e${q}_${c}.y) + (e${q}_${c}.z + e${q}_${c}.w);
#end
#for b in 0..KEYS
        let w${q}_${b} = e${q}_${b / 4}[${b % 4}] * (t${q}_${b} - correction${q});
#end
#end
#for d in 0..D4
#for q in 0..QUERIES
        acc${q}_${d} *= fade${q};
#end
#for b in 0..KEYS
        {
#if SUBGROUP
            let k = subgroupBroadcast(k${d}, ${b}u);
#else
            let k = qkv[at${b} + p.key4 + ${d}u];
#end
#for q in 0..QUERIES
            acc${q}_${d} += w${q}_${b} * k;
#end
        }
#end
#end
    }
#for q in 0..QUERIES
    if (token${q} < p.tokens) {
        softmaxes[(group.z * p.heads + group.y) * p.tokens + token${q}] = vec4<f32>(highest${q}, 1.0 / total${q}, correction${q}, 0.0);
#for d in 0..D4
        out[base${q} + ${d}u] = acc${q}_${d} * (p.scale / total${q});
#end
    }
#end
}
