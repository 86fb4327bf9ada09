//! The known image of an edit, what is known of it, and how a user's picture becomes it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::image::Images;
use crate::op::project;
use crate::resize::Fit;
use crate::tensor::Shape;

/// How channels are mixed where only their mix is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// Their mean.
    Grey,
    /// The weights of the consistency models' colourisation, 0.2989, 0.5870, 0.1140.
    Luma,
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grey => "grey",
            Self::Luma => "luma",
        })
    }
}

impl FromStr for Colour {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "grey" => Ok(Self::Grey),
            "luma" => Ok(Self::Luma),
            _ => Err(Error::Options("write grey or luma".into())),
        }
    }
}

/// What is known of a picture that a run edits: all of it where every field is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "EditSettings"))]
#[serde(rename_all = "camelCase", default)]
pub struct Degradation {
    /// The pixels that a mask names; the others are made.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(test, ts(type = "boolean", optional))]
    pub mask: bool,
    /// A mix of the channels; the colours are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(type = "'grey' | 'luma'", optional))]
    pub colourise: Option<Colour>,
    /// The means of blocks of so many by so many pixels; the picture is enlarged so many times.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub upscale: Option<usize>,
}

/// A picture as a user gives it.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// One picture or several, which the images of a run take in turn.
    pub pictures: &'a Images,
    /// White where a pixel is known and black where it is made, in the size of the pictures or of the run's images.
    pub mask: Option<&'a Images>,
    /// How pictures of another size are brought to the run's; they are refused without it.
    pub fit: Option<Fit>,
}

/// What an edit starts from. Without mask, colour and pool all of the image is known, which is what image to image and
/// inversion take.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// The images, as many as the run makes, in the sampler's range. Where only a degradation of them is known, its
    /// repetition over blocks and channels will do.
    pub known: Images,
    /// One channel, 1 where a pixel is known and 0 where it is not.
    pub mask: Option<Images>,
    /// Only a mix of the channels is known.
    pub colour: Option<Colour>,
    /// Only means over blocks of `pool` x `pool` pixels are known; 1 for each pixel.
    pub pool: usize,
}

impl Edit {
    /// An image that is known as a whole.
    pub fn of(known: Images) -> Self {
        Self { known, mask: None, colour: None, pool: 1 }
    }

    /// What a run of images of `shape`, the first of which is number `first`, starts from where it is given pictures of
    /// which `known` is known. An upscaled picture is that many times smaller than the images.
    ///
    /// # Errors
    /// [`Error::Options`] for pictures or masks of other sizes or channels, with what would do.
    pub fn new(given: &Given<'_>, known: Option<Degradation>, shape: Shape, first: u32) -> Result<Self> {
        let Degradation { mask: masked, colourise, upscale } = known.unwrap_or_default();
        let pool = upscale.unwrap_or(1).max(1);
        let (height, width) = (shape.h / pool, shape.w / pool);
        let rows = |images: &Images| -> Result<Images> {
            let at = |n: usize| images.image((first as usize + n) % images.count().max(1));
            let data = (0..shape.n).flat_map(|n| at(n).iter().copied()).collect();
            Images::new(shape.n, images.height(), images.width(), images.channels(), data)
        };
        let pictures = with_channels(&rows(given.pictures)?, shape.c)?;
        let own = [pictures.height(), pictures.width()];
        let pictures = match given.fit {
            _ if own == [height, width] => pictures,
            Some(fit) => pictures.fitted(height, width, fit)?,
            None => {
                let times = if pool > 1 { format!(", which is enlarged {pool} times") } else { String::new() };
                return Err(Error::Options(format!(
                    "the given picture is {}x{}; this run takes one of {width}x{height}{times}; crop or pad it (--fit crop, --fit \
                     pad)",
                    own[1], own[0]
                )));
            }
        };
        let mask = match given.mask {
            _ if !masked => None,
            Some(mask) => Some(known_pixels(mask, own, shape, given.fit)?),
            // What was padded is made.
            None if given.fit == Some(Fit::Pad) => {
                let whole = Images::new(1, own[0], own[1], 1, vec![1.0; own[0] * own[1]])?;
                Some(known_pixels(&whole, own, shape, given.fit)?)
            }
            None => return Err(Error::Options("the edit names a mask, but none is given".into())),
        };
        let all = mask.as_ref().is_some_and(|mask| mask.data().iter().all(|v| *v == 1.0));
        if all && colourise.is_none() && pool == 1 {
            return Err(Error::Options(
                "every pixel of the picture is known, so that nothing is left to make; black in the mask is made"
                    .into(),
            ));
        }
        let mask = mask.as_ref().map(rows).transpose()?;
        Ok(Self { known: repeated(&pictures, pool)?, mask, colour: colourise, pool })
    }

