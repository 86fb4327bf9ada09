//! A network as an append-only list of nodes in topological order. Plain data: no GPU here.

pub mod fuse;
mod gather;
pub mod grad;
pub mod reference;

use std::collections::HashMap;
use std::fmt;

use crate::error::{Error, Result};
use crate::op::Op;
use crate::tensor::Shape;

/// A node, and the tensor that it yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub usize);

/// A parameter of the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub usize);

/// A part of a graph that is submitted on its own. Segments run in this order; values that cross from one to another are
/// kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// Draws the noise of a step.
    Noise,
    /// Makes the first x from the noise.
    Start,
    /// Evaluates the network at (x, t).
    Network,
    /// Evaluates the classifier's gradient at (x, t).
    Guidance,
    /// Predicts x_0 from the network's output.
    Predict,
    /// Thresholds the predicted x_0 dynamically.
    Threshold,
    /// Makes an edit's part of the step.
    Project,
    /// Steps from x to the next x.
    Step,
}

/// A parameter's name in the checkpoint and its shape there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// `input_blocks.3.0.in_layers.2.weight`
    pub name: String,
    /// As in the checkpoint.
    pub shape: Vec<usize>,
}

/// One operation and its operands.
#[derive(Debug, Clone)]
pub struct Node {
    /// The module's name in the checkpoint, or what the node is for.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// Tensors read, all earlier in the list.
    pub inputs: Vec<TensorId>,
    /// Parameters read.
    pub params: Vec<ParamId>,
    /// Shape of the result.
    pub shape: Shape,
    /// The part of the graph it belongs to.
    pub segment: Segment,
}

/// A network.
#[derive(Debug, Clone)]
pub struct Graph {
    /// In topological order; a node's index is its tensor's id.
    pub nodes: Vec<Node>,
    /// Parameters in order of first use.
    pub params: Vec<Param>,
    /// Named results, kept until the next submission of their segment.
    pub outputs: Vec<(String, TensorId)>,
    segment: Segment,
    param_ids: HashMap<String, ParamId>,
}

impl Default for Graph {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            params: Vec::new(),
            outputs: Vec::new(),
            segment: Segment::Network,
            param_ids: HashMap::new(),
        }
    }
}

impl Graph {
    /// Nodes pushed from now on belong to `segment`.
    pub fn begin(&mut self, segment: Segment) {
        self.segment = segment;
    }

    /// A tensor that the host writes before a run.
    pub fn input(&mut self, name: &str, shape: Shape) -> TensorId {
        self.append(name.into(), Op::Input, Vec::new(), Vec::new(), shape)
    }

    /// The input named `name`.
    pub fn find_input(&self, name: &str) -> Option<TensorId> {
        self.nodes.iter().position(|n| n.op == Op::Input && n.name == name).map(TensorId)
    }

    /// Declares a parameter; the same name twice is the same parameter.
    pub fn param(&mut self, name: impl Into<String>, shape: &[usize]) -> ParamId {
        let name = name.into();
        if let Some(id) = self.param_ids.get(&name) {
            return *id;
        }
        let id = ParamId(self.params.len());
        self.param_ids.insert(name.clone(), id);
        self.params.push(Param { name, shape: shape.to_vec() });
        id
    }

    /// Appends a node; the op's shape rule checks its operands.
    ///
    /// # Errors
    /// [`Error::Config`] with the node's name where shapes do not fit.
    pub fn push(
        &mut self,
        name: impl Into<String>,
        op: impl Into<Op>,
        inputs: &[TensorId],
        params: &[ParamId],
    ) -> Result<TensorId> {
        let (name, op) = (name.into(), op.into());
        let shapes: Vec<Shape> = inputs.iter().map(|id| self.shape(*id)).collect();
        let param_shapes: Vec<&[usize]> = params.iter().map(|id| self.params[id.0].shape.as_slice()).collect();
        let shape = op
            .operator()
            .shape(&shapes, &param_shapes)
            .map_err(|reason| Error::Config(format!("{name} ({}): {reason}", op.operator().name())))?;
        // Shaders index elements in 32 bits.
        let elements = [shape.n, shape.h, shape.w, shape.c]
            .iter()
            .try_fold(1u32, |product, size| u32::try_from(*size).ok().and_then(|size| product.checked_mul(size)));
        if elements.is_none() {
            return Err(Error::Config(format!(
                "{name}: {shape} is more than 2^32 elements; a smaller batch or smaller images would fit"
            )));
        }
        Ok(self.append(name, op, inputs.to_vec(), params.to_vec(), shape))
    }

    fn append(&mut self, name: String, op: Op, inputs: Vec<TensorId>, params: Vec<ParamId>, shape: Shape) -> TensorId {
        self.nodes.push(Node { name, op, inputs, params, shape, segment: self.segment });
        TensorId(self.nodes.len() - 1)
    }

    /// A graph of only `node`, its operands as inputs, its result named `out`.
    ///
    /// # Errors
    /// None for a node of this graph.
    pub fn single(&self, node: &Node) -> Result<Self> {
        let mut single = Self::default();
        let inputs: Vec<TensorId> =
            node.inputs.iter().enumerate().map(|(i, id)| single.input(&format!("input{i}"), self.shape(*id))).collect();
        let params = node.params.iter().map(|id| &self.params[id.0]);
        let params: Vec<ParamId> = params.map(|param| single.param(param.name.clone(), &param.shape)).collect();
        let out = single.push(node.name.clone(), node.op.clone(), &inputs, &params)?;
        single.output("out", out);
        Ok(single)
    }

    /// Names a result.
    pub fn output(&mut self, name: &str, id: TensorId) {
        self.outputs.push((name.into(), id));
    }

    /// The node that yields `id`.
    pub fn node(&self, id: TensorId) -> &Node {
        &self.nodes[id.0]
    }

    /// The shape of `id`.
    pub fn shape(&self, id: TensorId) -> Shape {
        self.node(id).shape
    }

    /// How often each tensor is read, as an input or as a result.
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.nodes.len()];
        let read = self.nodes.iter().flat_map(|n| &n.inputs).chain(self.outputs.iter().map(|(_, id)| id));
        read.for_each(|id| uses[id.0] += 1);
        uses
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, node) in self.nodes.iter().enumerate() {
            let inputs: Vec<String> = node.inputs.iter().map(|id| format!("%{}", id.0)).collect();
            writeln!(f, "%{i} = {:?} [{}] {} {}", node.op, inputs.join(" "), node.shape, node.name)?;
        }
        Ok(())
    }
}
