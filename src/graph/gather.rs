//! Gathers the linear layers that read the same vector into one node: a network projects the embedding of its timestep
//! once per residual block, and all of that can be one dispatch.

use std::collections::HashMap;

use super::{Graph, Node, TensorId};
use crate::error::Result;
use crate::op::{EmbLayers, Op};

/// The graph with such layers gathered, each where the first of them was; same inputs, outputs, parameters and values.
///
/// # Errors
/// None for a graph whose nodes passed their shape rules.
pub(super) fn gather(graph: &Graph) -> Result<Graph> {
    let mut groups: HashMap<_, Vec<usize>> = HashMap::new();
    for (i, node) in graph.nodes.iter().enumerate().filter(|(_, node)| is_layer(graph, node)) {
        groups.entry((node.inputs[0], node.segment)).or_default().push(i);
    }
    let group = |i: usize, node: &Node| {
        let members = groups.get(&(*node.inputs.first()?, node.segment)).filter(|members| members.len() > 1)?;
        members.iter().position(|member| *member == i).map(|place| (members, place))
    };
    let mut out = Graph { params: graph.params.clone(), param_ids: graph.param_ids.clone(), ..Graph::default() };
    let mut map: Vec<TensorId> = Vec::with_capacity(graph.nodes.len());
    let mut gathered = HashMap::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        out.begin(node.segment);
        let inputs: Vec<TensorId> = node.inputs.iter().map(|id| map[id.0]).collect();
        map.push(match group(i, node) {
            Some((members, place)) => {
                let all = members.iter().map(|member| &graph.nodes[*member]);
                let op = EmbLayers { channels: all.clone().map(|node| node.shape.c).collect() };
                let layer = op.layers(node.shape.n).swap_remove(place);
                let whole = match gathered.get(&members[0]) {
                    Some(whole) => *whole,
                    None => {
                        let params: Vec<_> = all.flat_map(|node| node.params.clone()).collect();
                        let whole = out.push(format!("{} and others", node.name), op, &inputs, &params)?;
                        gathered.insert(members[0], whole);
                        whole
                    }
                };
                out.push(node.name.clone(), layer, &[whole], &[])?
            }
            None if node.op == Op::Input => out.input(&node.name, node.shape),
            None => out.push(node.name.clone(), node.op.clone(), &inputs, &node.params)?,
        });
    }
    for (name, id) in &graph.outputs {
        out.output(name, map[id.0]);
    }
    Ok(out)
}

fn is_layer(graph: &Graph, node: &Node) -> bool {
    let is_output = || graph.outputs.iter().any(|(_, id)| std::ptr::eq(graph.node(*id), node));
    match &node.op {
        Op::Conv2d(conv) => {
            EmbLayers::takes(conv, graph.shape(node.inputs[0]), node.shape, node.params.len()) && !is_output()
        }
        _ => false,
    }
}
