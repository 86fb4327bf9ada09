//! Group normalization (Wu & He 2018), 32 groups, as an op of the model files and as its fused affine map.

use super::bands::{View, views};
use super::dispatch::{DispatchBuilder, ValueId};
use super::fused::Prologue;
use super::lowering::{Layout, Lowering};
use super::modulate::emit;
use super::operator::{Operator, ensure, operands};
use super::probe::{Probe, noise, spread};
use super::variant::Variant;
use crate::device::Caps;
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// Groups of every group normalization, among which it divides its channels.
pub const GROUPS: usize = 32;
/// PyTorch's default epsilon.
pub const EPSILON: f32 = 1e-5;
/// Invocations that merge one group's statistics.
const WORKERS: usize = 128;

/// Inputs: x and, where adaptive, the embedding `[N, 1, 1, scale C | shift C]`. Parameters: weight `[C]`, bias `[C]`.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupNorm {
    /// Adaptive group normalization (Dhariwal & Nichol 2021, section 3): the norm times (1 + scale), plus shift.
    pub scale_shift: bool,
}

impl GroupNorm {
    /// The op that only computes its affine map.
    pub fn affine(&self) -> GroupNormAffine {
        GroupNormAffine { two_sources: false, scale_shift: self.scale_shift }
    }
}

impl Operator for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    fn shape(&self, inputs: &[Shape], params: &[&[usize]]) -> Result<Shape, String> {
        self.affine().shape(inputs, params)?;
        Ok(inputs[0])
    }

    fn variants(&self, inputs: &[Shape], output: Shape, caps: &Caps) -> Vec<Variant> {
        self.affine().variants(inputs, output, caps)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let (x, out) = (lowering.input_shape(0), lowering.output());
        let map = lowering.temporary("affine", 2 * x.n * x.c);
        self.affine().lower_into(lowering, map)?;
        let operands = [lowering.input(0), map];
        emit(lowering, &Prologue { affine: true, ..Prologue::default() }, &operands, out, 1.0)
    }

    fn reference(&self, inputs: &[&Tensor], params: &[&[f32]], output: Shape) -> Tensor {
        let affine = affine_reference(&inputs[..1], params, inputs.get(1).copied());
        let prologue = Prologue { affine: true, ..Prologue::default() };
        let result = prologue.reference(&[inputs[0], &affine]);
        Tensor { shape: output, ..result }
    }

    fn probe(&self, inputs: &[Shape], params: &[&[usize]], output: Shape) -> Option<Probe<Self>> {
        let Probe { operands, params, .. } = self.affine().probe(inputs, params, output)?;
        Some(Probe { op: self.clone(), operands, params })
    }
}

/// y = x * scale + shift, as `[N, 1, 1, scale C | shift C]`. Inputs: x, the second source, the embedding
/// `[N, scale C | shift C]` of adaptive group normalization. Parameters: weight `[C]`, bias `[C]`.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupNormAffine {
    /// A skip connection follows x along the channels.
    pub two_sources: bool,
    /// Adaptive group normalization.
    pub scale_shift: bool,
}

impl GroupNormAffine {
    /// Emits the statistics of the lowered node's first inputs, and the affine map into `out`.
    fn lower_into(&self, lowering: &mut dyn Lowering, out: ValueId) -> Result<()> {
        let first = lowering.input_shape(0);
        let second = if self.two_sources { lowering.input_shape(1).c } else { 0 };
        let channels = first.c + second;
        let serial = lowering.variant() == Variant::Serial;
        let statistics = statistics(lowering, channels, self.two_sources, serial)?;

        let kernel = Kernel::new("group_norm_affine").with("SCALE_SHIFT", self.scale_shift).with("MOMENTS", false);
        let mut dispatch = fold(kernel, GROUPS * first.n, serial);
        dispatch
            .bind("stats", statistics.stats)
            .bind("weight", lowering.weight(0, Layout::Vector))
            .bind("bias", lowering.weight(1, Layout::Vector));
        if self.scale_shift {
            dispatch.bind("embedding", lowering.input(1 + self.two_sources as usize));
        }
        dispatch.bind("out", out);
        statistics.size(&mut dispatch);
        lowering.emit(dispatch)
    }
}

impl Operator for GroupNormAffine {
    fn name(&self) -> &'static str {
        "group_norm_affine"
    }

    fn shape(&self, inputs: &[Shape], params: &[&[usize]]) -> Result<Shape, String> {
        let sources = Prologue { two_sources: self.two_sources, ..Prologue::default() };
        let x = sources.shape(inputs)?;
        check(x, params)?;
        ensure(inputs.len() == sources.operands() + self.scale_shift as usize, || "operands are missing".into())?;
        if self.scale_shift {
            let embedding = inputs[sources.operands()];
            ensure(embedding == Shape::vector(x.n, 2 * x.c), || format!("the embedding is {embedding} for {x}"))?;
        }
        Ok(Shape::vector(x.n, 2 * x.c))
    }

    fn variants(&self, _: &[Shape], _: Shape, caps: &Caps) -> Vec<Variant> {
        if caps.software { vec![Variant::Serial, Variant::Naive] } else { vec![Variant::Naive, Variant::Serial] }
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let out = lowering.output();
        self.lower_into(lowering, out)
    }

    fn reference(&self, inputs: &[&Tensor], params: &[&[f32]], _: Shape) -> Tensor {
        let sources = 1 + self.two_sources as usize;
        affine_reference(&inputs[..sources], params, self.scale_shift.then(|| inputs[sources]))
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        let x = Shape::new(2, 5, 5, 32);
        let mut operands = vec![noise(x); 1 + self.two_sources as usize];
        let channels = x.c * operands.len();
        if self.scale_shift {
            operands.push(spread(Shape::vector(x.n, 2 * channels), 0.5, 0.0));
        }
        Some(Probe::new(self.clone(), operands).with_params(&[&[channels], &[channels]]))
    }
}

