// What kernels multiply, by the define F16: 0 and 1 are float32, 2 is float16. Only the products: values are read,
// summed and stored as float32.
#if F16 == 2
alias Factor = f16;
alias Factor4 = vec4<f16>;

/// `sum` and four products in float16. Of four or eight products it loses less than the factors' own rounding does (2^-11);
/// the sum of such sums, in float32, may be of any length.
fn add4(sum: vec4<f16>, a: vec4<f16>, b0: vec4<f16>, b1: vec4<f16>, b2: vec4<f16>, b3: vec4<f16>) -> vec4<f16> {
    return (((sum + a.x * b0) + a.y * b1) + a.z * b2) + a.w * b3;
}

fn run4(a: vec4<f16>, b0: vec4<f16>, b1: vec4<f16>, b2: vec4<f16>, b3: vec4<f16>) -> vec4<f32> {
    return vec4<f32>(add4(vec4<f16>(), a, b0, b1, b2, b3));
}
#else
alias Factor = f32;
alias Factor4 = vec4<f32>;
#end
