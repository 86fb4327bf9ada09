//! Convolutions and linear layers: sizes that fill no tile, every prologue and epilogue.

use guided_diffusion::op::probe::{Operand, noise, spread};
use guided_diffusion::op::resample::Resample::{self, Down, Up};
use guided_diffusion::op::{Conv2d, Epilogue, Prologue};
use guided_diffusion::tensor::Shape;
use guided_diffusion::{Error, Result};

use super::Case;

/// A convolution and the shapes that decide the rest.
struct Layer {
    name: String,
    conv: Conv2d,
    /// One source, or two where the prologue says so.
    sources: Vec<Shape>,
    out: usize,
    bias: bool,
    /// The weight is a plain matrix, as linear layers have it.
    matrix: bool,
}

impl Layer {
    fn new(name: &str, conv: Conv2d, sources: &[Shape], out: usize) -> Self {
        Self { name: name.into(), conv, sources: sources.to_vec(), out, bias: true, matrix: false }
    }

    fn linear(name: &str, source: Shape, out: usize) -> Self {
        Self { matrix: true, ..Self::new(name, Conv2d::linear(), &[source], out) }
    }

    fn case(self) -> Result<Case> {
        let Self { name, conv, sources, out, bias, matrix } = self;
        let misfit = |reason: String| Error::Config(format!("{name}: {reason}"));
        let first = sources.first().copied().ok_or_else(|| misfit("no source".into()))?;
        let channels: usize = sources.iter().map(|s| s.c).sum();
        let mut operands: Vec<Operand> = sources.iter().map(|s| noise(*s)).collect();
        if conv.prologue.affine {
            operands.push(spread(Shape::vector(first.n, 2 * channels), 0.5, 0.5));
        }
        let grid = Resample::apply(conv.prologue.resample, first.with_channels(channels)).map_err(misfit)?;
        let size = |v: usize| (v + 2 * conv.padding - conv.kernel) / conv.stride + 1;
        let result = Shape::new(first.n, size(grid.h), size(grid.w), out);
        if conv.epilogue.embedding {
            operands.push(noise(Shape::vector(result.n, out)));
        }
        if let Some(resample) = conv.epilogue.residual {
            operands.push(noise(match resample {
                None => result,
                Some(Up) => Shape { h: result.h / 2, w: result.w / 2, ..result },
                Some(Down) => Shape { h: 2 * result.h, w: 2 * result.w, ..result },
            }));
        }
        // The input's gradient reads the same parameter with its channels exchanged.
        let mut weight = if conv.transposed { vec![channels, out] } else { vec![out, channels] };
        if !matrix {
            weight.extend([conv.kernel, conv.kernel]);
        }
        let params: &[&[usize]] = if bias { &[&weight, &[out]] } else { &[&weight] };
        Case::new(name, conv, operands, params)
    }
}

/// The plain convolution of `kernel` with a prologue and an epilogue.
fn conv(kernel: usize, prologue: Prologue, epilogue: Epilogue) -> Conv2d {
    Conv2d { prologue, epilogue, ..Conv2d::new(kernel, 1) }
}

