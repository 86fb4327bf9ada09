// A range of channels of a tensor.
struct Params {
    elements: u32,
    stride: u32, // elements per row of the dispatch's grid
    first: u32,
    channels: u32,
    source_channels: u32,
}
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<f32>;
@auto var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.y * p.stride + id.x;
    if (id.x >= p.stride || i >= p.elements) {
        return;
    }
    out[i] = x[i / p.channels * p.source_channels + p.first + i % p.channels];
}
