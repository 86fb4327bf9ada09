//! Class embeddings: row `label[n]` of a table, added to the timestep embedding.

use super::dispatch::DispatchBuilder;
use super::lowering::{Layout, Lowering};
use super::operator::{Operator, ensure, operands};
use super::probe::{Probe, labels, noise};
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// Inputs: x `[N, 1, 1, C]`, labels `[N, 1, 1, 1]` (u32 on the device). Parameters: the table `[classes, C]`.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelEmbedding;

impl Operator for LabelEmbedding {
    fn name(&self) -> &'static str {
        "label_embedding"
    }

    fn shape(&self, inputs: &[Shape], params: &[&[usize]]) -> Result<Shape, String> {
        let [x, labels] = operands(inputs)?;
        let [table] = operands(params)?;
        ensure(labels == Shape::vector(x.n, 1), || format!("labels {labels} for {x}"))?;
        ensure(table.len() == 2 && table[1] == x.c && x.c % 4 == 0, || format!("table {table:?} for {x}"))?;
        Ok(x)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let out = lowering.output_shape();
        let classes = lowering.param_shape(0)[0];
        let table = lowering.weight(0, Layout::Table);
        let mut dispatch = DispatchBuilder::new(Kernel::new("embedding").with("F16", lowering.f16()));
        dispatch
            .bind("x", lowering.input(0))
            .bind("labels", lowering.input(1))
            .bind("w", table)
            .bind("out", lowering.output())
            .word("samples", out.n)
            .word("width4", out.c / 4)
            .word("classes", classes)
            .groups([(out.elements() / 4).div_ceil(64), 1, 1]);
        lowering.emit(dispatch)
    }

    fn reference(&self, inputs: &[&Tensor], params: &[&[f32]], output: Shape) -> Tensor {
        Tensor::from_fn(output, |n, y, x, c| {
            inputs[0].at(n, y, x, c) + params[0][inputs[1].data[n] as usize * output.c + c]
        })
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        let operands = vec![noise(Shape::vector(3, 128)), labels(&[9, 0, 4])];
        Some(Probe::new(Self, operands).with_params(&[&[10, 128]]))
    }
}
