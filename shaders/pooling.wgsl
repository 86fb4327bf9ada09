// What classifier heads pool (the mean over pixels; CLIP's tokens, which are the mean pixel and then every pixel, each plus
// its positional embedding; the first token), and the adjoints.
struct Params {
    elements: u32, // vec4s of the result
    stride: u32,
    pixels: u32, // of one sample, on the forward op's input
    c4: u32,
}
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<vec4<f32>>;
#if TOKENS && !ADJOINT
#import weights
#end
@auto var<storage, read_write> out: array<vec4<f32>>;

#if MEAN || TOKENS
fn mean(first: u32) -> vec4<f32> {
    var sum = vec4<f32>(0.0);
    for (var pixel = 0u; pixel < p.pixels; pixel++) {
        sum += x[first + pixel * p.c4];
    }
    return sum / f32(p.pixels);
}
#end

#import elementwise
fn element(i: u32) {
    let c = i % p.c4;
#if TOKENS && ADJOINT
    // Pixel + 1 is a pixel's token, and token 0 is shared by all.
    let pixel = i / p.c4 % p.pixels;
    let first = i / (p.pixels * p.c4) * (p.pixels + 1u) * p.c4 + c;
    out[i] = x[first + (pixel + 1u) * p.c4] + x[first] / f32(p.pixels);
#elif TOKENS
    let tokens = p.pixels + 1u;
    let token = i / p.c4 % tokens;
    let first = i / (tokens * p.c4) * p.pixels * p.c4 + c;
    var value: vec4<f32>;
    if (token == 0u) {
        value = mean(first);
    } else {
        value = x[first + (token - 1u) * p.c4];
    }
    out[i] = value + weight(token * p.c4 + c);
#elif ADJOINT
    let pooled = x[i / (p.pixels * p.c4) * p.c4 + c];
#if MEAN
    out[i] = pooled / f32(p.pixels);
#else
    out[i] = select(vec4<f32>(0.0), pooled, i / p.c4 % p.pixels == 0u);
#end
#else
    let first = i / p.c4 * p.pixels * p.c4 + c;
#if MEAN
    out[i] = mean(first);
#else
    out[i] = x[first];
#end
#end
}
