// SiLU or ReLU of one tensor, or the gradient with respect to it; a copy without either.
struct Params {
    elements: u32,
    stride: u32,
}
#import finite
#import math
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<f32>;
#if ADJOINT
@auto var<storage, read> incoming: array<f32>;
#end
@auto var<storage, read_write> out: array<f32>;

#import elementwise
fn element(i: u32) {
    let v = x[i];
#if SILU && ADJOINT
    let s = 1.0 / (1.0 + exp_vec4(vec4<f32>(min(-v, 80.0))).x);
    out[i] = incoming[i] * s * (1.0 + v * (1.0 - s));
#elif SILU
    out[i] = silu_vec4(vec4<f32>(v)).x;
#elif RELU && ADJOINT
    // What is not finite stays, of either.
    let g = incoming[i];
    let passed = select(0.0, g, v > 0.0 || !is_finite(bitcast<u32>(g)));
    out[i] = select(v, passed, is_finite(bitcast<u32>(v)));
#elif RELU
    // What is not finite stays.
    out[i] = select(v, max(v, 0.0), is_finite(bitcast<u32>(v)));
#else
    out[i] = v;
#end
}