/// The statistics of chunks of pixels, the first part of every norm.
pub(crate) struct Statistics {
    /// `[sample][chunk][mean, m2][channel]`
    pub stats: ValueId,
    /// Chunks per sample.
    pub chunks: usize,
    /// Pixels per chunk.
    chunk: usize,
    /// The input, with only the channels of its first source.
    first: Shape,
    /// Channels of both sources.
    channels: usize,
}

impl Statistics {
    /// Sets the parameters that all kernels over chunks share.
    pub(crate) fn size(&self, dispatch: &mut DispatchBuilder) {
        dispatch
            .word("pixels", self.first.pixels())
            .word("c4", self.channels / 4)
            .word("c4_first", self.first.c / 4)
            .word("group_channels", self.channels / GROUPS)
            .word("chunk", self.chunk)
            .word("chunks", self.chunks)
            .word("samples", self.first.n)
            .float("epsilon", EPSILON);
    }
}

/// Emits the statistics of the current node's first operand, or first two, over chunks of pixels.
pub(crate) fn statistics(
    lowering: &mut dyn Lowering,
    channels: usize,
    two_sources: bool,
    serial: bool,
) -> Result<Statistics> {
    let first = lowering.input_shape(0);
    let pixels = first.pixels();
    // Chunks short enough for parallelism, few enough to merge.
    let chunk = pixels.div_ceil(64).max(if serial { 64 } else { 16 }).min(pixels);
    let chunks = pixels.div_ceil(chunk);
    let stats = lowering.temporary("stats", first.n * chunks * 2 * channels);
    let statistics = Statistics { stats, chunks, chunk, first, channels };
    let kernel = Kernel::new("group_norm_stats").with("SOURCES", 1 + two_sources as i64).with("SERIAL", serial);
    let mut operands = vec![("x", lowering.input(0), chunk * first.c), ("out", stats, 2 * channels)];
    operands.extend(two_sources.then(|| ("skip", lowering.input(1), chunk * (channels - first.c))));
    let all = chunks * first.n;
    // A sample's last chunk may be shorter than the others.
    let views =
        if pixels.is_multiple_of(chunk) { views(lowering, all, 1, &operands) } else { vec![(View::default(), all)] };
    for (view, count) in &views {
        let mut dispatch = DispatchBuilder::new(kernel.clone());
        view.apply(&mut dispatch);
        for (name, value, _) in &operands {
            dispatch.bind(name, *value);
        }
        if views.len() > 1 {
            // As if these were all.
            dispatch.word("chunks", *count).word("samples", 1).word("pixels", count * chunk);
        }
        statistics.size(&mut dispatch);
        if serial {
            dispatch.tiles(channels / 4, *count);
        } else {
            dispatch.groups([channels.div_ceil(32), (*count).min(65_535), count.div_ceil(65_535)]);
        }
        lowering.emit(dispatch)?;
    }
    Ok(statistics)
}

/// A dispatch of a kernel that folds chunks: one workgroup, or where serial one invocation, per group of every sample.
/// Software drivers are slow at barriers.
pub(crate) fn fold(kernel: Kernel, tasks: usize, serial: bool) -> DispatchBuilder {
    let (workers, groups) = if serial { (32, tasks.div_ceil(32)) } else { (WORKERS, tasks) };
    let mut dispatch = DispatchBuilder::new(kernel.with("SERIAL", serial).with("WORKERS", workers as i64));
    dispatch.groups([groups, 1, 1]);
    dispatch
}

pub(crate) fn check(x: Shape, params: &[&[usize]]) -> Result<(), String> {
    ensure(x.c.is_multiple_of(GROUPS), || format!("{} channels cannot form {GROUPS} groups", x.c))?;
    let [weight, bias] = operands(params)?;
    ensure(*weight == [x.c] && *bias == [x.c], || format!("weight {weight:?}, bias {bias:?} for {} channels", x.c))
}

fn affine_reference(sources: &[&Tensor], params: &[&[f32]], embedding: Option<&Tensor>) -> Tensor {
    let prologue = Prologue { two_sources: sources.len() == 2, ..Prologue::default() };
    let x = prologue.reference(sources);
    let (s, size) = (x.shape, x.shape.c / GROUPS);
    let statistics = |n: usize, group: usize| {
        let values = || {
            (0..s.pixels()).flat_map(|i| {
                let at = (n * s.pixels() + i) * s.c + group * size;
                x.data[at..at + size].iter().map(|v| *v as f64)
            })
        };
        let count = (s.pixels() * size) as f64;
        let mean = values().sum::<f64>() / count;
        let variance = values().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count;
        (mean, 1.0 / (variance + EPSILON as f64).sqrt())
    };
    let table: Vec<(f64, f64)> = (0..s.n * GROUPS).map(|i| statistics(i / GROUPS, i % GROUPS)).collect();
    Tensor::from_fn(Shape::vector(s.n, 2 * s.c), |n, _, _, i| {
        let c = i % s.c;
        let (mean, deviation) = table[n * GROUPS + c / size];
        let scale = deviation * params[0][c] as f64;
        let shift = params[1][c] as f64 - mean * scale;
        let (factor, offset) =
            embedding.map_or((1.0, 0.0), |e| (1.0 + e.at(n, 0, 0, c) as f64, e.at(n, 0, 0, s.c + c) as f64));
        (if i < s.c { scale * factor } else { shift * factor + offset }) as f32
    })
}
