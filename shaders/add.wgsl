// Sum of two tensors, or of a tensor and a vector per sample.
struct Params {
    elements: u32,
    stride: u32, // elements per row of the dispatch's grid
    pixels: u32, // of one sample
    channels: u32,
}
@auto var<uniform> p: Params;
@auto var<storage, read> a: array<f32>;
@auto var<storage, read> b: array<f32>;
@auto var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.y * p.stride + id.x;
    if (id.x >= p.stride || i >= p.elements) {
        return;
    }
#if EMBEDDING
    out[i] = a[i] + b[i / (p.pixels * p.channels) * p.channels + i % p.channels];
#else
    out[i] = a[i] + b[i];
#end
}
