//! Synthetic weights and noise that any language can regenerate bit for bit: tests and `bench --arch` need
//! networks without files. Element i of the stream NAME with seed S is splitmix64's output mix of
//! `(fnv1a64(NAME) ^ S) + (i + 1) * GOLDEN`, its upper 24 bits scaled to [0, 1); all arithmetic is exact.

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The 64-bit FNV-1a hash of a stream's name.
fn fnv1a64(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3))
}

/// A stream of float32 in [0, 1).
pub fn uniform(name: &str, seed: u64) -> impl Iterator<Item = f32> + use<> {
    let key = fnv1a64(name) ^ seed;
    (1u64..).map(move |i| {
        let mut z = key.wrapping_add(i.wrapping_mul(GOLDEN));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f32 * (1.0 / 16_777_216.0)
    })
}

/// A parameter's synthetic weight, scaled by its name and shape so that activations keep their size.
pub fn weight(name: &str, shape: &[usize], seed: u64) -> Vec<f32> {
    let count = shape.iter().product();
    let s = uniform(name, seed).map(|u| u * 2.0 - 1.0);
    let scaled = |factor: f64| {
        let factor = factor as f32;
        s.map(move |s| s * factor).take(count)
    };
    match shape {
        _ if name == "label_emb.weight" => scaled(1.0).collect(),
        [channels, ..] if name.ends_with("positional_embedding") => scaled((3.0 / *channels as f64).sqrt()).collect(),
        [_, rest @ ..] if !rest.is_empty() => {
            let fan_in: usize = rest.iter().product();
            scaled((3.0 / fan_in as f64).sqrt()).collect()
        }
        _ if name.ends_with(".weight") => scaled(0.25).map(|s| 1.0 + s).collect(),
        _ => scaled(0.1).collect(),
    }
}

/// Noise that is close to normal: the sum of four uniform streams, centred and scaled.
pub fn noise(name: &str, count: usize, seed: u64) -> Vec<f32> {
    let stream = |k: usize| uniform(&format!("{name}#{k}"), seed);
    let root = 3f64.sqrt() as f32;
    let pairs = stream(0).zip(stream(1)).zip(stream(2).zip(stream(3)));
    pairs.map(|((a, b), (c, d))| (((a + b) + (c + d)) - 2.0) * root).take(count).collect()
}
