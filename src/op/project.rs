//! An edit's part of a step: the known image, and the projection on what is known of it.

use super::dispatch::DispatchBuilder;
use super::lowering::Lowering;
use super::operator::{Operator, ensure, operands};
use super::probe::{Operand, Probe, Values, noise, words};
use super::sampling::{Row, check_row, projecting, row};
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// 32-bit words of an edit's projection: side of a block, whether channels are mixed, whether there is a mask, a spare one,
/// four weights of channels as float32.
pub const EDIT: usize = 8;

/// What an edit adds to a row's x': known's share of `next`, and the projection P of the row's `proj`. Inputs: x, x_0, noise,
/// the known image, its mask `[N, H, W, 1]`, the projection `[1, 1, 1, EDIT]`, row.
#[derive(Debug, Clone, PartialEq)]
pub struct Project;

impl Operator for Project {
    fn name(&self) -> &'static str {
        "project"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [x, x0, noise, known, mask, edit, row] = operands(inputs)?;
        check_row(row)?;
        ensure(edit == Shape::vector(1, EDIT), || format!("projection {edit}"))?;
        let same = x == x0 && x == noise && x == known && mask == x.with_channels(1);
        ensure(same, || format!("x_0 {x0}, noise {noise}, known {known} and mask {mask} for {x}"))?;
        Ok(x)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let out = lowering.output_shape();
        let groups = (out.n * out.pixels()).div_ceil(64);
        let mut dispatch = DispatchBuilder::new(Kernel::new("project"));
        for (i, name) in ["x", "x0", "noise", "known", "mask", "edit", "row"].into_iter().enumerate() {
            dispatch.bind(name, lowering.input(i));
        }
        dispatch
            .bind("out", lowering.output())
            .word("samples", out.n)
            .word("height", out.h)
            .word("width", out.w)
            .word("channels", out.c)
            .groups([groups.min(65_535), groups.div_ceil(65_535), 1]);
        lowering.emit(dispatch)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let row = Row::of(inputs[6]);
        let words: Vec<u32> = inputs[5].data.iter().map(|v| v.to_bits()).collect();
        let projects = row.proj != [0.0; 8];
        let (pool, mixes, masked) =
            if projects { (words[0].max(1) as usize, words[1] == 1, words[2] == 1) } else { (1, false, false) };
        let weight = |c: usize| if mixes { inputs[5].data[4 + c.min(3)] } else { 1.0 };
        let shown = |n, y, x| if masked { inputs[4].at(n, y, x, 0) } else { 1.0 };
        let z = |n, y, x, c| {
            let [x_, x0, noise, known] = [0, 1, 2, 3].map(|i: usize| inputs[i].at(n, y, x, c));
            row.proj[0] * x_ + row.proj[1] * x0 + row.proj[5] * noise + row.proj[7] * known
        };
        Tensor::from_fn(output, |n, y, x, c| {
            let (mut sum, mut norm) = (0.0, 0.0);
            for by in y / pool * pool..(y / pool + 1) * pool {
                for bx in x / pool * pool..(x / pool + 1) * pool {
                    for d in if mixes { 0..output.c } else { c..c + 1 } {
                        sum += shown(n, by, bx) * weight(d) * z(n, by, bx, d);
                        norm += shown(n, by, bx) * weight(d) * weight(d);
                    }
                }
            }
            let mean = if norm > 0.0 { sum / norm } else { 0.0 };
            row.next[7] * inputs[3].at(n, y, x, c) + shown(n, y, x) * weight(c) * mean
        })
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        let x = Shape::new(2, 4, 4, 3);
        let mut operands = vec![noise(x), noise(x), noise(x), noise(x), mask(x.with_channels(1))];
        operands.extend([edit(2, true, true), row(projecting)]);
        Some(Probe::new(Self, operands))
    }
}

/// A problem's projection: side of a block, whether channels are mixed, whether there is a mask.
#[doc(hidden)]
pub fn edit(pool: u32, mixes: bool, masked: bool) -> Operand {
    let weights = [0.2989f32, 0.5870, 0.1140, 0.0].map(f32::to_bits);
    words(&[[pool, u32::from(mixes), u32::from(masked), 0], weights].concat())
}

/// A problem's mask.
#[doc(hidden)]
pub fn mask(shape: Shape) -> Operand {
    let values = (0..shape.elements()).map(|i| if i * 7 % 5 < 3 { 1.0 } else { 0.0 }).collect();
    Operand { shape, values: Values::Floats(values) }
}
