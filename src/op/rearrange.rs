//! Two adjoints that only move values: a slice of channels (of concatenation), and dilation, zeros between pixels (of a
//! stride).

use super::dispatch::DispatchBuilder;
use super::lowering::Lowering;
use super::operator::{Operator, ensure, operands};
use super::probe::{Probe, TINY, noise};
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// Channels `first` to `first + channels`. Inputs: x.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// The first channel.
    pub first: usize,
    /// How many.
    pub channels: usize,
}

impl Operator for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [x] = operands(inputs)?;
        ensure(self.first + self.channels <= x.c, || format!("channels {} + {} of {x}", self.first, self.channels))?;
        Ok(x.with_channels(self.channels))
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let (x, out) = (lowering.input_shape(0), lowering.output_shape());
        let mut dispatch = DispatchBuilder::new(Kernel::new("slice"));
        dispatch
            .bind("x", lowering.input(0))
            .bind("out", lowering.output())
            .word("first", self.first)
            .word("channels", out.c)
            .word("source_channels", x.c)
            .elements(out.elements());
        lowering.emit(dispatch)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        Tensor::from_fn(output, |n, y, x, c| inputs[0].at(n, y, x, self.first + c))
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        Some(Probe::new(Self { first: 2, channels: 2 }, vec![noise(TINY)]))
    }
}

/// Pixel (y, x) goes to (2 y, 2 x) of a grid of zeros. Inputs: x.
#[derive(Debug, Clone, PartialEq)]
pub struct Dilate {
    /// Height of the result: twice the input's, or one less.
    pub height: usize,
    /// Width of the result.
    pub width: usize,
}

impl Operator for Dilate {
    fn name(&self) -> &'static str {
        "dilate"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [x] = operands(inputs)?;
        let fits = self.height.div_ceil(2) == x.h && self.width.div_ceil(2) == x.w;
        ensure(fits, || format!("{}x{} for {x}", self.height, self.width))?;
        Ok(Shape { h: self.height, w: self.width, ..x })
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let (x, out) = (lowering.input_shape(0), lowering.output_shape());
        let mut dispatch = DispatchBuilder::new(Kernel::new("dilate"));
        dispatch
            .bind("x", lowering.input(0))
            .bind("out", lowering.output())
            .word("channels", out.c)
            .word("height", out.h)
            .word("width", out.w)
            .word("source_height", x.h)
            .word("source_width", x.w)
            .elements(out.elements());
        lowering.emit(dispatch)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        Tensor::from_fn(
            output,
            |n, y, x, c| {
                if y % 2 == 0 && x % 2 == 0 { inputs[0].at(n, y / 2, x / 2, c) } else { 0.0 }
            },
        )
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        Some(Probe::new(Self { height: 5, width: 6 }, vec![noise(TINY)]))
    }
}
