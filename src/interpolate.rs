//! Noise between that of two seeds, for pictures that change from one into another.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::image::{Images, volume};
use crate::op::philox;
use crate::{Error, Result};

/// First draws from one seed's to another's, by spherical interpolation (Shoemake 1985), which keeps them as long as normal
/// draws are. Written as `A,B,N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Interpolation {
    /// The seed of the first image.
    pub from: u64,
    /// The seed of the last image.
    pub to: u64,
    /// Images in all, at least 2.
    pub count: u32,
}

impl Interpolation {
    /// The first draws of `images`, a part of 0 to `count`, in the order N, C, H, W and of this [height, width, channels]. The
    /// whole has those of image `index` of either seed at its ends.
    ///
    /// # Errors
    /// [`Error::Options`] where they fit no memory.
    pub fn noise(&self, images: Range<u32>, index: u32, shape: [usize; 3]) -> Result<Vec<f32>> {
        let [height, width, channels] = shape;
        volume([images.len(), height, width, channels])?;
        let draw = |seed| philox::normals(seed, index, 0, height * width * channels);
        let (a, b) = (draw(self.from), draw(self.to));
        let steps = f64::from(self.count.max(2) - 1);
        let count = images.len();
        let all = images.flat_map(|k| spherical(&a, &b, f64::from(k) / steps)).collect();
        Ok(Images::new(count, height, width, channels, all)?.to_nchw())
    }
}

/// The vector at share `t` of the way from `a` to `b` on the arc between them; on the line where there is no arc.
fn spherical(a: &[f32], b: &[f32], t: f64) -> Vec<f32> {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let angle = (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).clamp(-1.0, 1.0).acos();
    let (of_a, of_b) = match angle.sin() {
        sin if sin > 1e-6 => (((1.0 - t) * angle).sin() / sin, (t * angle).sin() / sin),
        _ => (1.0 - t, t),
    };
    a.iter().zip(b).map(|(a, b)| (of_a * f64::from(*a) + of_b * f64::from(*b)) as f32).collect()
}

impl FromStr for Interpolation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(',').map(str::trim);
        let mut found = || {
            Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()))
        };
        match found() {
            Some((from, to, count, None)) if count >= 2 => Ok(Self { from, to, count }),
            _ => Err(Error::Options(
                "write SEED_A,SEED_B,N: two seeds and a number of images of at least 2, such as 3,4,8".into(),
            )),
        }
    }
}

impl fmt::Display for Interpolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.from, self.to, self.count)
    }
}

impl TryFrom<String> for Interpolation {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Interpolation> for String {
    fn from(interpolation: Interpolation) -> Self {
        interpolation.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_the_seeds_draws_and_the_middle_is_as_long() {
        let between: Interpolation = "3,4,5".parse().expect("an interpolation");
        assert_eq!(between.to_string(), "3,4,5");
        let noise = between.noise(0..5, 7, [8, 8, 1]).expect("noise");
        let row = |k: usize| &noise[64 * k..64 * (k + 1)];
        assert_eq!(row(0), philox::normals(3, 7, 0, 64));
        assert_eq!(row(4), philox::normals(4, 7, 0, 64));
        let length = |v: &[f32]| v.iter().map(|v| v * v).sum::<f32>().sqrt();
        let (low, high) = (length(row(0)).min(length(row(4))), length(row(0)).max(length(row(4))));
        assert!((1..4).all(|k| (0.95 * low..=1.05 * high).contains(&length(row(k)))));
        // Equal seeds have no arc between them.
        let still = Interpolation { from: 3, to: 3, count: 3 }.noise(0..3, 0, [2, 2, 1]).expect("noise");
        assert!(still.iter().all(|v| v.is_finite()));
    }

    #[test]
    fn a_batch_is_drawn_alone() {
        let between: Interpolation = "3,4,5".parse().expect("an interpolation");
        let all = between.noise(0..5, 0, [4, 4, 3]).expect("noise");
        assert_eq!(between.noise(2..4, 0, [4, 4, 3]).expect("noise"), all[2 * 48..4 * 48]);
        // All of these would fit no memory.
        let long = Interpolation { from: 3, to: 4, count: u32::MAX };
        let last = long.noise(u32::MAX - 1..u32::MAX, 0, [4, 4, 1]).expect("noise");
        let end = philox::normals(4, 0, 0, 16);
        assert!(last.iter().zip(&end).all(|(a, b)| (a - b).abs() < 1e-6), "{last:?} {end:?}");
    }

    #[test]
    fn what_is_no_interpolation_is_refused() {
        for text in ["", "1", "1,2", "1,2,1", "1,2,3,4", "-1,2,3", "a,b,c", "1,2,99999999999"] {
            assert!(text.parse::<Interpolation>().is_err(), "{text}");
        }
    }
}
