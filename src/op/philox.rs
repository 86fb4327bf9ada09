//! Noise that is the same on every machine: Philox4x32-10 (Salmon et al. 2011) and Box-Muller.
//!
//! A counter-based generator has no state, so an element's noise depends only on (seed, sample, draw, element): not on
//! the batch it is computed in, nor on the machine that computes it. This is the specification that
//! `shaders/shared/philox.wgsl` follows:
//!
//! ```text
//! counter = (element / 4, sample, draw, 0)      key = (low word of the seed, high word of the seed)
//! element = (y * width + x) * channels + channel: the order of the values in memory
//! draw    = 0 is the first, x_T; later ones count down to 1
//! ```
//!
//! The four words of a block give the normals of elements 4k to 4k + 3. Keying the first draw with 0 gives a seed
//! the same starting noise whatever the number of steps.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// One block of Philox4x32 with ten rounds.
pub fn philox4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let product = |i: usize| u64::from(MULTIPLIERS[i]) * u64::from(counter[2 * i]);
        let (a, b) = (product(0), product(1));
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
    }
    counter
}

/// A uniform number in (0, 1] from a word's upper 24 bits: exact in float32, and never 0.
pub fn uniform(word: u32) -> f32 {
    ((word >> 8) + 1) as f32 * (1.0 / 16_777_216.0)
}

/// Four standard normals from four words: two pairs of Box-Muller.
pub fn normal4(words: [u32; 4]) -> [f32; 4] {
    let pair = |u: u32, v: u32| {
        let radius = (-2.0 * f64::from(uniform(u)).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * f64::from(uniform(v))).sin_cos();
        [(radius * cos) as f32, (radius * sin) as f32]
    };
    let ([a, b], [c, d]) = (pair(words[0], words[1]), pair(words[2], words[3]));
    [a, b, c, d]
}

/// The noise of one sample in one draw, in the order of the values in memory.
pub fn normals(seed: u64, sample: u32, draw: u32, elements: usize) -> Vec<f32> {
    let key = [seed as u32, (seed >> 32) as u32];
    let blocks = elements.div_ceil(4);
    let mut out: Vec<f32> =
        (0..blocks).flat_map(|block| normal4(philox4x32_10([block as u32, sample, draw, 0], key))).collect();
    out.truncate(elements);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the authors publish with Random123 (kat_vectors, philox4x32 10).
    #[test]
    fn known_answers() {
        let ones = u32::MAX;
        for (counter, key, want) in [
            ([0; 4], [0; 2], [0x6627_E8D5, 0xE169_C58D, 0xBC57_AC4C, 0x9B00_DBD8]),
            ([ones; 4], [ones; 2], [0x408F_276D, 0x41C8_3B0E, 0xA20B_C7C6, 0x6D54_51FD]),
            (
                [0x243F_6A88, 0x85A3_08D3, 0x1319_8A2E, 0x0370_7344],
                [0xA409_3822, 0x299F_31D0],
                [0xD16C_FE09, 0x94FD_CCEB, 0x5001_E420, 0x2412_6EA1],
            ),
        ] {
            assert_eq!(philox4x32_10(counter, key), want);
        }
    }

    #[test]
    fn uniforms_are_in_the_half_open_interval() {
        assert_eq!(uniform(0), 1.0 / 16_777_216.0);
        assert_eq!(uniform(u32::MAX), 1.0);
        assert!(normal4([0, 0, 0, u32::MAX]).iter().all(|v| v.is_finite()));
    }

    #[test]
    fn normals_have_the_moments_of_a_normal() {
        let n = 1 << 18;
        let values = normals(7, 3, 11, n);
        let moment = |k: i32| values.iter().map(|&v| f64::from(v).powi(k)).sum::<f64>() / n as f64;
        // Five standard errors each.
        assert!(moment(1).abs() < 5.0 / 512.0, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 5.0 * 2f64.sqrt() / 512.0, "{}", moment(2));
        assert!(moment(3).abs() < 5.0 * 15f64.sqrt() / 512.0, "{}", moment(3));
        assert!((moment(4) - 3.0).abs() < 5.0 * 96f64.sqrt() / 512.0, "{}", moment(4));
    }

    #[test]
    fn every_part_of_the_key_counts() {
        let base = normals(1, 2, 3, 8);
        assert_eq!(base, normals(1, 2, 3, 8));
        for other in [normals(2, 2, 3, 8), normals(1 | 1 << 32, 2, 3, 8), normals(1, 3, 3, 8), normals(1, 2, 4, 8)] {
            assert_ne!(base, other);
        }
        // A shorter or longer image changes no element.
        assert_eq!(normals(1, 2, 3, 5)[..], base[..5]);
    }
}
