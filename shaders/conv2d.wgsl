// Convolution, variant 0: any kernel, stride and channel count. One invocation: one pixel, four output channels.
// Weights are [tap][input channel][output channel / 4].
struct Params {
    m: u32, // output pixels over the batch
    n: u32,
    n4: u32,
    height: u32, // of the output
    width: u32,
    source_height: u32,
    source_width: u32,
    channels: u32, // of the input
    first_line: u32, // of 8 output pixels: the dispatch has those from here to `end_line`
    end_line: u32,
}
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<f32>;
#import weights
#import epilogue
#import store

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let c = id.x;
    let row = id.y + id.z * 524280u + 8u * p.first_line; // 65535 workgroups of 8
    if (c >= p.n4 || row >= min(p.m, 8u * p.end_line)) {
        return;
    }
    let column = row % p.width;
    let line = row / p.width;
    let y = line % p.height;
    let n = line / p.height;
    var acc = vec4<f32>(0.0);
    for (var ky = 0u; ky < ${KERNEL}u; ky++) {
        let sy = y * ${STRIDE}u + ky;
        if (sy < ${PADDING}u || sy >= p.source_height + ${PADDING}u) {
            continue;
        }
        for (var kx = 0u; kx < ${KERNEL}u; kx++) {
            let sx = column * ${STRIDE}u + kx;
            if (sx < ${PADDING}u || sx >= p.source_width + ${PADDING}u) {
                continue;
            }
            let base = ((n * p.source_height + sy - ${PADDING}u) * p.source_width + sx - ${PADDING}u) * p.channels;
            let tap = (ky * ${KERNEL}u + kx) * p.channels;
            for (var i = 0u; i < p.channels; i++) {
                acc += x[base + i] * weight((tap + i) * p.n4 + c);
            }
        }
    }
    store(row, c, epilogue(acc, row, c));
}
