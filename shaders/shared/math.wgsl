// Functions whose precision WGSL leaves to the driver, to float32's own on all of them.

/// exp_vec: exp(x) for x <= 88; below -87 it stays at exp(-87), 1.6e-38, and NaN stays. x is compared by its bits, from the first
/// below -87 to -infinity: max may hide NaN, and a compiler (NVIDIA's, it seems) may make max of a comparison and a select.
/// bounded_exp_vec: exp(y) for y within -87 and 88. Cephes' expf: y = n ln 2 + r, a polynomial in r, times 2^n. Adding
/// 1.5 * 2^23 leaves the integer n in the last bits, where a conversion would be checked for its range.
#for w in 1..3
#let W = 2 * w
fn bounded_exp_vec${W}(y: vec${W}<f32>) -> vec${W}<f32> {
    let n = floor(y * 1.44269504 + 0.5);
    let r = (y - n * 0.693359375) + n * 2.12194440e-4;
    var p = vec${W}<f32>(1.9875691500e-4);
    p = p * r + 1.3981999507e-3;
    p = p * r + 8.3334519073e-3;
    p = p * r + 4.1665795894e-2;
    p = p * r + 1.6666665459e-1;
    p = p * r + 5.0000001201e-1;
    let e = p * r * r + r + 1.0;
    return e * bitcast<vec${W}<f32>>(bitcast<vec${W}<u32>>(n + (12582912.0 + 127.0)) << vec${W}<u32>(23u));
}

fn exp_vec${W}(x: vec${W}<f32>) -> vec${W}<f32> {
    let below = bitcast<vec${W}<u32>>(x) - vec${W}<u32>(0xc2ae0001u) < vec${W}<u32>(0x3cd20000u);
    return bounded_exp_vec${W}(select(x, vec${W}<f32>(-87.0), below));
}

fn silu_vec${W}(x: vec${W}<f32>) -> vec${W}<f32> {
    // Beyond -80 the result is about -1e-33.
    return x / (1.0 + bounded_exp_vec${W}(clamp(-x, vec${W}<f32>(-87.0), vec${W}<f32>(80.0))));
}

#end
/// (cos, sin) of `angle` radians, up to some thousands. The angle is reduced in whole numbers, 2^-32 of a turn each, so that a
/// compiler that reassociates or fuses floating-point operations (Metal's default) loses no digits; then Cephes'
/// polynomials.
fn cos_sin(angle: f32) -> vec2<f32> {
    let size = abs(angle);
    let whole = floor(size);
    let radians = u32(whole);
    // 2^32 / (2 pi) = 683565275 + 37777 / 2^16; the sum wraps at a turn.
    let turn = radians * 683565275u + ((radians * 37777u) >> 16u) + u32((size - whole) * 683565275.6);
    let quarter = (turn + 0x20000000u) >> 30u;
    let x = f32(bitcast<i32>(turn - (quarter << 30u))) * 1.4629180792671596e-9; // 2 pi / 2^32; within pi / 4
    let z = x * x;
    let s = x + x * z * ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1);
    let c = 1.0 - 0.5 * z + z * z * ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2);
    let turned = select(vec2<f32>(c, s), vec2<f32>(-s, c), (quarter & 1u) == 1u);
    let result = select(turned, -turned, (quarter & 2u) == 2u);
    return vec2<f32>(result.x, select(result.y, -result.y, angle < 0.0));
}
