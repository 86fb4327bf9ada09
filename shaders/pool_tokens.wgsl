// CLIP's attention pooling: the mean pixel and then every pixel, each plus its positional embedding; and the adjoint.
struct Params {
    elements: u32, // vec4s of the result
    stride: u32, // elements a row of the dispatch's grid
    pixels: u32, // of one sample, on the larger side
    c4: u32,
}
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<vec4<f32>>;
#if !GRAD
#import weights
#end
@auto var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.y * p.stride + id.x;
    if (id.x >= p.stride || i >= p.elements) {
        return;
    }
    let c = i % p.c4;
#if GRAD
    // The larger side here is x: pixel + 1 is its token, and token 0 is shared by all.
    let n = i / (p.pixels * p.c4);
    let pixel = i / p.c4 % p.pixels;
    let first = n * (p.pixels + 1u) * p.c4 + c;
    out[i] = x[first + (pixel + 1u) * p.c4] + x[first] / f32(p.pixels);
#else
    let tokens = p.pixels + 1u;
    let n = i / (tokens * p.c4);
    let token = i / p.c4 % tokens;
    let first = n * p.pixels * p.c4 + c;
    var value = vec4<f32>(0.0);
    if (token == 0u) {
        for (var pixel = 0u; pixel < p.pixels; pixel++) {
            value += x[first + pixel * p.c4];
        }
        value /= f32(p.pixels);
    } else {
        value = x[first + (token - 1u) * p.c4];
    }
    out[i] = value + weight(token * p.c4 + c);
#end
}
