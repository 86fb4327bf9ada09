//! The sampling loop's own ops: the draw of the noise, the network's input, the predicted x_0, dynamic thresholding, an
//! edit's projection, and the step.
//!
//! Everything about a step comes from one row of a step table, 32 numbers that the host rewrites each step, so that a
//! planned graph serves every sampler and schedule. `sampler::row` has its meaning.

use super::dispatch::DispatchBuilder;
use super::lowering::Lowering;
use super::operator::{Operator, ensure, operands};
use super::philox;
use super::probe::{Operand, Probe, TINY, Values, noise, spread, words};
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// Numbers of a row: head, next, proj, keep, eight each.
pub const ROW: usize = 32;
/// 32-bit words of the noise key: seed (low, high), index of the first sample, draw.
pub const NOISE_KEY: usize = 4;
/// 32-bit words of an edit's projection: side of a block, whether channels are mixed, whether there is a mask, a spare one,
/// four weights of channels as float32.
pub const EDIT: usize = 8;
/// Images that a run remembers.
pub const HISTORY: usize = 3;
/// The share of values below dynamic thresholding's quantile.
pub const QUANTILE: f64 = 0.995;

/// Standard normal noise. Inputs: the key `[1, 1, 1, 4]`.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawNoise {
    /// Shape of the noise.
    pub shape: Shape,
}

impl Operator for DrawNoise {
    fn name(&self) -> &'static str {
        "noise"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        ensure(inputs == [Shape::vector(1, NOISE_KEY)], || "a noise key is needed".into())?;
        Ok(self.shape)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let elements = self.shape.elements() / self.shape.n.max(1);
        let mut step = DispatchBuilder::new(Kernel::new("noise"));
        step.bind("key", lowering.input(0))
            .bind("out", lowering.output())
            .word("elements", elements)
            .word("samples", self.shape.n)
            .groups([elements.div_ceil(4).div_ceil(64), self.shape.n, 1]);
        lowering.emit(step)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let [low, high, first, step] = [0, 1, 2, 3].map(|i| inputs[0].data[i].to_bits());
        let seed = u64::from(high) << 32 | u64::from(low);
        let elements = output.elements() / output.n.max(1);
        let data = (0..output.n as u32).flat_map(|i| philox::normals(seed, first + i, step, elements)).collect();
        Tensor { shape: output, data }
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        Some(Probe::new(Self { shape: TINY }, vec![words(&[1, 2, 3, 4])]))
    }
}

/// The first x is the first draw. Inputs: x (overwritten in place), noise.
#[derive(Debug, Clone, PartialEq)]
pub struct StartFromNoise;

impl Operator for StartFromNoise {
    fn name(&self) -> &'static str {
        "start"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [x, noise] = operands(inputs)?;
        ensure(x == noise, || format!("noise {noise} for {x}"))?;
        Ok(x)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        lowering.in_place(0);
        let mut step = DispatchBuilder::new(Kernel::new("unary").with("SILU", 0).with("RELU", 0).with("ADJOINT", 0));
        step.bind("x", lowering.input(1)).bind("out", lowering.output()).elements(lowering.output_shape().elements());
        lowering.emit(step)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], _: Shape) -> Tensor {
        inputs[1].clone()
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        Some(Probe::new(Self, vec![noise(TINY), noise(TINY)]))
    }
}

/// The network's input, c_in x. Inputs: x, row.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaleInput;

impl Operator for ScaleInput {
    fn name(&self) -> &'static str {
        "scale_input"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [x, row] = operands(inputs)?;
        check_row(row)?;
        Ok(x)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let mut dispatch = DispatchBuilder::new(Kernel::new("scale_input"));
        dispatch
            .bind("x", lowering.input(0))
            .bind("row", lowering.input(1))
            .bind("out", lowering.output())
            .elements(lowering.output_shape().elements());
        lowering.emit(dispatch)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let scale = Row::of(inputs[1]).head[1];
        Tensor { shape: output, data: inputs[0].data.iter().map(|x| scale * x).collect() }
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        Some(Probe::new(Self, vec![noise(TINY), row(|_| ())]))
    }
}

/// The predicted x_0, clamped where the row asks for it. Inputs: x, the network's output, row, and the gradient of log
/// p(y | x) where guided.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictXStart {
    /// A gradient is given.
    pub guided: bool,
}

