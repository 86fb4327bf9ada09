// Matrix product: out[z] = a[z] (m x k) * w[z] (k x n), with an epilogue. 1x1 convolutions, linear layers and the
// Winograd domain run here. Each invocation keeps a TM x 4*TN tile in registers; no workgroup memory. Within a SUBGROUP
// (which the workgroup then is) all tiles have the same rows: an invocation reads some, the others receive them by
// broadcast.
struct Params {
    m: u32,
    n: u32,
    n4: u32,
    k4: u32, // of a; with two sources, both together
    k4_first: u32,
    height: u32,
    width: u32,
}
@auto var<uniform> p: Params;
@auto var<storage, read> a: array<vec4<f32>>;
#if SOURCES == 2
@auto var<storage, read> skip: array<vec4<f32>>;
#end
#import weights
#import epilogue
#import store

@compute @workgroup_size(${WX}, ${WY})
#if SUBGROUP
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let column = (id.x * ${WX}u + lane) * ${TN}u;
#else
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x * ${TN}u;
#end
    let row = id.y * ${TM}u;
#for r in 0..READS
#if SUBGROUP
    let row${r} = min(row + ${WX * r}u + lane, p.m - 1u);
#else
    let row${r} = min(row + ${r}u, p.m - 1u);
#end
#end
#for i in 0..TM
#for j in 0..TN
    var acc${i}_${j} = vec4<f32>(0.0);
#end
#end
#for j in 0..TN
    var at${j} = id.z * 4u * p.k4 * p.n4 + min(column + ${j}u, p.n4 - 1u);
#end
#for s in 0..SOURCES
    {
#if SOURCES == 1
        let depth = p.k4;
#elif s == 0
        let depth = p.k4_first;
#else
        let depth = p.k4 - p.k4_first;
#end
#for r in 0..READS
        let base${r} = (id.z * p.m + row${r}) * depth;
#end
        for (var k = 0u; k < depth; k++) {
#for r in 0..READS
#if s == 0
            let a${r} = a[base${r} + k];
#else
            let a${r} = skip[base${r} + k];
#end
#end
#for kk in 0..4
#for j in 0..TN
            let w${kk}_${j} = weight(at${j});
            at${j} += p.n4;
#end
#for i in 0..TM
#if SUBGROUP
            let s${kk}_${i} = Factor(subgroupBroadcast(a${i / WX}[${kk}], ${i % WX}u));
#else
            let s${kk}_${i} = Factor(a${i}[${kk}]);
#end
#for j in 0..TN
#if F16 != 2
            acc${i}_${j} += s${kk}_${i} * w${kk}_${j};
#elif kk == 3
            acc${i}_${j} += run4(vec4<f16>(s0_${i}, s1_${i}, s2_${i}, s3_${i}), w0_${j}, w1_${j}, w2_${j}, w3_${j});
#end
#end
#end
#end
        }
    }
#end
#for i in 0..TM
#for j in 0..TN
    if (row + ${i}u < p.m && column + ${j}u < p.n4) {
        store(id.z * p.m + row + ${i}u, column + ${j}u, epilogue(acc${i}_${j}, row + ${i}u, column + ${j}u));
    }
#end
#end
}
