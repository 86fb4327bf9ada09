//! Convolution (kernels of 3 and 1), and the linear layer as the 1x1 convolution of a 1x1 image.
//!
//! The fused form reads its input through a prologue and adds an epilogue, so that no normalised, activated,
//! resampled or concatenated copy need exist. Winograd evaluates the prologue in its input transform; the other
//! variants materialise it first where it is more than a plain read.

use super::bands::views;
use super::dispatch::{DispatchBuilder, ValueId};
use super::fused::{Epilogue, Prologue};
use super::legal::{self, Convolution};
use super::lowering::{Layout, Lowering};
use super::modulate::materialize;
use super::operator::{Operator, ensure};
use super::probe::{Probe, noise};
use super::resample::Resample;
use super::variant::{GemmTile, Sharing, Variant};
use crate::device::Caps;
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// Inputs: the prologue's, then the epilogue's. Parameters: weight `[out, in, k, k]` (or `[out, in]`, `[out, in, 1]`),
/// bias `[out]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Distance of two output pixels in the input.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: usize,
    /// The input's gradient of such a convolution: by the transposed weight (channels exchanged, the kernel turned by 180
    /// degrees).
    pub transposed: bool,
    /// How the input is read.
    pub prologue: Prologue,
    /// What is added.
    pub epilogue: Epilogue,
}

impl Conv2d {
    /// A plain convolution.
    pub fn new(kernel: usize, stride: usize) -> Self {
        Self {
            kernel,
            stride,
            padding: kernel / 2,
            transposed: false,
            prologue: Prologue::default(),
            epilogue: Epilogue::default(),
        }
    }

    /// A linear layer (of vectors or of every pixel).
    pub fn linear() -> Self {
        Self::new(1, 1)
    }

    /// The layout of its weight.
    pub(super) fn taps(&self) -> Layout {
        if self.transposed { Layout::TransposedTaps } else { Layout::Taps }
    }

    fn is_matrix_product(&self) -> bool {
        self.kernel == 1 && self.stride == 1
    }

    /// The index of the residual among the inputs.
    pub(super) fn residual_input(&self) -> usize {
        self.prologue.operands() + self.epilogue.embedding as usize
    }

    /// Binds bias and epilogue, and the parameters that every variant has.
    pub(super) fn finish(&self, dispatch: &mut DispatchBuilder, lowering: &mut dyn Lowering) -> Result<()> {
        let out = lowering.output_shape();
        if lowering.params() > 1 {
            let bias = lowering.weight(1, Layout::Vector);
            dispatch.bind("bias", bias);
        }
        if self.epilogue.embedding {
            dispatch.bind("embedding", lowering.input(self.prologue.operands()));
        }
        if self.epilogue.residual.is_some() {
            dispatch.bind("residual", lowering.input(self.residual_input()));
        }
        dispatch
            .bind("out", lowering.output())
            .word("n", out.c)
            .word("n4", out.c.div_ceil(4))
            .word("height", out.h)
            .word("width", out.w);
        Ok(())
    }

    pub(super) fn define(&self, kernel: Kernel, lowering: &dyn Lowering) -> Kernel {
        kernel
            .with("BIAS", (lowering.params() > 1) as i64)
            .with("EMBEDDING", self.epilogue.embedding)
            .with("RESIDUAL", self.epilogue.residual.map_or(0, |r| 1 + Resample::code(r)))
            .with("TAIL", !lowering.output_shape().c.is_multiple_of(4))
    }

    /// The define F16. Gradients multiply in float32: they are often smaller than float16's least normal number, 6e-5.
    pub(super) fn f16(&self, lowering: &dyn Lowering) -> i64 {
        if self.transposed { lowering.f16() } else { lowering.f16_products() }
    }

