//! Shapes, and tensors on the host (for the reference and for tests).

use std::fmt;

/// A batch of images or feature maps, channels last. Vectors are 1 x 1 images; tokens lie in one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape {
    /// Samples.
    pub n: usize,
    /// Height in pixels.
    pub h: usize,
    /// Width in pixels.
    pub w: usize,
    /// Channels.
    pub c: usize,
}

impl Shape {
    /// N x H x W x C.
    pub const fn new(n: usize, h: usize, w: usize, c: usize) -> Self {
        Self { n, h, w, c }
    }

    /// A vector of `c` channels per sample.
    pub const fn vector(n: usize, c: usize) -> Self {
        Self::new(n, 1, 1, c)
    }

    /// The same grid with other channels.
    #[must_use]
    pub const fn with_channels(self, c: usize) -> Self {
        Self { c, ..self }
    }

    /// Pixels over the batch.
    pub const fn rows(&self) -> usize {
        self.n * self.h * self.w
    }

    /// Pixels of one sample.
    pub const fn pixels(&self) -> usize {
        self.h * self.w
    }

    /// All elements.
    pub const fn elements(&self) -> usize {
        self.rows() * self.c
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}x{}", self.n, self.h, self.w, self.c)
    }
}

/// A tensor on the host. Labels are stored as floats here.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its shape.
    pub shape: Shape,
    /// NHWC elements.
    pub data: Vec<f32>,
}

impl Tensor {
    /// A tensor whose element at (n, y, x, c) is `f(n, y, x, c)`.
    pub fn from_fn(shape: Shape, mut f: impl FnMut(usize, usize, usize, usize) -> f32) -> Self {
        let mut data = Vec::with_capacity(shape.elements());
        for n in 0..shape.n {
            for y in 0..shape.h {
                for x in 0..shape.w {
                    data.extend((0..shape.c).map(|c| f(n, y, x, c)));
                }
            }
        }
        Self { shape, data }
    }

    /// The element at (n, y, x, c).
    pub fn at(&self, n: usize, y: usize, x: usize, c: usize) -> f32 {
        self.data[((n * self.shape.h + y) * self.shape.w + x) * self.shape.c + c]
    }
}

/// NCHW (as files and the public code have it) to NHWC.
pub fn nchw_to_nhwc(data: &[f32], shape: Shape) -> Vec<f32> {
    Tensor::from_fn(shape, |n, y, x, c| data[((n * shape.c + c) * shape.h + y) * shape.w + x]).data
}

/// NHWC to NCHW.
pub fn nhwc_to_nchw(data: &[f32], shape: Shape) -> Vec<f32> {
    let mut out = Vec::with_capacity(data.len());
    for n in 0..shape.n {
        for c in 0..shape.c {
            out.extend((0..shape.pixels()).map(|i| data[(n * shape.pixels() + i) * shape.c + c]));
        }
    }
    out
}