pub(super) fn cases() -> Result<Vec<Case>> {
    let s = Shape::new;
    let read = |two_sources, norm, resample| Prologue { two_sources, affine: norm, silu: norm, resample };
    let add = |embedding, residual| Epilogue { embedding, residual };
    let (plain, nothing) = (Prologue::default(), Epilogue::default());
    let k3 = || Conv2d::new(3, 1);
    let list = vec![
        Layer::new("3x3, channels 3 to 36", k3(), &[s(2, 5, 7, 3)], 36),
        Layer::new("3x3, channels 1 to 2, batch 3", k3(), &[s(3, 7, 5, 1)], 2),
        Layer::new("3x3, channels 6 to 20", k3(), &[s(1, 9, 4, 6)], 20),
        Layer::new("3x3, channels 36 to 10", k3(), &[s(2, 7, 5, 36)], 10),
        Layer::new("3x3, channels 20 to 6", k3(), &[s(2, 11, 6, 20)], 6),
        Layer::new("3x3, channels 20 to 2", k3(), &[s(1, 13, 11, 20)], 2),
        Layer::new("3x3, one pixel", k3(), &[s(2, 1, 1, 8)], 12),
        Layer::new("3x3, wider than a tile", k3(), &[s(2, 9, 10, 12)], 72),
        Layer::new("3x3, many tiles", k3(), &[s(2, 21, 19, 4)], 4),
        Layer { bias: false, ..Layer::new("3x3, no bias", k3(), &[s(1, 6, 6, 8)], 20) },
        Layer::new("3x3 stride 2, odd", Conv2d::new(3, 2), &[s(2, 9, 7, 20)], 36),
        Layer::new("3x3 stride 2, even", Conv2d::new(3, 2), &[s(1, 8, 6, 20)], 36),
        Layer::new("3x3 stride 2, channels 3", Conv2d::new(3, 2), &[s(1, 8, 6, 3)], 20),
        Layer::new("norm", conv(3, read(false, true, None), nothing.clone()), &[s(2, 7, 5, 20)], 36),
        Layer::new("norm, to 6", conv(3, read(false, true, None), nothing.clone()), &[s(2, 7, 5, 20)], 6),
        Layer::new(
            "norm of two sources, embedding",
            conv(3, read(true, true, None), add(true, None)),
            &[s(2, 7, 5, 8), s(2, 7, 5, 12)],
            36,
        ),
        Layer::new(
            "two sources",
            conv(3, read(true, false, None), nothing.clone()),
            &[s(2, 7, 5, 8), s(2, 7, 5, 12)],
            20,
        ),
        Layer::new("norm, 2x upsampled", conv(3, read(false, true, Some(Up)), nothing.clone()), &[s(2, 4, 3, 20)], 20),
        Layer::new(
            "norm, 2x2 pooled",
            conv(3, read(false, true, Some(Down)), nothing.clone()),
            &[s(2, 14, 10, 20)],
            20,
        ),
        Layer::new("2x upsampled", conv(3, read(false, false, Some(Up)), nothing.clone()), &[s(1, 4, 3, 20)], 20),
        Layer::new("residual", conv(3, plain.clone(), add(false, Some(None))), &[s(2, 7, 5, 20)], 36),
        Layer::new("residual 2x upsampled", conv(3, plain.clone(), add(false, Some(Some(Up)))), &[s(2, 6, 10, 8)], 20),
        Layer::new("residual 2x2 pooled", conv(3, plain.clone(), add(false, Some(Some(Down)))), &[s(2, 5, 7, 8)], 20),
        // No network adds to a count of channels that is not a multiple of 4, but a kernel must not be wrong if one does.
        Layer::new(
            "embedding and residual, to 10",
            conv(3, plain.clone(), add(true, Some(None))),
            &[s(2, 7, 5, 8)],
            10,
        ),
        Layer::new("embedding and residual", conv(3, plain.clone(), add(true, Some(None))), &[s(3, 5, 7, 8)], 20),
        Layer::new("1x1", Conv2d::new(1, 1), &[s(2, 7, 5, 36)], 20),
        Layer::new("1x1, to 10", Conv2d::new(1, 1), &[s(2, 9, 9, 20)], 10),
        Layer::new("1x1, channels 3", Conv2d::new(1, 1), &[s(2, 3, 5, 3)], 20),
        Layer::new(
            "1x1, norm without SiLU",
            conv(1, Prologue { silu: false, ..read(false, true, None) }, nothing.clone()),
            &[s(2, 7, 5, 20)],
            60,
        ),
        Layer::new("1x1, residual", conv(1, plain.clone(), add(false, Some(None))), &[s(2, 7, 5, 20)], 20),
        Layer::new("1x1, in parts, residual", conv(1, plain.clone(), add(false, Some(None))), &[s(2, 3, 5, 196)], 20),
        Layer::new(
            "1x1, two sources",
            conv(1, read(true, false, None), nothing.clone()),
            &[s(2, 7, 5, 8), s(2, 7, 5, 12)],
            36,
        ),
        Layer::new(
            "1x1, norm of two sources",
            conv(1, read(true, true, None), nothing.clone()),
            &[s(2, 7, 5, 8), s(2, 7, 5, 12)],
            36,
        ),
        Layer::linear("linear, one vector", Shape::vector(1, 36), 72),
        Layer::linear("linear, batch 5, to 10", Shape::vector(5, 20), 10),
        Layer::linear("linear, odd width", Shape::vector(3, 33), 20),
        Layer { bias: false, ..Layer::linear("linear, no bias", Shape::vector(3, 20), 36) },
        Layer { bias: false, ..Layer::new("gradient of 3x3", transposed(3), &[s(2, 7, 5, 36)], 20) },
        Layer { bias: false, ..Layer::new("gradient of 3x3, to 3", transposed(3), &[s(2, 7, 5, 36)], 3) },
        Layer { bias: false, ..Layer::new("gradient of 1x1", transposed(1), &[s(2, 7, 5, 36)], 20) },
        Layer { bias: false, ..Layer::new("gradient of 3x3, from 10", transposed(3), &[s(1, 4, 6, 10)], 20) },
    ];
    list.into_iter().map(Layer::case).collect()
}

fn transposed(kernel: usize) -> Conv2d {
    Conv2d { transposed: true, ..Conv2d::new(kernel, 1) }
}
