//! Images between the sampler and whatever keeps or shows them.
//!
//! [`Images`] holds the sampler's own float values, so that nothing is lost before a format is chosen; [`Pixels`] is
//! one 8-bit picture. Rounding follows the public sampling scripts, so that statistics of our files compare with theirs.

use crate::{Error, Result};

/// A batch of images: rows of pixels with interleaved channels, values in the sampler's range (-1 to 1, nearly).
#[derive(Debug, Clone, PartialEq)]
pub struct Images {
    count: usize,
    height: usize,
    width: usize,
    channels: usize,
    data: Vec<f32>,
}

/// One 8-bit picture, rows of pixels with interleaved channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Values per pixel: 1 (gray) or 3 (RGB) for everything that writes pictures.
    pub channels: usize,
    /// The values.
    pub bytes: Vec<u8>,
}

/// How a grid is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Pictures above each other.
    pub rows: usize,
    /// Pictures beside each other.
    pub columns: usize,
    /// Fill columns first (image k in row k % rows), so that classes taken in turn get a row each.
    pub by_column: bool,
    /// Black pixels between pictures.
    pub gap: usize,
}

/// The number of values of `count` images, or an error where it fits no memory.
pub(crate) fn volume(shape: [usize; 4]) -> Result<usize> {
    shape
        .iter()
        .try_fold(1usize, |total, &n| total.checked_mul(n))
        .filter(|&total| total <= isize::MAX as usize / 4)
        .ok_or_else(|| Error::Options(format!("images of shape {shape:?} are too large for this machine")))
}

impl Images {
    /// Wraps values in (image, row, column, channel) order.
    ///
    /// # Errors
    /// [`Error::Options`] where the number of values is not that of the shape.
    pub fn new(count: usize, height: usize, width: usize, channels: usize, data: Vec<f32>) -> Result<Self> {
        let wanted = volume([count, height, width, channels])?;
        if data.len() != wanted {
            return Err(Error::Options(format!(
                "{count} images of {height}x{width}x{channels} have {wanted} values, not {}",
                data.len()
            )));
        }
        Ok(Self { count, height, width, channels, data })
    }

    /// Takes values in (image, channel, row, column) order, as PyTorch keeps them.
    ///
    /// # Errors
    /// As [`Images::new`].
    pub fn from_nchw(shape: [usize; 4], data: &[f32]) -> Result<Self> {
        let [count, channels, height, width] = shape;
        let plane = height.saturating_mul(width);
        let mut out = Self::new(count, height, width, channels, data.to_vec())?;
        if !data.is_empty() {
            let size = plane * channels;
            for (to, from) in out.data.chunks_exact_mut(size).zip(data.chunks_exact(size)) {
                for (pixel, values) in to.chunks_exact_mut(channels).enumerate() {
                    for (channel, value) in values.iter_mut().enumerate() {
                        *value = from[channel * plane + pixel];
                    }
                }
            }
        }
        Ok(out)
    }

    /// Takes 8-bit values in (image, row, column, channel) order to the range -1 to 1; [`Images::to_u8`] gives them back.
    ///
    /// # Errors
    /// As [`Images::new`].
    pub fn from_u8(count: usize, height: usize, width: usize, channels: usize, bytes: &[u8]) -> Result<Self> {
        Self::new(count, height, width, channels, bytes.iter().map(|&b| from_u8(b)).collect())
    }

    /// Takes pixels of red, green, blue and alpha, as a page holds them; alpha is dropped, and of gray pictures
    /// (`channels` 1) red is taken.
    ///
    /// # Errors
    /// [`Error::Options`] where their number is not that of the shape, or for other than 1 or 3 channels.
    pub fn from_rgba(count: usize, height: usize, width: usize, channels: usize, rgba: &[u8]) -> Result<Self> {
        if !matches!(channels, 1 | 3) {
            return Err(Error::Options(format!(
                "RGB pixels cannot become images of {channels} channels; this model needs 1 or 3"
            )));
        }
        let wanted = volume([count, height, width, 4])?;
        if rgba.len() != wanted {
            return Err(Error::Options(format!(
                "{count} pictures of {width}x{height} have {wanted} bytes, not {}",
                rgba.len()
            )));
        }
        let bytes: Vec<u8> = rgba.chunks_exact(4).flat_map(|pixel| &pixel[..channels]).copied().collect();
        Self::from_u8(count, height, width, channels, &bytes)
    }

    /// The number of images.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Rows of an image.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns of an image.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Values per pixel.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// All values, in (image, row, column, channel) order.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The same, to change.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The values of one image; empty past the last one.
    pub fn image(&self, index: usize) -> &[f32] {
        let size = self.size();
        self.data.get(index * size..(index + 1) * size).unwrap_or(&[])
    }