    /// A matrix product, implicit (im2col) for kernels larger than 1.
    fn lower_gemm(&self, lowering: &mut dyn Lowering, tile: GemmTile) -> Result<()> {
        let im2col = !self.is_matrix_product();
        let two = !im2col && self.prologue == Prologue { two_sources: true, ..Prologue::default() };
        let source = if two { lowering.input(0) } else { self.plain_source(lowering)? };
        let (first, grid, out) = (lowering.input_shape(0), self.grid(lowering)?, lowering.output_shape());
        let (m, n4, c4) = (out.rows(), out.c.div_ceil(4), grid.c / 4);
        let product = Product { m, n4, k4: self.kernel * self.kernel * c4, count: 1 };
        let segments = if two { [first.c / 4, c4 - first.c / 4] } else { [c4, 0] };
        let mut kernel =
            product.kernel(tile, &segments).with("SOURCES", 1 + two as i64).with("F16", self.f16(lowering));
        kernel = kernel.with("IM2COL", im2col);
        if im2col {
            kernel = self.define_window(kernel);
        }
        let split = tile.parts > 1;
        if !im2col && !split && self.epilogue == Epilogue::default() {
            // Rows of a dense product are independent of each other, if what is added to them is, too. A binding can begin at every
            // 64th, whatever the channels.
            let mut operands =
                vec![("a", source, if two { first.c } else { grid.c }), ("out", lowering.output(), out.c)];
            operands.extend(two.then(|| ("skip", lowering.input(1), grid.c - first.c)));
            for (view, rows) in views(lowering, m, 64, &operands) {
                let mut dispatch = DispatchBuilder::new(self.define(kernel.clone(), lowering));
                view.apply(&mut dispatch);
                dispatch.bind("w", lowering.weight(0, self.taps()));
                for (name, value, _) in &operands {
                    dispatch.bind(name, *value);
                }
                self.finish(&mut dispatch, lowering)?;
                dispatch.word("k4_first", first.c / 4);
                Product { m: rows, ..product }.describe(&mut dispatch, tile);
                lowering.emit(dispatch)?;
            }
            return Ok(());
        }
        let mut dispatch = DispatchBuilder::new(if split { plain(kernel) } else { self.define(kernel, lowering) });
        dispatch.bind("a", source).bind("w", lowering.weight(0, self.taps()));
        if two {
            dispatch.bind("skip", lowering.input(1));
        }
        let partial = split.then(|| lowering.temporary("parts", product.parts(tile) * m * n4 * 4));
        match partial {
            Some(partial) => {
                dispatch
                    .bind("out", partial)
                    .word("n", out.c)
                    .word("n4", n4)
                    .word("height", out.h)
                    .word("width", out.w);
            }
            None => self.finish(&mut dispatch, lowering)?,
        }
        dispatch
            .word("k4_first", first.c / 4)
            .word("c4", c4)
            .word("source_height", grid.h)
            .word("source_width", grid.w);
        product.describe(&mut dispatch, tile);
        lowering.emit(dispatch)?;
        let Some(partial) = partial else { return Ok(()) };
        let mut dispatch = DispatchBuilder::new(self.define(Kernel::new("gemm_sum"), lowering));
        dispatch.bind("a", partial);
        self.finish(&mut dispatch, lowering)?;
        dispatch.word("m", m).word("parts", product.parts(tile)).tiles(n4, m);
        lowering.emit(dispatch)
    }

    fn define_window(&self, kernel: Kernel) -> Kernel {
        kernel
            .with("KERNEL", self.kernel as i64)
            .with("STRIDE", self.stride as i64)
            .with("PADDING", self.padding as i64)
    }

    fn lower_naive(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let source = self.plain_source(lowering)?;
        let (grid, out) = (self.grid(lowering)?, lowering.output_shape());
        let kernel = self.define_window(self.define(Kernel::new("conv2d"), lowering).with("F16", lowering.f16()));
        let mut dispatch = DispatchBuilder::new(kernel);
        dispatch.bind("x", source).bind("w", lowering.weight(0, self.taps()));
        self.finish(&mut dispatch, lowering)?;
        dispatch
            .word("m", out.rows())
            .word("source_height", grid.h)
            .word("source_width", grid.w)
            .word("channels", grid.c);
        let (columns, lines) = (out.c.div_ceil(4).div_ceil(8), out.rows().div_ceil(8));
        dispatch.lines(columns, lines, lines, self.flops(lowering.input_shapes(), out));
        lowering.emit(dispatch)
    }

    fn lower_block(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let source = self.plain_source(lowering)?;
        let (grid, out) = (self.grid(lowering)?, lowering.output_shape());
        let vectors = grid.c.is_multiple_of(4);
        let (blocks_x, blocks_y) = (out.w.div_ceil(4), out.h.div_ceil(4));
        let f16 = if vectors { self.f16(lowering) } else { lowering.f16() };
        let kernel = Kernel::new("conv2d_block").with("VECTORS", vectors).with("F16", f16);
        let mut dispatch = DispatchBuilder::new(self.define(kernel, lowering));
        dispatch.bind("x", source).bind("w", lowering.weight(0, self.taps()));
        self.finish(&mut dispatch, lowering)?;
        dispatch
            .word("depth", if vectors { grid.c / 4 } else { grid.c })
            .word("blocks_x", blocks_x)
            .word("blocks_y", blocks_y)
            .elements(blocks_x * blocks_y * out.n * out.c.div_ceil(4));
        lowering.emit(dispatch)
    }

