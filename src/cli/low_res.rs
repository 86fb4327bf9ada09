//! The small images that an upsampler enlarges, by their index in the run.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use super::stage::Stage;
use crate::image::Images;
use crate::{Error, Result};

/// Small images.
#[derive(Debug)]
pub enum LowRes {
    /// Given ones: image k of the run is made from number k modulo their count, as the public script repeats them.
    Input(Images),
    /// Those of the run's first stage. The public scripts pass them on as 8-bit files, on which upsamplers were
    /// trained, so that they are rounded here too: a stack makes what its two commands make.
    Made {
        /// Index of the first one.
        first: u32,
        /// Height and width.
        size: [usize; 2],
        /// Values per pixel.
        channels: usize,
        /// All pixels.
        pixels: File,
    },
}

impl LowRes {
    /// The images of `stage`, the first one being number `first` of the run.
    pub fn made(stage: &Stage, first: u32, pixels: File) -> Self {
        Self::Made { first, size: [stage.height, stage.width], channels: stage.channels, pixels }
    }

    /// What the images `indices` of the run are made from, in the range -1 to 1.
    ///
    /// # Errors
    /// [`Error::Options`] where there are none.
    pub fn rows(&self, indices: Range<u32>) -> Result<Images> {
        match self {
            Self::Input(images) => {
                let of = |index: u32| (index as usize).checked_rem(images.count()).map_or(&[][..], |i| images.image(i));
                let data = indices.clone().flat_map(|index| of(index).iter().copied()).collect();
                Images::new(indices.len(), images.height(), images.width(), images.channels(), data)
            }
            Self::Made { first, size, channels, pixels } => {
                let [height, width] = *size;
                let values = height * width * channels;
                let at = u64::from(indices.start.saturating_sub(*first)) * values as u64;
                let mut own = vec![0; indices.len() * values];
                let mut pixels = pixels;
                let read = pixels.seek(SeekFrom::Start(at)).and_then(|_| pixels.read_exact(&mut own));
                read.map_err(|e| Error::io("the first stage's images", e))?;
                Images::from_u8(indices.len(), height, width, *channels, &own)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_images_repeat() {
        let two = Images::from_u8(2, 1, 1, 1, &[0, 255]).expect("two pixels");
        let rows = LowRes::Input(two).rows(1..4).expect("three");
        assert_eq!(rows.data(), [1.0, -1.0, 1.0]);
    }

    #[test]
    fn made_images_are_those_of_their_indices() {
        let path = std::env::temp_dir().join(format!("guided-diffusion-low-{}", std::process::id()));
        let made = Images::new(3, 1, 1, 1, vec![-2.0, 0.0, 0.999]).expect("three pixels");
        std::fs::write(&path, made.to_u8()).expect("written");
        let low = LowRes::Made { first: 5, size: [1, 1], channels: 1, pixels: File::open(&path).expect("there") };
        let rows = low.rows(6..8).expect("two");
        assert_eq!(rows.data(), [127.0 / 127.5 - 1.0, 254.0 / 127.5 - 1.0], "rounded as a file rounds");
        assert!(low.rows(7..9).is_err());
        std::fs::remove_file(path).expect("removed");
    }
}
