//! The result of lowering a graph: dispatches and values, before slots are assigned.

use std::collections::HashMap;

use super::weights::WeightSpec;
use crate::graph::Segment;
use crate::op::dispatch::{Resource, ValueId};
use crate::shader::{Access, Kernel};
use crate::tensor::Shape;

/// An activation: a node's result or a temporary.
#[derive(Debug, Clone)]
pub struct Value {
    /// The node, or the node and the temporary's name.
    pub label: String,
    /// Its size.
    pub bytes: u64,
    /// Kept for the whole plan: inputs, outputs, what crosses segments.
    pub pinned: bool,
}

/// A dispatch before slots are assigned.
#[derive(Debug, Clone)]
pub struct RecordedDispatch {
    /// The node's name.
    pub node: String,
    /// The op's name.
    pub op: &'static str,
    /// The kernel.
    pub kernel: Kernel,
    /// In binding order.
    pub buffers: Vec<(Resource, Access)>,
    /// The parameters, in order.
    pub words: Vec<u32>,
    /// Workgroups per dimension.
    pub workgroups: [u32; 3],
    /// The node's segment.
    pub segment: Segment,
    /// The node's result.
    pub shape: Shape,
    /// Its share of the node's operations.
    pub flops: u64,
    /// Bytes of activations that it reads and writes.
    pub traffic: u64,
}

/// Everything that was lowered.
#[derive(Debug, Default)]
pub struct Recording {
    /// In order.
    pub dispatches: Vec<RecordedDispatch>,
    /// All activations.
    pub values: Vec<Value>,
    /// The value of each node.
    pub node_values: Vec<ValueId>,
    /// Weights, each once.
    pub weights: Vec<WeightSpec>,
    /// Bytes of the packed weight buffers.
    pub packed: Vec<u64>,
    /// Values that are parts of others.
    pub(super) parts: HashMap<ValueId, Resource>,
    /// Host tables.
    pub constants: Vec<Vec<f32>>,
}
