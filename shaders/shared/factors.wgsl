// What kernels multiply, by the define F16: 0 and 1 are float32, 2 is float16. Only the products: values are read,
// summed and stored as float32.
#if F16 == 2
alias Factor = f16;
alias Factor4 = vec4<f16>;

/// Four products, summed in float16: so short a sum loses less than the factors' own rounding does (2^-11), while the sum
/// of these sums, in float32, may be of any length.
fn run4(a: vec4<f16>, b0: vec4<f16>, b1: vec4<f16>, b2: vec4<f16>, b3: vec4<f16>) -> vec4<f32> {
    return vec4<f32>(((a.x * b0 + a.y * b1) + a.z * b2) + a.w * b3);
}
#else
alias Factor = f32;
alias Factor4 = vec4<f32>;
#end