    /// The values of one image.
    fn size(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Appends another batch.
    ///
    /// # Errors
    /// [`Error::Options`] where its images are of another shape.
    pub fn append(&mut self, other: &Images) -> Result<()> {
        let shape = |i: &Images| (i.height, i.width, i.channels);
        if shape(self) != shape(other) {
            return Err(Error::Options(format!(
                "images of {:?} and {:?} do not go together",
                shape(self),
                shape(other)
            )));
        }
        self.data.extend_from_slice(&other.data);
        self.count += other.count;
        Ok(())
    }

    /// Drops all images from `count` on.
    pub fn truncate(&mut self, count: usize) {
        self.count = self.count.min(count);
        self.data.truncate(self.count * self.size());
    }

    /// The first image that holds a value that is not a finite number: the sign of a broken model.
    pub fn first_not_finite(&self) -> Option<usize> {
        self.data.iter().position(|v| !v.is_finite()).map(|at| at / self.size().max(1))
    }

    /// Per image: how far it is from that of `other`, in levels of 255, on average and at most.
    pub fn distances(&self, other: &Self) -> Vec<[f64; 2]> {
        let levels = |x: f32| f64::from(x.clamp(-1.0, 1.0)) * 127.5;
        let of = |k: usize| {
            let pairs = self.image(k).iter().zip(other.image(k));
            let apart = pairs.map(|(a, b)| (levels(*a) - levels(*b)).abs());
            let (sum, most) = apart.fold((0.0, 0.0), |(sum, most): (f64, f64), d| (sum + d, most.max(d)));
            [sum / self.size().max(1) as f64, most]
        };
        (0..self.count.min(other.count)).map(of).collect()
    }

    /// 8-bit values in the same order, by the public scripts' rule: `((x + 1) * 127.5).clamp(0, 255)`, truncated.
    pub fn to_u8(&self) -> Vec<u8> {
        self.data.iter().map(|&x| to_u8(x)).collect()
    }

    /// All values in (image, channel, row, column) order.
    pub fn to_nchw(&self) -> Vec<f32> {
        let plane = self.height * self.width;
        let mut out = Vec::with_capacity(self.data.len());
        for image in 0..self.count {
            let values = self.image(image);
            for channel in 0..self.channels {
                out.extend((0..plane).map(|pixel| values[pixel * self.channels + channel]));
            }
        }
        out
    }

    /// One image in 8 bits; black past the last one.
    pub fn pixels(&self, index: usize) -> Pixels {
        let mut bytes: Vec<u8> = self.image(index).iter().map(|&x| to_u8(x)).collect();
        bytes.resize(self.size(), 0);
        Pixels { height: self.height, width: self.width, channels: self.channels, bytes }
    }

    /// All images beside and above each other in one picture.
    ///
    /// # Errors
    /// [`Error::Options`] where the picture would be too large.
    pub fn grid(&self, grid: Grid) -> Result<Pixels> {
        let [height, width] = grid.size(self.height, self.width)?;
        let bytes = vec![0; volume([height, width, self.channels, 1])?];
        let mut picture = Pixels { height, width, channels: self.channels, bytes };
        for index in 0..self.count {
            let (row, column) = grid.place(index);
            if row < grid.rows && column < grid.columns {
                let (top, left) = (row * (self.height + grid.gap), column * (self.width + grid.gap));
                picture.paste(&self.pixels(index), top, left);
            }
        }
        Ok(picture)
    }
}

/// The public scripts' rule, b / 127.5 - 1, at most an ulp higher: where it would come back as a lower level.
fn from_u8(b: u8) -> f32 {
    let x = f32::from(b) / 127.5 - 1.0;
    if to_u8(x) < b { x.next_up() } else { x }
}

/// The public scripts' rule; a NaN becomes 0.
fn to_u8(x: f32) -> u8 {
    // `as` truncates and saturates, which is the clamp.
    ((x + 1.0) * 127.5) as u8
}

impl Grid {
    /// The height and width in pixels of a grid of pictures of `height` x `width`.
    ///
    /// # Errors
    /// [`Error::Options`] where a number overflows.
    pub fn size(&self, height: usize, width: usize) -> Result<[usize; 2]> {
        let side = |pictures: usize, size: usize| {
            size.checked_add(self.gap)?.checked_mul(pictures).map(|total| total.saturating_sub(self.gap))
        };
        match (side(self.rows, height), side(self.columns, width)) {
            (Some(height), Some(width)) => Ok([height, width]),
            _ => Err(Error::Options(format!("a grid of {} x {} pictures is too large", self.rows, self.columns))),
        }
    }

    /// The row and column of image `index`.
    pub fn place(&self, index: usize) -> (usize, usize) {
        if self.by_column {
            let rows = self.rows.max(1);
            (index % rows, index / rows)
        } else {
            let columns = self.columns.max(1);
            (index / columns, index % columns)
        }
    }
}

impl Pixels {
    /// Red, green, blue and alpha, as a page shows them; gray has three equal colors.
    pub fn to_rgba(&self) -> Vec<u8> {
        let color = |pixel: &[u8]| match *pixel {
            [r, g, b, ..] => [r, g, b, 255],
            [gray, ..] => [gray, gray, gray, 255],
            [] => [0, 0, 0, 255],
        };
        self.bytes.chunks_exact(self.channels.max(1)).flat_map(color).collect()
    }

