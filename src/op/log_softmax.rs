//! Where guidance begins: the gradient of sum_n log `softmax(logits_n)[label_n]` with respect to the logits.

use super::dispatch::DispatchBuilder;
use super::lowering::Lowering;
use super::operator::{Operator, ensure, operands};
use super::probe::{Probe, labels, noise};
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// Invocations per sample.
const WORKERS: usize = 64;

/// Inputs: logits `[N, 1, 1, K]`, labels `[N, 1, 1, 1]` (u32 on the device). Result: onehot(label) - softmax(logits).
#[derive(Debug, Clone, PartialEq)]
pub struct LogSoftmaxGrad;

impl Operator for LogSoftmaxGrad {
    fn name(&self) -> &'static str {
        "log_softmax_grad"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [logits, labels] = operands(inputs)?;
        ensure(logits.pixels() == 1 && labels == Shape::vector(logits.n, 1), || {
            format!("labels {labels} for {logits}")
        })?;
        Ok(logits)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let out = lowering.output_shape();
        let mut dispatch = DispatchBuilder::new(Kernel::new("log_softmax_grad").with("WORKERS", WORKERS as i64));
        dispatch
            .bind("logits", lowering.input(0))
            .bind("labels", lowering.input(1))
            .bind("out", lowering.output())
            .word("classes", out.c)
            .groups([out.n, 1, 1]);
        lowering.emit(dispatch)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let logits = inputs[0];
        let row = |n: usize| (0..output.c).map(move |c| f64::from(logits.at(n, 0, 0, c)));
        Tensor::from_fn(output, |n, _, _, c| {
            let peak = row(n).fold(f64::MIN, f64::max);
            let total: f64 = row(n).map(|v| (v - peak).exp()).sum();
            let softmax = (f64::from(logits.at(n, 0, 0, c)) - peak).exp() / total;
            let logit = logits.at(n, 0, 0, c);
            if logit.is_finite() { (f64::from(inputs[1].data[n] as usize == c) - softmax) as f32 } else { logit }
        })
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        Some(Probe::new(Self, vec![noise(Shape::vector(2, 100)), labels(&[99, 4])]))
    }
}
