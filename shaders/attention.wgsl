// Multi-head attention with an online softmax (Milakov & Gimelshein 2018): no T x T matrix is stored.
// One invocation: QUERIES queries of one head, which share each key and value that it reads. With a SUBGROUP (which the
// workgroup then is), an invocation reads one key and one value of a block, and the others receive them by broadcast;
// without, all read the same KEYS keys at the same addresses.
#import math
#import factors
#import attention
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
    var highest${q} = -3.4e38;
    var total${q} = 0.0;
#for d in 0..D4
    let q${q}_${d} = Factor4(qkv[base${q} + ${d}u] * p.scale);
    var acc${q}_${d} = vec4<f32>(0.0);
#end
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
#end
#end
#for d in 0..D4
#if SUBGROUP
        let k${d} = qkv[at + p.key4 + ${d}u];
#end
#for b in 0..KEYS
        {
#if SUBGROUP
            let k = Factor4(subgroupBroadcast(k${d}, ${b}u));
#else
            let k = Factor4(qkv[at${b} + p.key4 + ${d}u]);
#end
#for q in 0..QUERIES
#if F16 == 2
            s${q}_${b} += f32(dot(q${q}_${d}, k));
#else
            s${q}_${b} += q${q}_${d}.x * k.x;
            s${q}_${b} += q${q}_${d}.y * k.y;
            s${q}_${b} += q${q}_${d}.z * k.z;
            s${q}_${b} += q${q}_${d}.w * k.w;
#end
#end
        }
#end
#end
#for q in 0..QUERIES
        var peak${q} = highest${q};
#for b in 0..KEYS
        s${q}_${b} = select(-3.4e38, s${q}_${b}, first + ${b}u < p.tokens);
        peak${q} = max(peak${q}, s${q}_${b});
#end
        let fade${q} = exp_vec4(vec4<f32>(highest${q} - peak${q})).x;
        highest${q} = peak${q};
        total${q} *= fade${q};
#for c in 0..KEYS / 4
        let e${q}_${c} = exp_vec4(vec4<f32>(s${q}_${4*c}, s${q}_${4*c+1}, s${q}_${4*c+2}, s${q}_${4*c+3}) - peak${q});
        total${q} += (e${q}_${c}.x + e${q}_${c}.y) + (e${q}_${c}.z + e${q}_${c}.w);
#end
#end
#for d in 0..D4
#if SUBGROUP
        let v${d} = qkv[at + p.value4 + ${d}u];
#end
#for q in 0..QUERIES
        acc${q}_${d} *= fade${q};
#end
#for b in 0..KEYS
#if SUBGROUP
        let v${d}_${b} = Factor4(subgroupBroadcast(v${d}, ${b}u));
#else
        let v${d}_${b} = Factor4(qkv[at${b} + p.value4 + ${d}u]);
#end
#for q in 0..QUERIES
#if F16 != 2
        acc${q}_${d} += e${q}_${b / 4}[${b % 4}] * v${d}_${b};
#elif b % 4 == 3
        acc${q}_${d} += run4(vec4<f16>(e${q}_${b / 4}), v${d}_${b - 3}, v${d}_${b - 2}, v${d}_${b - 1}, v${d}_${b});
#end
#end
#end
#end
    }
#for q in 0..QUERIES
    if (token${q} < p.tokens) {
        let to = (row + token${q}) * p.channels4 + item * ${D4}u;
#for d in 0..D4
        out[to + ${d}u] = acc${q}_${d} / total${q};
#end
    }
#end
}
