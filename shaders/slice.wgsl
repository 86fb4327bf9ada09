// A range of channels of a tensor.
struct Params {
    elements: u32,
    stride: u32,
    first: u32,
    channels: u32,
    source_channels: u32,
}
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<f32>;
@auto var<storage, read_write> out: array<f32>;

#import elementwise
fn element(i: u32) {
    out[i] = x[i / p.channels * p.source_channels + p.first + i % p.channels];
}