impl Operator for PredictXStart {
    fn name(&self) -> &'static str {
        "predict_xstart"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        ensure(inputs.len() == 3 + self.guided as usize, || format!("{} operands given", inputs.len()))?;
        let x = inputs[0];
        check(x, inputs[1])?;
        check_row(inputs[2])?;
        ensure(inputs.get(3).is_none_or(|g| *g == x), || "shapes differ".into())?;
        Ok(x)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let (out, model) = (lowering.output_shape(), lowering.input_shape(1));
        let mut dispatch = DispatchBuilder::new(Kernel::new("predict_xstart").with("GUIDED", self.guided));
        dispatch.bind("x", lowering.input(0)).bind("model", lowering.input(1)).bind("row", lowering.input(2));
        if self.guided {
            dispatch.bind("gradient", lowering.input(3));
        }
        dispatch
            .bind("out", lowering.output())
            .word("channels", out.c)
            .word("model_channels", model.c)
            .elements(out.elements());
        lowering.emit(dispatch)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let [_, _, skip, out, guide, clip, ..] = Row::of(inputs[2]).head;
        Tensor::from_fn(output, |n, y, x, c| {
            let gradient = inputs.get(3).map_or(0.0, |g| g.at(n, y, x, c));
            let x0 = skip * inputs[0].at(n, y, x, c) + out * inputs[1].at(n, y, x, c) + guide * gradient;
            if clip == 0.0 { x0 } else { x0.clamp(-clip, clip) }
        })
    }

    fn probe(&self, inputs: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        let [x, model] = tiny(inputs.first()?, inputs.get(1)?);
        let mut operands = vec![noise(x), noise(model), row(|_| ())];
        operands.extend(self.guided.then(|| noise(x)));
        Some(Probe::new(self.clone(), operands))
    }
}

/// Dynamic thresholding. Inputs: x_0 (overwritten in place).
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold;

impl Threshold {
    /// The rank of the quantile's lower neighbour among so many values, and the share of the upper one.
    fn rank(elements: usize) -> (usize, f64) {
        let at = QUANTILE * elements.saturating_sub(1) as f64;
        (at as usize, at.fract())
    }
}

impl Operator for Threshold {
    fn name(&self) -> &'static str {
        "threshold"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [x0] = operands(inputs)?;
        Ok(x0)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        lowering.in_place(0);
        let shape = lowering.output_shape();
        let elements = shape.elements() / shape.n.max(1);
        let (rank, share) = Self::rank(elements);
        let mut dispatch = DispatchBuilder::new(Kernel::new("threshold"));
        dispatch
            .bind("x0", lowering.output())
            .word("elements", elements)
            .word("rank", rank)
            .float("share", share as f32)
            .groups([shape.n, 1, 1]);
        lowering.emit(dispatch)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let elements = output.elements() / output.n.max(1);
        let (rank, share) = Self::rank(elements);
        let threshold = |image: &[f32]| {
            let mut sorted: Vec<f32> = image.iter().map(|v| v.abs()).collect();
            sorted.sort_by(f32::total_cmp);
            let lower = sorted[rank];
            let upper = sorted.get(rank + 1).copied().unwrap_or(lower);
            let s = (lower + share as f32 * (upper - lower)).max(1.0);
            image.iter().map(|v| v.clamp(-s, s) / s).collect::<Vec<_>>()
        };
        let data = inputs[0].data.chunks(elements.max(1)).flat_map(threshold).collect();
        Tensor { shape: output, data }
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        Some(Probe::new(Self, vec![spread(TINY, 3.0, 0.0)]))
    }
}

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

/// One row: x to x', and what it keeps. Inputs: x (overwritten in place), x_0, the network's output, noise, row, the history
/// `[3 N, H, W, C]` (overwritten in place), what [`Project`] made, and the gradient of log p(y | x) where guided.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerStep {
    /// The output's second half interpolates the variance.
    pub learn_sigma: bool,
    /// A gradient is given.
    pub guided: bool,
}

