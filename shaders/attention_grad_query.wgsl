// The gradient of attention, first of two: of the queries. Invocations share keys and values as in attention.wgsl, and the
// softmax is computed online. Also keeps, for the second kernel, each row's largest score, the inverse of the softmax's
// denominator, and forward . incoming.
#import math
#import attention
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
    let line = line_of(group);
    if (line >= p.end_line) {
        return;
    }
    let last = p.tokens - 1u;
    let block = line % p.lines;
    let item = line / p.lines % p.heads;
    let sample = line / p.lines / p.heads;
    let row = sample * p.tokens;
    let head = item * p.head4;
#for q in 0..QUERIES
    let token${q} = block * ${WORKERS * QUERIES}u + ${WORKERS * q}u + worker;
    let base${q} = (row + min(token${q}, last)) * p.width4 + head;
    let result${q} = (row + min(token${q}, last)) * p.channels4 + item * ${D4}u;
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
        softmaxes[(sample * p.heads + item) * p.tokens + token${q}] = vec4<f32>(highest${q}, 1.0 / total${q}, correction${q}, 0.0);
#for d in 0..D4
        out[base${q} + ${d}u] = acc${q}_${d} * (p.scale / total${q});
#end
    }
#end
}
