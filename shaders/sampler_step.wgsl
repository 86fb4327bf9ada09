// x_i to x_{i-1}: ancestral (Ho et al. 2020, guidance as ADM's Algorithm 1) or DDIM (Song et al. 2021, Algorithm 2).
struct Params {
    elements: u32,
    stride: u32, // elements a row of the dispatch's grid
    channels: u32, // of the image
    model_channels: u32, // of the network's output
}
#import math
#import step
@auto var<uniform> p: Params;
@auto var<storage, read> x0: array<f32>;
#if LEARNED
@auto var<storage, read> model: array<f32>;
#end
@auto var<storage, read> noise: array<f32>;
@auto var<storage, read> coefficients: StepCoefficients;
#if GUIDED
@auto var<storage, read> gradient: array<f32>; // of log p(y | x)
#end
@auto var<storage, read_write> x: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.y * p.stride + id.x;
    if (id.x >= p.stride || i >= p.elements) {
        return;
    }
    let old = x[i];
    var start = x0[i];
    let draw = select(0.0, noise[i], coefficients.draws_noise == 1u);
#if GUIDED
    // Where a step is not guided, the gradient is a stale one.
    let guide = select(0.0, coefficients.guidance * gradient[i], coefficients.guidance != 0.0);
#end
    if (coefficients.ddim == 1u) {
        var eps = (coefficients.sqrt_recip_bar * old - start) / coefficients.sqrt_recipm1_bar;
#if GUIDED
        eps -= coefficients.sqrt_one_minus_bar * guide;
        start = coefficients.sqrt_recip_bar * old - coefficients.sqrt_recipm1_bar * eps;
#end
        x[i] = coefficients.sqrt_prev * start + coefficients.ddim_direction * eps + coefficients.sigma * draw;
    } else {
#if LEARNED
        let share = (model[i / p.channels * p.model_channels + p.channels + i % p.channels] + 1.0) / 2.0;
        // A wild output must not leave exp4's range.
        let log_variance = min(share * coefficients.max_log_variance + (1.0 - share) * coefficients.min_log_variance, 80.0);
#else
        let log_variance = coefficients.fixed_log_variance;
#end
        var mean = coefficients.coef1 * start + coefficients.coef2 * old;
#if GUIDED
        mean += exp4(vec4<f32>(log_variance)).x * guide;
#end
        x[i] = mean + exp4(vec4<f32>(0.5 * log_variance)).x * draw;
    }
}
