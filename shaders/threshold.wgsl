// Dynamic thresholding (Saharia et al. 2022): with q the 0.995 quantile of |x_0| over an image, s = max(q, 1): x_0 is clamped
// to [-s, s] and divided by s. One workgroup per image; the quantile by bisection on the bits of floats, whose order is
// that of the values where none is negative, and linear between two neighbours. What is not finite stays.
struct Params {
    elements: u32, // of one image
    rank: u32, // of the lower neighbour, counted from 0
    share: f32, // of the upper neighbour
}
#import finite
@auto var<uniform> p: Params;
@auto var<storage, read_write> x0: array<f32>;

const LANES = 256u;
var<workgroup> total: atomic<u32>;
var<workgroup> least: atomic<u32>;

fn magnitude(i: u32) -> u32 {
    return bitcast<u32>(x0[i]) & 0x7fffffffu;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * p.elements;
    // The smallest bits below or at which there are more than `rank` values.
    var low = 0u;
    var high = 0x7fffffffu;
    var below = p.elements;
    for (var bit = 0u; bit < 31u; bit++) {
        let middle = low + (high - low) / 2u;
        if (lane == 0u) {
            atomicStore(&total, 0u);
        }
        workgroupBarrier();
        var count = 0u;
        for (var i = lane; i < p.elements; i += LANES) {
            count += select(0u, 1u, magnitude(first + i) <= middle);
        }
        atomicAdd(&total, count);
        workgroupBarrier();
        let found = atomicLoad(&total);
        workgroupBarrier();
        if (found > p.rank) {
            high = middle;
            below = found;
        } else {
            low = min(middle + 1u, high);
        }
    }
    // The next larger value, unless several are equal.
    if (lane == 0u) {
        atomicStore(&least, 0x7fffffffu);
    }
    workgroupBarrier();
    for (var i = lane; i < p.elements; i += LANES) {
        let bits = magnitude(first + i);
        if (bits > high) {
            atomicMin(&least, bits);
        }
    }
    workgroupBarrier();
    let lower = bitcast<f32>(high);
    let next = atomicLoad(&least);
    let upper = select(lower, bitcast<f32>(next), below == p.rank + 1u && next != 0x7fffffffu);
    let s = max(lower + p.share * (upper - lower), 1.0);
    for (var i = lane; i < p.elements; i += LANES) {
        let value = x0[first + i];
        x0[first + i] = select(value, clamp(value, -s, s) / s, is_finite(bitcast<u32>(value)));
    }
}