    /// Copies a smaller picture of as many channels into this one; what lies outside is cut off.
    pub fn paste(&mut self, picture: &Pixels, top: usize, left: usize) {
        let width = picture.width.min(self.width.saturating_sub(left)) * self.channels;
        if picture.channels != self.channels || width == 0 {
            return;
        }
        let rows = picture.bytes.chunks_exact(picture.width * picture.channels);
        for (to, from) in self.bytes.chunks_exact_mut(self.width * self.channels).skip(top).zip(rows) {
            to[left * picture.channels..][..width].copy_from_slice(&from[..width]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(count: usize, height: usize, width: usize, channels: usize) -> Images {
        let n = count * height * width * channels;
        Images::new(count, height, width, channels, (0..n).map(|i| i as f32).collect()).expect("the right length")
    }

    #[test]
    fn eight_bits_as_the_public_scripts_have_them() {
        let x = vec![-2.0, -1.0, -0.996, 0.0, 0.5, 0.999, 1.0, 3.0, f32::NAN, f32::INFINITY];
        let got = Images::new(1, 1, 10, 1, x).expect("ten values").to_u8();
        assert_eq!(got, [0, 0, 0, 127, 191, 254, 255, 255, 0, 255]);
        let all: Vec<u8> = (0..=255).collect();
        let there = Images::from_u8(1, 16, 16, 1, &all).expect("256 values");
        assert_eq!(there.to_u8(), all);
        let scripts = all.iter().map(|&b| f32::from(b) / 127.5 - 1.0);
        assert!(there.data().iter().zip(scripts).all(|(a, b)| *a == b || *a == b.next_up()));
    }

    #[test]
    fn channels_first_and_back() {
        let nhwc = images(2, 2, 3, 3);
        let nchw = nhwc.to_nchw();
        assert_eq!(nchw[..7], [0.0, 3.0, 6.0, 9.0, 12.0, 15.0, 1.0]);
        assert_eq!(Images::from_nchw([2, 3, 2, 3], &nchw).expect("the shape"), nhwc);
        assert!(Images::from_nchw([2, 3, 2, 4], &nchw).is_err());
        assert_eq!(Images::from_nchw([0, 3, 2, 4], &[]).expect("nothing").count(), 0);
    }

    #[test]
    fn grids_by_row_and_by_column() {
        let batch = Images::from_u8(3, 1, 1, 1, &[128, 129, 255]).expect("three pixels");
        let by_row = batch.grid(Grid { rows: 2, columns: 2, by_column: false, gap: 1 }).expect("small");
        let [a, b, c] = [batch.to_u8()[0], batch.to_u8()[1], batch.to_u8()[2]];
        assert_eq!((by_row.height, by_row.width), (3, 3));
        assert_eq!(by_row.bytes, [a, 0, b, 0, 0, 0, c, 0, 0]);
        let by_column = batch.grid(Grid { rows: 2, columns: 2, by_column: true, gap: 0 }).expect("small");
        assert_eq!(by_column.bytes, [a, c, b, 0]);
        assert!(batch.grid(Grid { rows: usize::MAX, columns: 2, by_column: true, gap: 0 }).is_err());
    }

    #[test]
    fn batches_join_and_shorten() {
        let mut all = images(2, 1, 2, 1);
        all.append(&images(3, 1, 2, 1)).expect("the same shape");
        all.truncate(4);
        assert_eq!((all.count(), all.data().len(), all.image(3)), (4, 8, &[2.0, 3.0][..]));
        assert!(all.image(4).is_empty());
        assert!(all.append(&images(1, 2, 1, 1)).is_err());
        assert_eq!(all.first_not_finite(), None);
        let broken = Images::new(2, 1, 1, 1, vec![0.0, f32::NAN]).expect("two values");
        assert_eq!(broken.first_not_finite(), Some(1));
    }

    #[test]
    fn pixels_of_a_page() {
        let color = Images::from_u8(1, 1, 2, 3, &[10, 20, 30, 255, 0, 128]).expect("two pixels");
        let rgba = color.pixels(0).to_rgba();
        let [first, second] = [color.to_u8()[..3].to_vec(), color.to_u8()[3..].to_vec()];
        assert_eq!(rgba, [&first[..], &[255], &second, &[255]].concat());
        assert_eq!(Images::from_rgba(1, 1, 2, 3, &[10, 20, 30, 0, 255, 0, 128, 9]).expect("two pixels"), color);

        let gray = Images::from_u8(2, 1, 1, 1, &[255, 0]).expect("two pictures");
        assert_eq!(gray.pixels(0).to_rgba(), [255, 255, 255, 255]);
        assert_eq!(Images::from_rgba(2, 1, 1, 1, &[255, 1, 2, 3, 0, 4, 5, 6]).expect("two pictures"), gray);
        assert!(Images::from_rgba(1, 1, 1, 1, &[0; 3]).is_err());
        assert!(Images::from_rgba(1, 1, 1, 2, &[0; 4]).is_err());
    }

    #[test]
    fn impossible_shapes_are_errors() {
        assert!(Images::new(usize::MAX, 2, 1, 1, Vec::new()).is_err());
        assert!(Images::new(1, 2, 1, 1, vec![0.0]).is_err());
    }
}
