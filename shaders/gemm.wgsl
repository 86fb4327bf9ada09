// Matrix product: out[z] = a[z] (m x k) * w[z] (k x n), with an epilogue. Linear layers, 1x1 convolutions and the Winograd
// domain run here, other convolutions as implicit products (shared/gemm_rows.wgsl). Each invocation keeps a TM x 4*TN tile in
// registers; no workgroup memory. Within a SUBGROUP (which the workgroup then is) all tiles have the same rows: an
// invocation reads some, the others receive them by broadcast.
// Weights are [tap][input channel][output channel / 4].
#let SPLIT = 0
#import gemm_rows
#import weights
#import epilogue
#import store

@compute @workgroup_size(${WX}, ${WY})
#if SUBGROUP
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let column = (group.x * ${WX}u + lane) * ${TN}u;
    let place = 0u;
#else
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let column = (group.x * ${WX}u + local.x) * ${TN}u;
    let place = local.y;
#end
    let line = line_of(group);
    if (line >= p.end_line) {
        return;
    }
    let product = line / p.lines;
    let row = (line % p.lines * ${WY}u + place) * ${TM}u;
#for r in 0..READS
#if SUBGROUP
    let row${r} = row_of(product, min(row + ${WX * r}u + lane, p.m - 1u));
#else
    let row${r} = row_of(product, min(row + ${r}u, p.m - 1u));
#end
#end
#for i in 0..TM
#for j in 0..TN
    var acc${i}_${j} = vec4<f32>(0.0);
#end
#end
#for j in 0..TN
    var at${j} = product * 4u * p.k4 * p.n4 + min(column + ${j}u, p.n4 - 1u);
#end
#for s in 0..SOURCES
#if IM2COL
    for (var segment = 0u; segment < ${KERNEL * KERNEL}u; segment++) {
        let depth = p.c4;
#else
    {
        let segment = ${s}u;
        let depth = depth_of(segment);
#end
#for r in 0..READS
        let start${r} = start_of(row${r}, segment);
#end
        for (var k = 0u; k < depth; k++) {
#for r in 0..READS
            let a${r} = read${s}(start${r}, k);
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
        store(product * p.m + row + ${i}u, column + ${j}u, epilogue(acc${i}_${j}, row + ${i}u, column + ${j}u));
    }
#end
#end
}
