// Sum of two tensors, or of a tensor and a vector per sample.
struct Params {
    elements: u32,
    stride: u32,
    pixels: u32, // of one sample
    channels: u32,
}
@auto var<uniform> p: Params;
@auto var<storage, read> a: array<f32>;
@auto var<storage, read> b: array<f32>;
@auto var<storage, read_write> out: array<f32>;

#import elementwise
fn element(i: u32) {
#if EMBEDDING
    out[i] = a[i] + b[i / (p.pixels * p.channels) * p.channels + i % p.channels];
#else
    out[i] = a[i] + b[i];
#end
}
