//! The known image of an edit, and what is known of it.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::image::Images;
use crate::op::sampling;
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
        if self.pool == 0 || h % self.pool != 0 || w % self.pool != 0 {
            return refuse(format!("blocks of {0}x{0} pixels do not divide {w}x{h}; take a common divisor", self.pool));
        }
        if self.colour.is_some() && c != 3 && !(c == 1 && self.colour == Some(Colour::Grey)) {
            return refuse(format!("the model's images have {c} channels; only those of 3 can be coloured"));
        }
        Ok(())
    }

    /// The projection as its kernel reads it.
    pub fn words(&self) -> [u32; sampling::EDIT] {
        let weights: [f32; 4] = match self.colour {
            Some(Colour::Luma) => [0.2989, 0.5870, 0.1140, 0.0],
            _ => [1.0; 4],
        };
        let head = [self.pool as u32, u32::from(self.colour.is_some()), u32::from(self.mask.is_some()), 0];
        let mut words = [0; sampling::EDIT];
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
