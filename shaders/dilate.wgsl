// Puts zeros between pixels: (y, x) goes to (2 y, 2 x). The adjoint of a convolution's stride.
struct Params {
    elements: u32,
    stride: u32, // elements per row of the dispatch's grid
    channels: u32,
    height: u32,
    width: u32,
    source_height: u32,
    source_width: u32,
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
    let row = i / p.channels;
    let column = row % p.width;
    let line = row / p.width;
    let y = line % p.height;
    let source = ((line / p.height * p.source_height + y / 2u) * p.source_width + column / 2u) * p.channels;
    out[i] = select(0.0, x[source + i % p.channels], (y | column) % 2u == 0u);
}
