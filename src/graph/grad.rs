//! Reverse mode with respect to an input: guidance needs d log p(y | x_t) / d x_t, and no weight's gradient ever exists.
//!
//! Walks the list backwards, skips nodes off the path, and appends ordinary nodes, so that fusion, planner and
//! session cannot tell backward from forward.

use super::{Graph, Node, ParamId, TensorId};
use crate::error::{Error, Result};
use crate::op::{Add, Op};

/// One node's backward step, as an op's gradient rule sees it.
pub struct Backward<'a> {
    /// The graph that the rule appends to.
    pub graph: &'a mut Graph,
    /// The forward node.
    pub node: &'a Node,
    /// Its result.
    pub output: TensorId,
    /// The gradient with respect to its result.
    pub incoming: TensorId,
}

impl Backward<'_> {
    /// The op has no rule for `operand`: it is on no classifier's path from the image.
    pub fn no_rule(&self, operand: usize) -> Error {
        let (name, op) = (&self.node.name, self.node.op.operator().name());
        Error::Config(format!("{name} ({op}): operand {operand} has no gradient rule"))
    }

    /// Appends a node named after the forward one.
    ///
    /// # Errors
    /// Shapes that do not fit: a defect of the rule.
    pub fn push(&mut self, op: impl Into<Op>, inputs: &[TensorId], params: &[ParamId]) -> Result<TensorId> {
        self.graph.push(format!("{}.grad", self.node.name), op, inputs, params)
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
            let mut backward = Backward { graph, node: &node, output: TensorId(i), incoming };
            let part = node.op.operator().gradient(&mut backward, operand)?;
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