    /// What is known of the pictures; None for all of it.
    pub fn degradation(&self) -> Option<Degradation> {
        let upscale = (self.pool != 1).then_some(self.pool);
        let known = Degradation { mask: self.mask.is_some(), colourise: self.colour, upscale };
        (known != Degradation::default()).then_some(known)
    }

    /// Checks what is given against a run's images.
    ///
    /// # Errors
    /// [`Error::Options`] with what would do.
    pub(crate) fn check(&self, Shape { n, h, w, c }: Shape) -> Result<()> {
        let refuse = |message: String| Err(Error::Options(message));
        let sizes = |images: &Images| [images.count(), images.height(), images.width(), images.channels()];
        let given = sizes(&self.known);
        if given != [n, h, w, c] {
            let [count, height, width, channels] = given;
            return refuse(format!(
                "the given image is {width}x{height} with {channels} channels ({count} of them); {n} of {w}x{h} with {c} \
                 channels are needed"
            ));
        }
        if let Some(mask) = &self.mask {
            if sizes(mask) != [n, h, w, 1] {
                let [count, height, width, channels] = sizes(mask);
                return refuse(format!(
                    "the mask is {width}x{height} with {channels} channels ({count} of them); {n} of {w}x{h} with one \
                     channel are needed"
                ));
            }
            if mask.data().iter().any(|v| *v != 0.0 && *v != 1.0) {
                return refuse("the mask holds values other than 0 (unknown) and 1 (known)".into());
            }
        }
        Ok(())
    }

    /// The projection as its kernel reads it.
    pub fn words(&self) -> [u32; project::EDIT] {
        let weights: [f32; 4] = match self.colour {
            Some(Colour::Luma) => [0.2989, 0.5870, 0.1140, 0.0],
            _ => [1.0; 4],
        };
        let head = [self.pool as u32, u32::from(self.colour.is_some()), u32::from(self.mask.is_some()), 0];
        let mut words = [0; project::EDIT];
        words[..4].copy_from_slice(&head);
        words[4..].copy_from_slice(&weights.map(f32::to_bits));
        words
    }

    /// Puts the known pixels of a masked edit into its result, exactly as they were.
    pub fn restore(&self, images: &mut Images) {
        let Some(mask) = self.mask.as_ref().filter(|_| self.colour.is_none() && self.pool == 1) else { return };
        let c = images.channels().max(1);
        let pixels = images.data_mut().chunks_mut(c).zip(self.known.data().chunks(c));
        for ((to, from), known) in pixels.zip(mask.data()) {
            if *known == 1.0 {
                to.copy_from_slice(from);
            }
        }
    }
}

/// Pictures in the model's number of channels: a grey one has equal colours, and the other way round.
fn with_channels(pictures: &Images, channels: usize) -> Result<Images> {
    let [count, height, width] = [pictures.count(), pictures.height(), pictures.width()];
    let pixels = || pictures.data().chunks_exact(pictures.channels().max(1));
    let data: Vec<f32> = match (pictures.channels(), channels) {
        (own, wanted) if own == wanted => return Ok(pictures.clone()),
        (1, wanted) => pictures.data().iter().flat_map(|v| std::iter::repeat_n(*v, wanted)).collect(),
        (_, 1) if pixels().all(|pixel| pixel.iter().all(|v| *v == pixel[0])) => {
            pixels().map(|pixel| pixel[0]).collect()
        }
        (own, wanted) => {
            return Err(Error::Options(if wanted == 1 {
                "the given picture has colours, and the model's images are grey; give a grey picture, for example of \
                 ImageMagick's `convert IN.png -colorspace Gray OUT.png`"
                    .into()
            } else {
                format!("the given picture has {own} channels, and the model's images have {wanted}")
            }));
        }
    };
    Images::new(count, height, width, channels, data)
}

