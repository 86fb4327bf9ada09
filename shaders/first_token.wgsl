// The first of each sample's tokens, and the adjoint: zero but for the first.
struct Params {
    elements: u32, // vec4s of the result
    stride: u32, // elements a row of the dispatch's grid
    pixels: u32, // of one sample, on the larger side
    c4: u32,
}
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<vec4<f32>>;
@auto var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.y * p.stride + id.x;
    if (id.x >= p.stride || i >= p.elements) {
        return;
    }
    let c = i % p.c4;
#if GRAD
    let token = i / p.c4 % p.pixels;
    out[i] = select(vec4<f32>(0.0), x[i / (p.pixels * p.c4) * p.c4 + c], token == 0u);
#else
    out[i] = x[i / p.c4 * p.pixels * p.c4 + c];
#end
}