impl Operator for SamplerStep {
    fn name(&self) -> &'static str {
        "sampler_step"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        ensure(inputs.len() == 7 + self.guided as usize, || format!("{} operands given", inputs.len()))?;
        let x = inputs[0];
        check(x, inputs[2])?;
        check_row(inputs[4])?;
        ensure(inputs[2].c == x.c * (1 + self.learn_sigma as usize), || format!("output {} for {x}", inputs[2]))?;
        let same = [1, 3, 6, 7].iter().all(|i| inputs.get(*i).is_none_or(|shape| *shape == x));
        ensure(same && inputs[5] == Shape { n: HISTORY * x.n, ..x }, || "shapes differ".into())?;
        Ok(x)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        lowering.in_place(0);
        let (out, model) = (lowering.output_shape(), lowering.input_shape(2));
        let kernel = Kernel::new("sampler_step").with("LEARNED", self.learn_sigma).with("GUIDED", self.guided);
        let mut dispatch = DispatchBuilder::new(kernel);
        dispatch.bind("x0", lowering.input(1));
        if self.learn_sigma {
            dispatch.bind("model", lowering.input(2));
        }
        dispatch
            .bind("noise", lowering.input(3))
            .bind("row", lowering.input(4))
            .bind("history", lowering.input(5))
            .bind("edit", lowering.input(6));
        if self.guided {
            dispatch.bind("gradient", lowering.input(7));
        }
        dispatch
            .bind("x", lowering.output())
            .word("channels", out.c)
            .word("model_channels", model.c)
            .elements(out.elements());
        lowering.emit(dispatch)
    }

    /// x' alone; what a row keeps shows in the next rows' x'.
    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let row = Row::of(inputs[4]);
        let [.., low, high] = row.head;
        let edits = row.next[7] != 0.0 || row.proj != [0.0; 8];
        Tensor::from_fn(output, |n, y, x, c| {
            let share = if self.learn_sigma { (inputs[2].at(n, y, x, output.c + c) + 1.0) / 2.0 } else { 0.0 };
            let log_variance = share * high + (1.0 - share) * low;
            let past = |k: usize| row.next[2 + k] * inputs[5].at(k * output.n + n, y, x, c);
            row.next[0] * inputs[0].at(n, y, x, c)
                + row.next[1] * inputs[1].at(n, y, x, c)
                + (0..HISTORY).map(past).sum::<f32>()
                + row.next[5] * (0.5 * log_variance).exp() * inputs[3].at(n, y, x, c)
                + row.next[6] * log_variance.exp() * inputs.get(7).map_or(0.0, |g| g.at(n, y, x, c))
                + if edits { inputs[6].at(n, y, x, c) } else { 0.0 }
        })
    }

    fn probe(&self, inputs: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        let [x, model] = tiny(inputs.first()?, inputs.get(2)?);
        let mut operands = vec![noise(x), noise(x), noise(model), noise(x), row(projecting)];
        operands.extend([noise(Shape { n: HISTORY * x.n, ..x }), noise(x)]);
        operands.extend(self.guided.then(|| noise(x)));
        Some(Probe::new(self.clone(), operands))
    }
}

/// A row as the references read it.
struct Row {
    head: [f32; 8],
    next: [f32; 8],
    proj: [f32; 8],
}

impl Row {
    fn of(tensor: &Tensor) -> Self {
        let part = |k: usize| std::array::from_fn(|i| tensor.data[8 * k + i]);
        Self { head: part(0), next: part(1), proj: part(2) }
    }
}

fn check(x: Shape, out: Shape) -> Result<(), String> {
    ensure(out.with_channels(x.c) == x && out.c >= x.c, || format!("output {out} for {x}"))
}

fn check_row(row: Shape) -> Result<(), String> {
    ensure(row == Shape::vector(1, ROW), || format!("row {row}"))
}

/// A small image and a network's output for it, with as many channels or twice as many, as in the real one.
fn tiny(x: &Shape, model: &Shape) -> [Shape; 2] {
    let output = Shape::new(2, 3, 3, 6);
    [output.with_channels(if model.c == 2 * x.c { 3 } else { 6 }), output]
}

/// A row of a problem, with a value in every place that an op reads: one that took another place would show.
#[doc(hidden)]
pub fn row(change: impl FnOnce(&mut [f32; ROW])) -> Operand {
    let mut row = [0.0; ROW];
    row[..8].copy_from_slice(&[500.0, 0.6, 1.3, -0.8, 0.2, 0.9, -3.0, -1.5]);
    row[8..16].copy_from_slice(&[0.7, 0.4, -0.3, 0.25, -0.2, 0.9, 0.5, 0.0]);
    change(&mut row);
    words(&row.map(f32::to_bits))
}

/// A problem's `proj`: x, x_0, noise and known.
#[doc(hidden)]
pub fn projecting(row: &mut [f32; ROW]) {
    for (place, value) in [(0, -0.7), (1, -0.4), (5, 0.6), (7, 1.1)] {
        row[16 + place] = value;
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