    /// The input as one plain tensor.
    pub(super) fn plain_source(&self, lowering: &mut dyn Lowering) -> Result<ValueId> {
        if self.prologue.is_plain() {
            return Ok(lowering.input(0));
        }
        let source = lowering.temporary("source", self.grid(lowering)?.elements());
        materialize(lowering, &self.prologue, source)?;
        Ok(source)
    }

    /// The shape that the convolution sees.
    pub(super) fn grid(&self, lowering: &dyn Lowering) -> Result<Shape> {
        self.prologue.shape(lowering.input_shapes()).map_err(|reason| lowering.misfit(reason))
    }
}

/// `count` matrix products of one size, in vec4s where there is a 4.
pub(super) struct Product {
    pub m: usize,
    pub n4: usize,
    pub k4: usize,
    pub count: usize,
}

impl Product {
    /// Inner vec4s of a part, a multiple of what a workgroup reads at a time.
    fn share(&self, tile: GemmTile) -> usize {
        self.k4.div_ceil(tile.parts).next_multiple_of(tile.depth4())
    }

    /// How many parts there are.
    fn parts(&self, tile: GemmTile) -> usize {
        self.k4.div_ceil(self.share(tile))
    }

    /// The kernel; `segments` are the lengths that the inner dimension is made of.
    pub fn kernel(&self, tile: GemmTile, segments: &[usize]) -> Kernel {
        let kernel = tile.define(Kernel::new(tile.stem()));
        match tile.sharing {
            Sharing::Workgroup { .. } => kernel
                .with("SPLIT", tile.parts > 1)
                .with("RAGGED", segments.iter().any(|length| !length.is_multiple_of(tile.depth4()))),
            Sharing::Cooperative(_) => kernel.with("SPLIT", tile.parts > 1),
            _ => kernel,
        }
    }

    pub fn describe(&self, dispatch: &mut DispatchBuilder, tile: GemmTile) {
        let (lines, parts) = (tile.lines(self.m), self.parts(tile));
        let work = 32 * (self.m * self.n4 * self.count) as u64 * self.k4 as u64;
        dispatch.word("m", self.m).word("k4", self.k4).word("parts", parts).word("share", self.share(tile)).lines(
            tile.columns(self.n4),
            lines,
            lines * parts * self.count,
            work,
        );
    }
}

/// A product whose sums are stored as they are.
pub(super) fn plain(kernel: Kernel) -> Kernel {
    kernel.with("BIAS", 0).with("EMBEDDING", 0).with("RESIDUAL", 0).with("TAIL", 0)
}

