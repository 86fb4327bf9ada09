// An elementwise function of one tensor.
struct Params {
    elements: u32,
    stride: u32, // elements a row of the dispatch's grid
}
#import math
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<f32>;
@auto var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.y * p.stride + id.x;
    if (id.x >= p.stride || i >= p.elements) {
        return;
    }
    let v = x[i];
#if SILU
    out[i] = silu4(vec4<f32>(v)).x;
#elif RELU
    out[i] = max(v, 0.0);
#else
    out[i] = v;
#end
}
