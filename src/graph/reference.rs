//! Evaluates a graph on the CPU, op by op, in plain loops: slow, only for tests and the self-test.

use crate::error::{Error, Result};
use crate::graph::{Graph, Param};
use crate::op::Op;
use crate::tensor::Tensor;

/// Evaluates every node. `input` gives an input's elements by name, `param` a parameter's.
///
/// # Errors
/// What the two callbacks return, and an input of the wrong length.
pub fn evaluate(
    graph: &Graph,
    mut input: impl FnMut(&str) -> Result<Vec<f32>>,
    mut param: impl FnMut(&Param) -> Result<Vec<f32>>,
) -> Result<Vec<Tensor>> {
    let params = graph.params.iter().map(&mut param).collect::<Result<Vec<_>>>()?;
    let mut values: Vec<Tensor> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let value = if node.op == Op::Input {
            Tensor { shape: node.shape, data: input(&node.name)? }
        } else {
            let inputs: Vec<&Tensor> = node.inputs.iter().map(|id| &values[id.0]).collect();
            let weights: Vec<&[f32]> = node.params.iter().map(|id| params[id.0].as_slice()).collect();
            node.op.operator().reference(&inputs, &weights, node.shape)
        };
        if value.data.len() != node.shape.elements() {
            return Err(Error::Options(format!(
                "{}: {} elements given, {} ({}) expected",
                node.name,
                value.data.len(),
                node.shape.elements(),
                node.shape
            )));
        }
        values.push(value);
    }
    Ok(values)
}