/// The pixels that a mask of a picture of size `own` names, 1 and 0, in the size of a run's images.
fn known_pixels(mask: &Images, own: [usize; 2], shape: Shape, fit: Option<Fit>) -> Result<Images> {
    let refuse = |message: String| Err(Error::Options(message));
    let mask = with_channels(mask, 1)
        .map_err(|_| Error::Options("the mask has colours; white and black are needed".into()))?;
    let size = [mask.height(), mask.width()];
    if size != own && size != [shape.h, shape.w] {
        return refuse(format!(
            "the mask is {}x{}; it must be as large as the picture, {}x{}, or as the image that is made, {}x{}",
            size[1], size[0], own[1], own[0], shape.w, shape.h
        ));
    }
    if mask.data().iter().any(|v| *v != -1.0 && *v != 1.0) {
        return refuse(
            "the mask has grey pixels; white (255) is known, black (0) is made, and nothing else is taken".into(),
        );
    }
    let (own, wanted) = (size, [shape.h, shape.w]);
    let divides = own[0] > 0 && own[1] > 0 && wanted[0] % own[0] == 0 && wanted[1] % own[1] == 0;
    let mask = match fit {
        _ if own == wanted => mask,
        // Of an upscaled picture: a mask of its own pixels.
        _ if divides && wanted[0] / own[0] == wanted[1] / own[1] => repeated(&mask, wanted[0] / own[0])?,
        Some(fit) => mask.fitted(shape.h, shape.w, fit)?,
        None => {
            return refuse(format!(
                "the mask must be {}x{}, or be cropped or padded with its picture",
                shape.w, shape.h
            ));
        }
    };
    // A pixel that is filtered from known ones alone is known.
    let data: Vec<f32> = mask.data().iter().map(|v| if *v > 1.0 - 1e-4 { 1.0 } else { 0.0 }).collect();
    match data.iter().filter(|v| **v == 1.0).count() {
        0 => refuse("the mask names no known pixel: white is known, black is made".into()),
        _ => Images::new(mask.count(), shape.h, shape.w, 1, data),
    }
}

