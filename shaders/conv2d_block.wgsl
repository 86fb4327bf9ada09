// 3x3 convolution of stride 1 for few input or few output channels: one invocation computes a block of 4x4 pixels and four
// output channels, so that each value and each weight it reads serves many sums. With VECTORS the input channels are
// read as vec4s.
// Weights are [tap][input channel][output channel / 4].
struct Params {
    elements: u32, // blocks over the batch, times output channels / 4
    stride: u32, // elements a row of the dispatch's grid
    n: u32,
    n4: u32,
    height: u32, // of input and output
    width: u32,
    depth: u32, // input channels, or vec4s of them
    blocks_x: u32,
    blocks_y: u32,
}
@auto var<uniform> p: Params;
#if VECTORS
#let WIDTH = 4
@auto var<storage, read> x: array<vec4<f32>>;
#else
#let WIDTH = 1
@auto var<storage, read> x: array<f32>;
#end
#import weights
#import epilogue
#import store

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.y * p.stride + id.x;
    if (id.x >= p.stride || i >= p.elements) {
        return;
    }
    let c = i % p.n4;
    let block = i / p.n4;
    let left = block % p.blocks_x * 4u;
    let line = block / p.blocks_x;
    let top = line % p.blocks_y * 4u;
    let rows = line / p.blocks_y * p.height;
    // One left of the block; wraps below zero, which the unsigned comparison excludes.
#for j in 0..6
    let x${j} = left + ${j}u - 1u;
#end
#for i in 0..4
#for j in 0..4
    var acc${i}_${j} = vec4<f32>(0.0);
#end
#end
    // The loop over the kernel's rows stays one: drivers take long to compile many reads.
    for (var ky = 0u; ky < 3u; ky++) {
#for i in 0..4
        let y${i} = top + ${i}u + ky - 1u;
#for j in 0..6
        let inside${i}_${j} = (y${i} < p.height) & (x${j} < p.width);
        let at${i}_${j} = select(0u, ((rows + y${i}) * p.width + x${j}) * p.depth, inside${i}_${j});
#end
#end
        for (var k = 0u; k < p.depth; k++) {
#for i in 0..4
#for j in 0..6
#if VECTORS
            let d${i}_${j} = Factor4(select(vec4<f32>(0.0), x[at${i}_${j} + k], inside${i}_${j}));
#else
            let d${i}_${j} = select(0.0, x[at${i}_${j} + k], inside${i}_${j});
#end
#end
#end
#for kx in 0..3
#for kk in 0..WIDTH
            let w${kx}_${kk} = weight((((3u * ky + ${kx}u) * p.depth + k) * ${WIDTH}u + ${kk}u) * p.n4 + c);
#for i in 0..4
#for j in 0..4
#if VECTORS && F16 != 2
            acc${i}_${j} += d${i}_${j + kx}[${kk}] * w${kx}_${kk};
#elif VECTORS
#if kk == 3
            acc${i}_${j} += run4(d${i}_${j + kx}, w${kx}_0, w${kx}_1, w${kx}_2, w${kx}_3);
#end
#else
            acc${i}_${j} += d${i}_${j + kx} * w${kx}_${kk};
#end
#end
#end
#end
#end
        }
    }
#for i in 0..4
#for j in 0..4
    if (top + ${i}u < p.height && left + ${j}u < p.width) {
        let row = (rows + top + ${i}u) * p.width + left + ${j}u;
        store(row, c, epilogue(acc${i}_${j}, row, c));
    }
#end
#end
}