impl Operator for Conv2d {
    fn name(&self) -> &'static str {
        if self.is_matrix_product() { "linear" } else { "conv2d" }
    }

    fn shape(&self, inputs: &[Shape], params: &[&[usize]]) -> Result<Shape, String> {
        let s = self.prologue.shape(inputs)?;
        let expected = self.residual_input() + self.epilogue.residual.is_some() as usize;
        ensure(inputs.len() == expected, || format!("{} operands given, {expected} expected", inputs.len()))?;
        let weight = params.first().filter(|w| w.len() >= 2).ok_or("a weight is needed")?;
        let taps: usize = weight.iter().skip(2).product();
        let (channels, inner) = if self.transposed { (weight[1], weight[0]) } else { (weight[0], weight[1]) };
        ensure(inner == s.c && taps == self.kernel * self.kernel, || {
            format!("weight {weight:?} does not fit {} channels and a {}x{} kernel", s.c, self.kernel, self.kernel)
        })?;
        if let Some(bias) = params.get(1) {
            ensure(**bias == [channels], || format!("bias {bias:?} does not fit {channels} channels"))?;
        }
        let size = |v: usize| (v + 2 * self.padding - self.kernel) / self.stride + 1;
        let out = Shape::new(s.n, size(s.h), size(s.w), channels);
        if self.epilogue.embedding {
            let embedding = inputs[self.prologue.operands()];
            ensure(embedding == Shape::vector(s.n, channels), || format!("the embedding is {embedding} for {out}"))?;
        }
        if let Some(resample) = self.epilogue.residual {
            let residual = inputs[self.residual_input()];
            ensure(Resample::apply(resample, residual)? == out, || format!("the residual is {residual} for {out}"))?;
        }
        Ok(out)
    }

    fn variants(&self, inputs: &[Shape], output: Shape, caps: &Caps) -> Vec<Variant> {
        let channels = self.prologue.shape(inputs).map_or(0, |s| s.c);
        let first_channels = inputs.first().map_or(0, |s| s.c);
        let (kernel, stride, padding, transposed) = (self.kernel, self.stride, self.padding, self.transposed);
        let convolution = Convolution { kernel, stride, padding, transposed, channels, first_channels, output };
        legal::convolution(&convolution, caps)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        match lowering.variant() {
            Variant::Gemm(tile) => self.lower_gemm(lowering, tile),
            Variant::Block => self.lower_block(lowering),
            Variant::Winograd(t, tile) => self.lower_winograd(lowering, t, tile),
            _ => self.lower_naive(lowering),
        }
    }

    fn reference(&self, inputs: &[&Tensor], params: &[&[f32]], output: Shape) -> Tensor {
        let source = self.prologue.reference(inputs);
        let (s, k, weight) = (source.shape, self.kernel, params[0]);
        let residual =
            self.epilogue.residual.map(|resample| Resample::reference(resample, inputs[self.residual_input()]));
        Tensor::from_fn(output, |n, y, x, o| {
            let mut sum = params.get(1).map_or(0.0, |bias| bias[o] as f64);
            for ky in 0..k {
                let Some(sy) = (y * self.stride + ky).checked_sub(self.padding).filter(|v| *v < s.h) else { continue };
                for kx in 0..k {
                    let Some(sx) = (x * self.stride + kx).checked_sub(self.padding).filter(|v| *v < s.w) else {
                        continue;
                    };
                    for c in 0..s.c {
                        let w = match self.transposed {
                            false => weight[((o * s.c + c) * k + ky) * k + kx],
                            true => weight[(c * output.c + o) * k * k + (k - 1 - ky) * k + k - 1 - kx],
                        };
                        sum += source.at(n, sy, sx, c) as f64 * w as f64;
                    }
                }
            }
            if self.epilogue.embedding {
                sum += inputs[self.prologue.operands()].at(n, 0, 0, o) as f64;
            }
            if let Some(residual) = &residual {
                sum += residual.at(n, y, x, o) as f64;
            }
            sum as f32
        })
    }

    fn probe(&self, inputs: &[Shape], params: &[&[usize]], output: Shape) -> Option<Probe<Self>> {
        // The same kernels need the same channels modulo 8 (odd numbers of vec4s have a kernel of their own), the same count of
        // columns where there are few, rows that fill more than a workgroup's tile, and an inner dimension of several parts.
        let few = |channels: usize, most: usize, enough: usize| {
            if channels <= most { channels } else { enough + channels % 8 }
        };
        let vector = output.pixels() == 1 && self.kernel == 1;
        let size = if vector { 1 } else { 4 * self.stride.max(2) };
        let (c, out) = (few(inputs.first()?.c, 4, 16), few(output.c, 8, 16));
        let mut operands = self.prologue.sources(Shape::new(2, size, size, c));
        let channels = c * (1 + self.prologue.two_sources as usize);
        let size = (size + 2 * self.padding - self.kernel) / self.stride + 1;
        let result = Shape::new(2, size, size, out);
        if self.epilogue.embedding {
            operands.push(noise(Shape::vector(result.n, out)));
        }
        if let Some(resample) = self.epilogue.residual {
            operands.push(noise(Resample::before(resample, result)));
        }
        // The input's gradient reads the same parameter with its channels exchanged.
        let mut weight = if self.transposed { vec![channels, out] } else { vec![out, channels] };
        // A linear layer's weight is a plain matrix.
        if params.first()?.len() > 2 {
            weight.extend([self.kernel, self.kernel]);
        }
        let params = if params.len() > 1 { vec![weight, vec![out]] } else { vec![weight] };
        Some(Probe { op: self.clone(), operands, params })
    }

    fn flops(&self, inputs: &[Shape], output: Shape) -> u64 {
        let channels = self.prologue.shape(inputs).map_or(0, |s| s.c);
        2 * output.elements() as u64 * (channels * self.kernel * self.kernel) as u64
    }
}