/// Each pixel as a block of `k` by `k`.
fn repeated(images: &Images, k: usize) -> Result<Images> {
    let [n, h, w, c] = [images.count(), images.height(), images.width(), images.channels()];
    let data = (0..n * h * k * w * k)
        .flat_map(|at| {
            let (row, x) = (at / (w * k), at % (w * k));
            let from = ((row / (h * k) * h + row % (h * k) / k) * w + x / k) * c;
            images.data()[from..from + c].iter().copied()
        })
        .collect();
    Images::new(n, h * k, w * k, c, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { n: 2, h: 4, w: 4, c: 3 };

    fn picture(width: usize, height: usize, channels: usize) -> Images {
        let bytes: Vec<u8> = (0..width * height * channels).map(|i| (i * 37 % 256) as u8).collect();
        Images::from_u8(1, height, width, channels, &bytes).expect("a picture")
    }

    fn mask(width: usize, height: usize, shown: impl Fn(usize) -> bool) -> Images {
        let bytes: Vec<u8> = (0..width * height).map(|i| if shown(i) { 255 } else { 0 }).collect();
        Images::from_u8(1, height, width, 1, &bytes).expect("a mask")
    }

    fn refusal(given: Given<'_>, known: Degradation) -> String {
        Edit::new(&given, Some(known), SHAPE, 0).expect_err("refused").to_string()
    }

    #[test]
    fn a_picture_becomes_what_a_run_starts_from() {
        let (small, masked) = (picture(2, 2, 3), mask(4, 4, |i| i < 8));
        let known = Degradation { mask: true, upscale: Some(2), ..Degradation::default() };
        let given = Given { pictures: &small, mask: Some(&masked), fit: None };
        let edit = Edit::new(&given, Some(known), SHAPE, 0).expect("an edit");
        assert_eq!(edit.degradation(), Some(known));
        assert_eq!([edit.known.count(), edit.known.height(), edit.known.width()], [2, 4, 4]);
        assert_eq!(edit.known.image(1)[..9], [&small.data()[..3], &small.data()[..3], &small.data()[3..6]].concat());
        let shown = edit.mask.expect("a mask");
        assert_eq!(shown.data()[..16], [[1.0; 8], [0.0; 8]].concat());
        // Of its own pixels' size, the mask grows with the picture.
        let own = mask(2, 2, |i| i == 1);
        let edit = Edit::new(&Given { mask: Some(&own), ..given }, Some(known), SHAPE, 0).expect("an edit");
        assert_eq!(edit.mask.expect("a mask").data()[..8], [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn what_is_padded_is_made() {
        let wide = picture(8, 4, 3);
        let known = Degradation { mask: true, ..Degradation::default() };
        let given = Given { pictures: &wide, mask: None, fit: Some(Fit::Pad) };
        let edit = Edit::new(&given, Some(known), SHAPE, 0).expect("an edit");
        assert_eq!(edit.mask.expect("a mask").data()[..16], [[0.0; 4], [1.0; 4], [1.0; 4], [0.0; 4]].concat());
    }

    #[test]
    fn known_pixels_come_back_exactly_in_eight_bits_too() {
        let bytes: Vec<u8> = (0..=255).collect();
        let all = Images::from_u8(1, 16, 16, 1, &bytes).expect("every level");
        let shape = Shape { n: 1, h: 16, w: 16, c: 1 };
        let shown = mask(16, 16, |i| i % 3 > 0);
        let given = Given { pictures: &all, mask: Some(&shown), fit: None };
        let known = Degradation { mask: true, ..Degradation::default() };
        let edit = Edit::new(&given, Some(known), shape, 0).expect("an edit");
        let mut made = Images::new(1, 16, 16, 1, vec![0.3; 256]).expect("an image");
        edit.restore(&mut made);
        for (i, level) in made.to_u8().into_iter().enumerate() {
            assert_eq!(level, if i % 3 > 0 { bytes[i] } else { 165 }, "level {i}");
        }
    }

    #[test]
    fn pictures_and_masks_that_do_not_fit_are_refused() {
        let (right, white) = (picture(4, 4, 3), mask(4, 4, |_| true));
        let known = Degradation { mask: true, ..Degradation::default() };
        let plain = Given { pictures: &right, mask: Some(&white), fit: None };
        let (large, two) = (picture(8, 8, 3), picture(4, 4, 2));
        for (given, known, said) in [
            (Given { pictures: &large, ..plain }, known, "is 8x8; this run takes one of 4x4"),
            (
                Given { pictures: &large, ..plain },
                Degradation { upscale: Some(2), ..known },
                "takes one of 2x2, which is enlarged 2 times",
            ),
            (Given { pictures: &two, ..plain }, known, "2 channels"),
            (plain, known, "every pixel of the picture is known"),
            (Given { mask: Some(&mask(3, 4, |_| true)), ..plain }, known, "the mask is 3x4; it must be as large"),
            (Given { mask: Some(&mask(4, 4, |_| false)), ..plain }, known, "no known pixel"),
            (Given { mask: Some(&picture(4, 4, 1)), ..plain }, known, "grey pixels"),
            (Given { mask: Some(&picture(4, 4, 3)), ..plain }, known, "has colours"),
            (Given { mask: None, ..plain }, known, "none is given"),
        ] {
            let message = refusal(given, known);
            assert!(message.contains(said), "{message} does not say {said}");
        }
        let message = Edit::new(&plain, Some(known), Shape { c: 1, ..SHAPE }, 0).expect_err("refused").to_string();
        assert!(message.contains("give a grey picture"), "{message}");
    }
}
