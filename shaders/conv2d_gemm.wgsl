// Convolution as an implicit matrix product: TM pixels x 4*TN output channels in registers, channels in vec4. Within a
// SUBGROUP (which the workgroup then is) all tiles have the same pixels: an invocation reads some, the others receive
// them by broadcast.
// Weights are [tap][input channel][output channel / 4].
struct Params {
    m: u32, // output pixels over the batch
    n: u32,
    n4: u32,
    height: u32, // of the output
    width: u32,
    source_height: u32,
    source_width: u32,
    c4: u32, // input channels / 4
}
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<vec4<f32>>;
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
    let left${r} = row${r} % p.width * ${STRIDE}u;
    let line${r} = row${r} / p.width;
    let top${r} = line${r} % p.height * ${STRIDE}u;
    let sample${r} = line${r} / p.height * p.source_height;
#end
#for i in 0..TM
#for j in 0..TN
    var acc${i}_${j} = vec4<f32>(0.0);
#end
#end
#for j in 0..TN
    var at${j} = min(column + ${j}u, p.n4 - 1u);
#end
    for (var tap = 0u; tap < ${KERNEL * KERNEL}u; tap++) {
        let ky = tap / ${KERNEL}u;
        let kx = tap % ${KERNEL}u;
#for r in 0..READS
        let y${r} = top${r} + ky;
        let x${r} = left${r} + kx;
        // `&` and no `&&`: short circuits are branches, of which one driver compiles many in seconds only.
        let inside${r} = (y${r} >= ${PADDING}u) & (y${r} < p.source_height + ${PADDING}u)
            & (x${r} >= ${PADDING}u) & (x${r} < p.source_width + ${PADDING}u);
        // A tap in the padding reads pixel 0 and counts for nothing.
        let base${r} = select(0u, ((sample${r} + y${r} - ${PADDING}u) * p.source_width + x${r} - ${PADDING}u) * p.c4, inside${r});
#end
        for (var k = 0u; k < p.c4; k++) {
#for r in 0..READS
            let a${r} = select(vec4<f32>(0.0), x[base${r} + k], inside${r});
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
#for i in 0..TM
#for j in 0..TN
    if (row + ${i}u < p.m && column + ${j}u < p.n4) {
        store(row + ${i}u, column + ${j}u, epilogue(acc${i}_${j}, row + ${i}u, column + ${j}u));
    }
#end
#end
}
