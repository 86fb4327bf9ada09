// The predicted x_0 of a row: skip x + out F + guide g, clamped to [-clip, clip] where clip is not 0. What is made
// of a value that is not finite stays.
struct Params {
    elements: u32,
    stride: u32,
    channels: u32, // of the image
    model_channels: u32, // of the network's output
}
#import finite
#import row
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<f32>;
@auto var<storage, read> model: array<f32>;
@auto var<storage, read> row: Row;
#if GUIDED
@auto var<storage, read> gradient: array<f32>; // of log p(y | x)
#end
@auto var<storage, read_write> out: array<f32>;

#import elementwise
fn element(i: u32) {
    let old = x[i];
    var x0 = row.skip * old;
    var known = is_finite(bitcast<u32>(old));
    // Where a row does not call the network or is not guided, these hold values of another row: they are not read.
    if (row.out != 0.0) {
        let value = model[i / p.channels * p.model_channels + i % p.channels];
        x0 += row.out * value;
        known &= is_finite(bitcast<u32>(value));
    }
#if GUIDED
    if (row.guide != 0.0) {
        let slope = gradient[i];
        x0 += row.guide * slope;
        known &= is_finite(bitcast<u32>(slope));
    }
#end
    out[i] = select(x0, clamp(x0, -row.clip, row.clip), row.clip != 0.0 && known);
}
