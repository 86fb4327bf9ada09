// Convolution as an implicit matrix product: TM pixels x 4*TN output channels in registers, channels in vec4.
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
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x * ${TN}u;
    let row = id.y * ${TM}u;
#for i in 0..TM
    let row${i} = min(row + ${i}u, p.m - 1u);
    let left${i} = row${i} % p.width * ${STRIDE}u;
    let line${i} = row${i} / p.width;
    let top${i} = line${i} % p.height * ${STRIDE}u;
    let sample${i} = line${i} / p.height * p.source_height;
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
#for i in 0..TM
        let y${i} = top${i} + ky;
        let x${i} = left${i} + kx;
        // `&` and no `&&`: short circuits are branches, of which one driver compiles many in seconds only.
        let inside${i} = (y${i} >= ${PADDING}u) & (y${i} < p.source_height + ${PADDING}u)
            & (x${i} >= ${PADDING}u) & (x${i} < p.source_width + ${PADDING}u);
        // A tap in the padding reads pixel 0 and counts for nothing.
        let base${i} = select(0u, ((sample${i} + y${i} - ${PADDING}u) * p.source_width + x${i} - ${PADDING}u) * p.c4, inside${i});
#end
        for (var k = 0u; k < p.c4; k++) {
#for i in 0..TM
            let a${i} = select(vec4<f32>(0.0), x[base${i} + k], inside${i});
#end
#for kk in 0..4
#for j in 0..TN
            let w${kk}_${j} = weight(at${j});
            at${j} += p.n4;
#end
#for i in 0..TM
#for j in 0..TN
            acc${i}_${j} += a${i}[${kk}] * w${kk}_${j};
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
