// One row of a step table: x' = next . T + P(proj . T), of which project.wgsl has made the parts with P and known; and what
// the row keeps.
struct Params {
    elements: u32,
    stride: u32,
    channels: u32, // of the image
    model_channels: u32, // of the network's output
}
#import finite
#import math
#import row
@auto var<uniform> p: Params;
@auto var<storage, read> x0: array<f32>;
#if LEARNED
@auto var<storage, read> model: array<f32>;
#end
@auto var<storage, read> noise: array<f32>;
@auto var<storage, read> row: Row;
@auto var<storage, read> edit: array<f32>;
#if GUIDED
@auto var<storage, read> gradient: array<f32>; // of log p(y | x)
#end
@auto var<storage, read_write> history: array<f32>; // h1, h2, h3, one after the other
@auto var<storage, read_write> x: array<f32>;

// A large output must not leave exp_vec4's range; what is made of a value that is not finite (not `known`) stays.
fn exp_of(x: f32, known: bool) -> f32 {
    return select(x, exp_vec4(vec4<f32>(min(x, 80.0))).x, known);
}

#import elementwise
fn element(i: u32) {
    var log_variance = row.log_low;
    var known = true;
#if LEARNED
    if (row.log_high != row.log_low) {
        let value = model[i / p.channels * p.model_channels + p.channels + i % p.channels];
        known = is_finite(bitcast<u32>(value));
        let share = (value + 1.0) / 2.0;
        log_variance = share * row.log_high + (1.0 - share) * row.log_low;
    }
#end
    let old = x[i];
    let start = x0[i];
    // x and x_0 are this run's. The history, gradient, noise and edit may hold values of another row or run, even NaN, and are
    // read only where their coefficients are not 0.
    var sum = row.next[0] * old + row.next[1] * start;
#for k in 0..3
    if (row.next[${k + 2}] != 0.0) {
        sum += row.next[${k + 2}] * history[${k}u * p.elements + i];
    }
#end
#if GUIDED
    if (row.next[6] != 0.0) {
        sum += row.next[6] * (exp_of(log_variance, known) * gradient[i]);
    }
#end
    if (row.next[5] != 0.0) {
        sum += row.next[5] * (exp_of(0.5 * log_variance, known) * noise[i]);
    }
    if (row.next[7] != 0.0 || row.proj[0] != 0.0 || row.proj[1] != 0.0 || row.proj[5] != 0.0 || row.proj[7] != 0.0) {
        sum += edit[i];
    }
    if (row.keep[0] != 0.0 || row.keep[1] != 0.0) {
        history[2u * p.elements + i] = history[p.elements + i];
        history[p.elements + i] = history[i];
        history[i] = row.keep[0] * old + row.keep[1] * start;
    }
    x[i] = sum;
}
