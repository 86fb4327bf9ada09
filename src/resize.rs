//! Resizes images to the size that a model takes, where a user asks for it.

use serde::{Deserialize, Serialize};

use crate::image::Images;
use crate::{Error, Result};

/// How an image of another shape is brought to a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// The largest middle part of the wanted shape.
    Crop,
    /// The whole image, with black beside or above and below it.
    Pad,
}

impl Fit {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crop => "crop",
            Self::Pad => "pad",
        }
    }
}

/// A part of a line of pixels that becomes `size` pixels.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: f64,
    length: f64,
    size: usize,
}

impl Images {
    /// All images in `height` x `width`, by a triangle filter as wide as a new pixel (bilinear where it enlarges).
    ///
    /// # Errors
    /// [`Error::Options`] for an empty size, or one that fits no memory.
    pub fn fitted(&self, height: usize, width: usize, fit: Fit) -> Result<Self> {
        if [self.height(), self.width(), self.channels(), height, width].contains(&0) {
            return Err(Error::Options(format!(
                "images of {}x{} cannot be made {width}x{height}; sizes start at 1",
                self.width(),
                self.height()
            )));
        }
        if [self.height(), self.width()] == [height, width] {
            return Ok(self.clone());
        }
        let (across, down) = (self.width() as f64 / width as f64, self.height() as f64 / height as f64);
        let whole = |length: usize, size| Span { start: 0.0, length: length as f64, size };
        let (rows, columns) = match fit {
            Fit::Crop => {
                let scale = across.min(down);
                let middle = |length: usize, size: usize| {
                    let part = (scale * size as f64).min(length as f64);
                    Span { start: (length as f64 - part) / 2.0, length: part, size }
                };
                (middle(self.height(), height), middle(self.width(), width))
            }
            Fit::Pad => {
                let scale = across.max(down);
                let part = |length: usize, size: usize| ((length as f64 / scale).round() as usize).clamp(1, size);
                (whole(self.height(), part(self.height(), height)), whole(self.width(), part(self.width(), width)))
            }
        };
        let channels = self.channels();
        let (top, left) = ((height - rows.size) / 2, (width - columns.size) / 2);
        let size = crate::image::volume([self.count(), height, width, channels])?;
        let mut out = vec![-1.0; size];
        for (index, to) in out.chunks_exact_mut(height * width * channels).enumerate() {
            let narrow = filter(self.image(index), [1, self.width(), channels], columns);
            let small = filter(&narrow, [self.height(), 1, columns.size * channels], rows);
            for (row, from) in small.chunks_exact(columns.size * channels).enumerate() {
                to[((top + row) * width + left) * channels..][..from.len()].copy_from_slice(from);
            }
        }
        Self::new(self.count(), height, width, channels, out)
    }
}

/// Filters one axis of `values`. With `[lines, 1, item]` the axis is that of the lines; with `[1, length, item]` each line
/// of `length` items is filtered by itself.
fn filter(values: &[f32], [lines, length, item]: [usize; 3], span: Span) -> Vec<f32> {
    let axis = lines.max(length);
    let taps = taps(axis, span);
    let mut out = Vec::new();
    for line in values.chunks_exact(axis * item) {
        for (first, weights) in &taps {
            let start = out.len();
            out.resize(start + item, 0.0);
            for (pixel, weight) in line[first * item..].chunks_exact(item).zip(weights) {
                out[start..].iter_mut().zip(pixel).for_each(|(sum, value)| *sum += weight * value);
            }
        }
    }
    out
}

/// For each new pixel the first old one that counts, and the weights from there on.
fn taps(length: usize, span: Span) -> Vec<(usize, Vec<f32>)> {
    let scale = span.length / span.size as f64;
    let reach = scale.max(1.0);
    let of = |i: usize| {
        let centre = span.start + (i as f64 + 0.5) * scale;
        let first = ((centre - reach).floor().max(0.0) as usize).min(length - 1);
        let last = ((centre + reach).ceil() as usize).clamp(first + 1, length);
        let raw: Vec<f64> = (first..last).map(|k| (1.0 - (k as f64 + 0.5 - centre).abs() / reach).max(0.0)).collect();
        let sum: f64 = raw.iter().sum();
        (first, raw.iter().map(|weight| (weight / sum) as f32).collect())
    };
    (0..span.size).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(height: usize, width: usize) -> Images {
        let data = (0..height * width).map(|i| (i % width) as f32 / width as f32).collect();
        Images::new(1, height, width, 1, data).expect("a ramp")
    }

    #[test]
    fn a_crop_is_the_middle_and_a_padded_image_the_whole() {
        let wide = ramp(4, 12);
        let crop = wide.fitted(4, 4, Fit::Crop).expect("cropped");
        let middle = &wide.data()[4..8];
        assert!(crop.data()[..4].iter().zip(middle).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", crop.data());
        let pad = wide.fitted(6, 6, Fit::Pad).expect("padded");
        assert!(pad.data()[..12].iter().chain(&pad.data()[24..]).all(|v| *v == -1.0), "two black rows above and below");
        assert!(pad.data()[12..24].iter().all(|v| *v >= 0.0));
    }

    #[test]
    fn constants_stay_and_equal_sizes_change_nothing() {
        let flat = Images::new(2, 7, 5, 3, vec![0.25; 2 * 7 * 5 * 3]).expect("flat");
        for (height, width) in [(1, 1), (3, 2), (14, 10), (64, 64)] {
            let out = flat.fitted(height, width, Fit::Crop).expect("cropped");
            assert!(out.data().iter().all(|v| (v - 0.25).abs() < 1e-6));
        }
        assert_eq!(ramp(3, 4).fitted(3, 4, Fit::Pad).expect("equal"), ramp(3, 4));
    }

    #[test]
    fn halving_averages_symmetrically() {
        // The triangle reaches two old pixels to each side: weights 1, 3, 3, 1 of 8, cut off at the edges.
        let line = Images::new(1, 1, 4, 1, vec![0.0, 0.0, 1.0, 1.0]).expect("four");
        let half = line.fitted(1, 2, Fit::Pad).expect("two");
        assert!((half.data()[0] + half.data()[1] - 1.0).abs() < 1e-6, "{:?}", half.data());
    }

    #[test]
    fn extreme_shapes_are_bounded() {
        let thread = ramp(1, 30_000);
        assert_eq!(thread.fitted(64, 64, Fit::Crop).expect("cropped").data().len(), 64 * 64);
        assert_eq!(thread.fitted(64, 64, Fit::Pad).expect("padded").data().len(), 64 * 64);
        assert!(thread.fitted(0, 64, Fit::Pad).is_err());
    }
}
