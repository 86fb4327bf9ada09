// Standard normal noise: one draw. Each value depends on nothing but the
// seed, the sample's index, the number of the draw and the element. One invocation writes the four values of one Philox block.
struct Params {
    elements: u32, // of one sample
    samples: u32,
}
#import philox
@auto var<uniform> p: Params;
@auto var<storage, read> key: vec4<u32>; // seed (low, high), index of the first sample, draw
@auto var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let element = 4u * id.x;
    if (element >= p.elements) {
        return;
    }
    let values = normal4(philox4x32_10(vec4<u32>(id.x, key.z + id.y, key.w, 0u), key.xy));
    let at = id.y * p.elements + element;
#for i in 0..4
    if (element + ${i}u < p.elements) {
        out[at + ${i}u] = values[${i}];
    }
#end
}
