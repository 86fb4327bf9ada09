// Puts zeros between pixels: (y, x) goes to (2 y, 2 x). The adjoint of a convolution's stride.
struct Params {
    elements: u32,
    stride: u32,
    channels: u32,
    height: u32,
    width: u32,
    source_height: u32,
    source_width: u32,
}
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<f32>;
@auto var<storage, read_write> out: array<f32>;

#import elementwise
fn element(i: u32) {
    let row = i / p.channels;
    let column = row % p.width;
    let line = row / p.width;
    let y = line % p.height;
    let source = ((line / p.height * p.source_height + y / 2u) * p.source_width + column / 2u) * p.channels;
    out[i] = select(0.0, x[source + i % p.channels], (y | column) % 2u == 0u);
}
