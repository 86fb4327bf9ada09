//! An upsampler's input: the low-resolution image, enlarged bilinearly (align_corners false, as torch's
//! `interpolate`), appended to x.

use super::dispatch::DispatchBuilder;
use super::lowering::Lowering;
use super::operator::{Operator, ensure, operands};
use super::probe::{Probe, noise};
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// Inputs: x `[N, H, W, C]`, low_res `[N, h, w, C]`. Result: `[N, H, W, 2C]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ConcatLowRes;

/// The two source indices around a target pixel's centre, and the second one's share.
fn neighbours(target: usize, size: usize, low: usize) -> (usize, usize, f32) {
    let position = ((target as f32 + 0.5) * (low as f32 / size as f32) - 0.5).max(0.0);
    let first = position.floor() as usize;
    (first, (first + 1).min(low - 1), position - first as f32)
}

impl Operator for ConcatLowRes {
    fn name(&self) -> &'static str {
        "concat_low_res"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [x, low] = operands(inputs)?;
        ensure(low.n == x.n && low.c == x.c && low.h > 0 && low.w > 0, || format!("low_res {low} for {x}"))?;
        Ok(x.with_channels(2 * x.c))
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let (low, out) = (lowering.input_shape(1), lowering.output_shape());
        let mut dispatch = DispatchBuilder::new(Kernel::new("concat_low_res"));
        dispatch
            .bind("x", lowering.input(0))
            .bind("low_res", lowering.input(1))
            .bind("out", lowering.output())
            .word("rows", out.rows())
            .word("height", out.h)
            .word("width", out.w)
            .word("low_height", low.h)
            .word("low_width", low.w)
            .word("channels", low.c)
            .float("scale_y", low.h as f32 / out.h as f32)
            .float("scale_x", low.w as f32 / out.w as f32)
            .tiles(out.c, out.rows());
        lowering.emit(dispatch)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let (x, low) = (inputs[0], inputs[1]);
        Tensor::from_fn(output, |n, y, column, c| {
            if c < x.shape.c {
                return x.at(n, y, column, c);
            }
            let c = c - x.shape.c;
            let (y0, y1, fy) = neighbours(y, output.h, low.shape.h);
            let (x0, x1, fx) = neighbours(column, output.w, low.shape.w);
            let line = |y| low.at(n, y, x0, c) * (1.0 - fx) + low.at(n, y, x1, c) * fx;
            line(y0) * (1.0 - fy) + line(y1) * fy
        })
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], output: Shape) -> Option<Probe<Self>> {
        let image = |size| noise(Shape::new(2, size, size, output.c / 2));
        Some(Probe::new(Self, vec![image(6), image(3)]))
    }
}
