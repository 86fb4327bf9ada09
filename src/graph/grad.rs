//! Reverse mode with respect to an input: guidance needs d log p(y | x_t) / d x_t, and no gradient of weights.
//!
//! Walks the list backwards, skips nodes off the path, and appends ordinary nodes, so that fusion, planner and
//! session treat backward and forward alike. The rules of all ops are one table here, in terms of other ops.

use super::{Graph, Node, ParamId, TensorId};
use crate::error::{Error, Result};
use crate::op::{Add, AttentionGrad, Conv2d, Dilate, GroupNormGrad, Modulate, Op, Pooling, Slice, Unary};

/// One node's backward step, as the rules see it.
struct Backward<'a> {
    graph: &'a mut Graph,
    /// The forward node.
    node: &'a Node,
    /// Its result.
    output: TensorId,
    /// The gradient with respect to its result.
    incoming: TensorId,
}

impl Backward<'_> {
    /// Appends a node named after the forward one.
    fn push(&mut self, op: impl Into<Op>, inputs: &[TensorId], params: &[ParamId]) -> Result<TensorId> {
        self.graph.push(format!("{}.grad", self.node.name), op, inputs, params)
    }

    /// The gradient with respect to operand `operand`. Ops that no classifier has between image and logits have no rule.
    fn rule(&mut self, operand: usize) -> Result<TensorId> {
        let (inputs, incoming) = (&self.node.inputs, self.incoming);
        let shape = self.graph.shape(inputs[operand]);
        match &self.node.op {
            Op::Add(_) => Ok(incoming),
            Op::AddEmbedding(_) if operand == 0 => Ok(incoming),
            Op::Attention(attention) => {
                self.push(AttentionGrad { attention: attention.clone() }, &[inputs[0], self.output, incoming], &[])
            }
            Op::Concat(_) => {
                let first = if operand == 0 { 0 } else { self.graph.shape(inputs[0]).c };
                self.push(Slice { first, channels: shape.c }, &[incoming], &[])
            }
            Op::Conv2d(conv) if operand == 0 && *conv == Conv2d::new(conv.kernel, conv.stride) => {
                let mut incoming = incoming;
                if conv.stride == 2 {
                    incoming = self.push(Dilate { height: shape.h, width: shape.w }, &[incoming], &[])?;
                }
                let transposed = Conv2d { stride: 1, transposed: true, ..conv.clone() };
                self.push(transposed, &[incoming], &self.node.params[..1])
            }
            Op::GroupNorm(norm) if operand == 0 => {
                let op = GroupNormGrad { scale_shift: norm.scale_shift, silu: false };
                let operands: Vec<TensorId> = [inputs[0], incoming].into_iter().chain(inputs.get(1).copied()).collect();
                self.push(op, &operands, &self.node.params)
            }
            Op::Pooling(Pooling { pooled, adjoint: None }) => {
                self.push(Pooling { pooled: *pooled, adjoint: Some(shape) }, &[incoming], &[])
            }
            Op::Resample(resample) => self.push(Modulate::resample_grad(*resample), &[incoming], &[]),
            Op::Unary(unary) if !unary.adjoint => {
                self.push(Unary { adjoint: true, ..*unary }, &[inputs[0], incoming], &[])
            }
            op => {
                let (name, op) = (&self.node.name, op.operator().name());
                Err(Error::Config(format!("{name} ({op}): operand {operand} has no gradient rule")))
            }
        }
    }
}

/// Appends the gradient of a scalar with respect to `wrt`, where `seed` is its gradient with respect to `of`.
///
/// # Errors
/// [`Error::Config`] where `of` does not depend on `wrt`, or an op on the path has no gradient rule.
pub fn gradient(graph: &mut Graph, of: TensorId, seed: TensorId, wrt: TensorId) -> Result<TensorId> {
    let mut depends = vec![false; graph.nodes.len()];
    depends[wrt.0] = true;
    for i in wrt.0 + 1..=of.0 {
        depends[i] = graph.nodes[i].inputs.iter().any(|input| depends[input.0]);
    }
    let mut gradients: Vec<Option<TensorId>> = vec![None; graph.nodes.len()];
    gradients[of.0] = Some(seed);
    for i in (wrt.0 + 1..=of.0).rev() {
        let Some(incoming) = gradients[i].filter(|_| depends[i]) else { continue };
        let node = graph.nodes[i].clone();
        for (operand, input) in node.inputs.iter().enumerate().filter(|(_, input)| depends[input.0]) {
            let part = Backward { graph, node: &node, output: TensorId(i), incoming }.rule(operand)?;
            gradients[input.0] = Some(match gradients[input.0] {
                None => part,
                Some(sum) => graph.push(format!("{}.grad_sum", node.name), Add, &[sum, part], &[])?,
            });
        }
    }
    gradients[wrt.0].ok_or_else(|| {
        let (of, wrt) = (&graph.node(of).name, &graph.node(wrt).name);
        Error::Config(format!("{of} does not depend on {wrt}; there is no gradient"))
    })
}
