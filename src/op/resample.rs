//! 2x nearest upsampling and 2x2 average pooling, as prologues, residuals and [`super::modulate`] apply them.

use super::operator::ensure;
use crate::tensor::{Shape, Tensor};

/// 2x nearest upsampling or 2x2 average pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resample {
    /// 2x nearest upsampling: each pixel becomes 2 x 2.
    Up,
    /// 2x2 average pooling: each 2 x 2 becomes its mean.
    Down,
}

impl Resample {
    /// The shader's code for it; 0 is none.
    pub fn code(resample: Option<Self>) -> i64 {
        match resample {
            None => 0,
            Some(Self::Up) => 1,
            Some(Self::Down) => 2,
        }
    }

    /// The resampled shape.
    ///
    /// # Errors
    /// 2x2 pooling of an odd size.
    pub fn apply(resample: Option<Self>, s: Shape) -> Result<Shape, String> {
        match resample {
            None => Ok(s),
            Some(Self::Up) => Ok(Shape { h: 2 * s.h, w: 2 * s.w, ..s }),
            Some(Self::Down) => {
                ensure(s.h.is_multiple_of(2) && s.w.is_multiple_of(2), || {
                    format!("{s} has an odd size, which 2x2 average pooling cannot halve")
                })?;
                Ok(Shape { h: s.h / 2, w: s.w / 2, ..s })
            }
        }
    }

    /// The result on the CPU.
    pub fn reference(resample: Option<Self>, x: &Tensor) -> Tensor {
        let s = x.shape;
        match resample {
            None => x.clone(),
            Some(Self::Up) => {
                Tensor::from_fn(Shape { h: 2 * s.h, w: 2 * s.w, ..s }, |n, y, column, c| x.at(n, y / 2, column / 2, c))
            }
            Some(Self::Down) => Tensor::from_fn(Shape { h: s.h / 2, w: s.w / 2, ..s }, |n, y, column, c| {
                let at = |dy, dx| x.at(n, 2 * y + dy, 2 * column + dx, c);
                0.25 * (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1))
            }),
        }
    }

    /// The shape that becomes `s`.
    pub(crate) fn before(resample: Option<Self>, s: Shape) -> Shape {
        match resample {
            None => s,
            Some(Self::Up) => Shape { h: s.h / 2, w: s.w / 2, ..s },
            Some(Self::Down) => Shape { h: 2 * s.h, w: 2 * s.w, ..s },
        }
    }
}
