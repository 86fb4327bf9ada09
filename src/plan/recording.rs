//! What lowering a graph leaves: steps and values, before slots are assigned.

use std::collections::HashMap;

use super::weights::WeightSpec;
use crate::graph::{Segment, Shape};
use crate::shader::{Access, Kernel};

/// A tensor in device memory before slots are assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// What a step binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// An activation.
    Value(ValueId),
    /// A part of one.
    Part {
        /// The activation.
        value: ValueId,
        /// The first byte.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// Index of a weight.
    Weight(usize),
    /// Index of a constant.
    Constant(usize),
    /// The step's own parameters.
    Parameters,
}

impl From<ValueId> for Resource {
    fn from(value: ValueId) -> Self {
        Self::Value(value)
    }
}

/// An activation: a node's result or a temporary.
#[derive(Debug, Clone)]
pub struct Value {
    /// The node, and what of it.
    pub label: String,
    /// Its size.
    pub bytes: u64,
    /// Kept for the whole plan: inputs, outputs, what crosses segments.
    pub pinned: bool,
}

/// A step before slots are assigned.
#[derive(Debug, Clone)]
pub struct RecordedStep {
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
    /// Workgroups a dimension.
    pub workgroups: [u32; 3],
    /// The node's segment.
    pub segment: Segment,
    /// The node's result.
    pub shape: Shape,
    /// Its share of the node's operations.
    pub flops: u64,
}

/// Everything that was lowered.
#[derive(Debug, Default)]
pub struct Recording {
    /// In order.
    pub steps: Vec<RecordedStep>,
    /// All activations.
    pub values: Vec<Value>,
    /// The value of each node.
    pub node_values: Vec<ValueId>,
    /// Weights, each once.
    pub weights: Vec<WeightSpec>,
    /// Bytes of the buffers that several weights share.
    pub pools: Vec<u64>,
    /// Values that are parts of others.
    pub(super) parts: HashMap<ValueId, Resource>,
    /// Host tables.
    pub constants: Vec<Vec<f32>>,
}
