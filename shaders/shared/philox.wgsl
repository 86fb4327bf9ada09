// Philox4x32-10 (Salmon et al. 2011) and Box-Muller. The specification, with the layout of counter and key, is
// src/op/philox.rs; a test compares the two on every adapter.
//
// WGSL lets a driver's sin and cos be 2^-11 off, which would give each driver its own images: the polynomials here
// (Cephes' single precision ones) are within 2e-7 on all of them, and their arguments are reduced exactly, in integers.

fn mul_wide(a: u32, b: u32) -> vec2<u32> {
    // (low, high) of a 64-bit product by 16-bit halves.
    let al = a & 0xffffu;
    let ah = a >> 16u;
    let bl = b & 0xffffu;
    let bh = b >> 16u;
    let ll = al * bl;
    let hl = ah * bl;
    let mid = al * bh + (ll >> 16u) + (hl & 0xffffu); // at most 2^32 - 1
    return vec2<u32>((mid << 16u) | (ll & 0xffffu), ah * bh + (hl >> 16u) + (mid >> 16u));
}

fn philox_round(c: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    let a = mul_wide(0xd2511f53u, c.x);
    let b = mul_wide(0xcd9e8d57u, c.z);
    return vec4<u32>(b.y ^ c.y ^ key.x, b.x, a.y ^ c.w ^ key.y, a.x);
}

fn philox4x32_10(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    let weyl = vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    var c = philox_round(counter, key);
    c = philox_round(c, key + weyl);
    c = philox_round(c, key + weyl * 2u);
    c = philox_round(c, key + weyl * 3u);
    c = philox_round(c, key + weyl * 4u);
    c = philox_round(c, key + weyl * 5u);
    c = philox_round(c, key + weyl * 6u);
    c = philox_round(c, key + weyl * 7u);
    c = philox_round(c, key + weyl * 8u);
    return philox_round(c, key + weyl * 9u);
}

// sqrt(-2 ln(k / 2^24)) for k in 1 to 2^24.
fn normal_radius(k: u32) -> f32 {
    let bits = bitcast<u32>(f32(k));
    // k / 2^24 = 2^e * (1 + m), with 1 + m in [sqrt(1/2), sqrt(2)).
    let upper = select(0u, 1u, (bits & 0x7fffffu) >= 0x3504f3u);
    let e = f32(i32((bits >> 23u) + upper) - 127 - 24);
    let m = bitcast<f32>((bits & 0x7fffffu) | ((127u - upper) << 23u)) - 1.0;
    var p = 7.0376836292e-2;
    p = p * m - 1.1514610310e-1;
    p = p * m + 1.1676998740e-1;
    p = p * m - 1.2420140846e-1;
    p = p * m + 1.4249322787e-1;
    p = p * m - 1.6668057665e-1;
    p = p * m + 2.0000714765e-1;
    p = p * m - 2.4999993993e-1;
    p = p * m + 3.3333331174e-1;
    let square = m * m;
    // ln 2 in two parts, so that its product with e loses nothing.
    let log = m + (p * m * square - 0.5 * square + e * -2.12194440e-4) + e * 0.693359375;
    return sqrt(max(-2.0 * log, 0.0));
}

// (cos, sin) of 2 pi k / 2^24.
fn normal_direction(k: u32) -> vec2<f32> {
    let quarter = (k + 0x200000u) >> 22u;
    let x = f32(bitcast<i32>(k - (quarter << 22u))) * 3.7450703e-7; // 2 pi / 2^24; within pi / 4
    let z = x * x;
    let s = x + x * z * ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1);
    let c = 1.0 - 0.5 * z + z * z * ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2);
    let turned = select(vec2<f32>(c, s), vec2<f32>(-s, c), (quarter & 1u) == 1u);
    return select(turned, -turned, (quarter & 2u) == 2u);
}

// Four standard normals from four random words.
fn normal4(words: vec4<u32>) -> vec4<f32> {
    // Uniform in (0, 1]: the upper 24 bits, plus one, so that the logarithm never sees 0.
    let k = (words >> vec4<u32>(8u)) + vec4<u32>(1u);
    return vec4<f32>(
        normal_radius(k.x) * normal_direction(k.y),
        normal_radius(k.z) * normal_direction(k.w),
    );
}
