//! The ops that a row of the step table drives: the network's input, the predicted x_0 and the step (an edit's part is in
//! `project`).
//!
//! Everything about a step comes from its row, 32 numbers that the host rewrites each step, so that a planned graph serves
//! every sampler and schedule. `sampler::row` has its meaning.

use super::dispatch::DispatchBuilder;
use super::lowering::Lowering;
use super::operator::{Operator, ensure, operands};
use super::probe::{Operand, Probe, TINY, noise, words};
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// Numbers of a row: head, next, proj, keep, eight each.
pub const ROW: usize = 32;
/// Images that a run remembers.
pub const HISTORY: usize = 3;

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
            let (old, model) = (inputs[0].at(n, y, x, c), inputs[1].at(n, y, x, c));
            let x0 = skip * old + out * model + guide * gradient;
            let known = [old, model, gradient].iter().all(|value| value.is_finite());
            if clip != 0.0 && known { x0.clamp(-clip, clip) } else { x0 }
        })
    }

    fn probe(&self, inputs: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        let [x, model] = tiny(inputs.first()?, inputs.get(1)?);
        let mut operands = vec![noise(x), noise(model), row(|_| ())];
        operands.extend(self.guided.then(|| noise(x)));
        Some(Probe::new(self.clone(), operands))
    }
}

/// One row: x to x', and what it keeps. Inputs: x (overwritten in place), x_0, the network's output, noise, row, the history
/// `[3 N, H, W, C]` (overwritten in place), what [`super::Project`] made, and the gradient of log p(y | x) where guided.
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

    /// Only x'; what a row keeps shows in the next rows' x'.
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
pub(super) struct Row {
    head: [f32; 8],
    pub(super) next: [f32; 8],
    pub(super) proj: [f32; 8],
}

impl Row {
    pub(super) fn of(tensor: &Tensor) -> Self {
        let part = |k: usize| std::array::from_fn(|i| tensor.data[8 * k + i]);
        Self { head: part(0), next: part(1), proj: part(2) }
    }
}

fn check(x: Shape, out: Shape) -> Result<(), String> {
    ensure(out.with_channels(x.c) == x && out.c >= x.c, || format!("output {out} for {x}"))
}

pub(super) fn check_row(row: Shape) -> Result<(), String> {
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
