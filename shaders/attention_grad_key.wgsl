// The gradient of attention, second of two: of the keys and values. One invocation: QUERIES keys of one head; queries and
// incoming gradients are shared as keys and values are in attention.wgsl, KEYS at a time.
#import math
#import attention
@auto var<storage, read> incoming: array<vec4<f32>>;
@auto var<storage, read> softmaxes: array<vec4<f32>>;
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
    let all = (sample * p.heads + item) * p.tokens;
#for q in 0..QUERIES
    let token${q} = block * ${WORKERS * QUERIES}u + ${WORKERS * q}u + worker;
    let base${q} = (row + min(token${q}, last)) * p.width4 + head;
#for d in 0..D4
    let k${q}_${d} = qkv[base${q} + p.key4 + ${d}u] * p.scale;
    let v${q}_${d} = qkv[base${q} + p.value4 + ${d}u];
    var dk${q}_${d} = vec4<f32>(0.0);
    var dv${q}_${d} = vec4<f32>(0.0);
#end
#end
    for (var first = 0u; first < p.tokens; first += ${KEYS}u) {
#if SUBGROUP
        let mine = row + min(first + worker, last);
        let softmax = softmaxes[all + min(first + worker, last)];
#end
#for b in 0..KEYS
#if SUBGROUP
        let softmax${b} = subgroupBroadcast(softmax, ${b}u);
#else
        let query${b} = row + min(first + ${b}u, last);
        let softmax${b} = softmaxes[all + min(first + ${b}u, last)];
#end
#for q in 0..QUERIES
        var s${q}_${b} = 0.0;
        var t${q}_${b} = 0.0;
#end
#end
#for d in 0..D4
#if SUBGROUP
        let q${d} = qkv[mine * p.width4 + head + ${d}u];
        let g${d} = incoming[mine * p.channels4 + item * ${D4}u + ${d}u];
#end
#for b in 0..KEYS
        {
#if SUBGROUP
            let query = subgroupBroadcast(q${d}, ${b}u);
            let gradient = subgroupBroadcast(g${d}, ${b}u);
#else
            let query = qkv[query${b} * p.width4 + head + ${d}u];
            let gradient = incoming[query${b} * p.channels4 + item * ${D4}u + ${d}u];
#end
#for q in 0..QUERIES
            s${q}_${b} += k${q}_${d}.x * query.x;
            s${q}_${b} += k${q}_${d}.y * query.y;
            s${q}_${b} += k${q}_${d}.z * query.z;
            s${q}_${b} += k${q}_${d}.w * query.w;
            t${q}_${b} += v${q}_${d}.x * gradient.x;
            t${q}_${b} += v${q}_${d}.y * gradient.y;
            t${q}_${b} += v${q}_${d}.z * gradient.z;
            t${q}_${b} += v${q}_${d}.w * gradient.w;
#end
        }
#end
#end
#for q in 0..QUERIES
#for b in 0..KEYS
        let score${q}_${b} = s${q}_${b} - softmax${b}.x;
#end
#for c in 0..KEYS / 4
        let e${q}_${c} = exp_vec4(vec4<f32>(score${q}_${4*c}, score${q}_${4*c+1}, score${q}_${4*c+2}, score${q}_${4*c+3}));
#end
#for b in 0..KEYS
        let w${q}_${b} = select(0.0, e${q}_${b / 4}[${b % 4}] * softmax${b}.y, first + ${b}u < p.tokens);
        let ds${q}_${b} = w${q}_${b} * (t${q}_${b} - softmax${b}.z);
#end
#end
#for d in 0..D4
#for b in 0..KEYS
        {
#if SUBGROUP
            let query = subgroupBroadcast(q${d}, ${b}u);
            let gradient = subgroupBroadcast(g${d}, ${b}u);
#else
            let query = qkv[query${b} * p.width4 + head + ${d}u];
            let gradient = incoming[query${b} * p.channels4 + item * ${D4}u + ${d}u];
#end
#for q in 0..QUERIES
            dk${q}_${d} += ds${q}_${b} * query;
            dv${q}_${d} += w${q}_${b} * gradient;
#end
        }
#end
#end
    }
#for q in 0..QUERIES
    if (token${q} < p.tokens) {
#for d in 0..D4
        out[base${q} + p.key4 + ${d}u] = dk${q}_${d} * p.scale;
        out[base${q} + p.value4 + ${d}u] = dv${q}_${d};
#end
    }
#end
}
