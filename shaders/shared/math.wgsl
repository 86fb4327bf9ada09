// Functions whose precision WGSL leaves to the driver, to float32's own on all of them.

/// exp(x) for x <= 88; below -87 it stays at exp(-87), 1.6e-38. Cephes' expf: x = n ln 2 + r, a polynomial in r, times
/// 2^n. Adding 1.5 * 2^23 leaves the integer n in the last bits, where a conversion would be checked for its range.
fn exp4(x: vec4<f32>) -> vec4<f32> {
    let y = max(x, vec4<f32>(-87.0));
    let n = floor(y * 1.44269504 + 0.5);
    let r = (y - n * 0.693359375) + n * 2.12194440e-4;
    var p = vec4<f32>(1.9875691500e-4);
    p = p * r + 1.3981999507e-3;
    p = p * r + 8.3334519073e-3;
    p = p * r + 4.1665795894e-2;
    p = p * r + 1.6666665459e-1;
    p = p * r + 5.0000001201e-1;
    let e = p * r * r + r + 1.0;
    return e * bitcast<vec4<f32>>(bitcast<vec4<u32>>(n + (12582912.0 + 127.0)) << vec4<u32>(23u));
}

fn silu4(x: vec4<f32>) -> vec4<f32> {
    // Beyond -80 the result is below 1e-33.
    return x / (1.0 + exp4(min(-x, vec4<f32>(80.0))));
}

/// (cos, sin) of `angle` radians, up to some thousands: reduced by quarter turns in three parts (Cody & Waite), then
/// Cephes' polynomials.
fn cos_sin(angle: f32) -> vec2<f32> {
    let quarter = round(angle * 0.63661977);
    let x = ((angle - quarter * 1.5703125) - quarter * 4.838705062866211e-4) + quarter * 4.371139e-8;
    let z = x * x;
    let s = x + x * z * ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1);
    let c = 1.0 - 0.5 * z + z * z * ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2);
    let turns = bitcast<u32>(i32(quarter));
    let turned = select(vec2<f32>(c, s), vec2<f32>(-s, c), (turns & 1u) == 1u);
    return select(turned, -turned, (turns & 2u) == 2u);
}
