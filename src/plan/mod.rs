//! A graph made concrete for a device: kernels in order, a variant chosen for each op, and memory assigned.
//!
//! Plain data, no GPU here: the device's limits enter as [`crate::device::Caps`], and what does not fit is an error before
//! any allocation.

mod build;
pub mod lifetime;
mod lowering;
pub mod options;
pub mod recording;
pub mod slots;
mod table;
pub mod tuning;
pub mod weights;

use crate::graph::Segment;
use crate::shader::{Access, Kernel};
use crate::tensor::Shape;
pub use lowering::record;
pub use options::PlanOptions;
use weights::WeightSpec;

/// A buffer of a planned dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Buffer {
    /// An activation's slot.
    Slot(usize),
    /// A part of an activation's slot, in bytes.
    Part {
        /// The slot.
        slot: usize,
        /// The first byte.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// A weight: its own buffer, or the packed one that it lies in.
    Weight(usize),
    /// Data that the plan itself holds.
    Constant(usize),
    /// The dispatch's parameters, at this offset (in bytes) of the parameter buffer.
    Parameters(usize),
}

/// One dispatch of a kernel.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// The node it computes, or a part of it.
    pub node: String,
    /// The node's op.
    pub op: &'static str,
    /// The kernel.
    pub kernel: Kernel,
    /// Buffers in the kernel's binding order.
    pub buffers: Vec<(Buffer, Access)>,
    /// Workgroups per dimension.
    pub workgroups: [u32; 3],
    /// The part of the graph it belongs to.
    pub segment: Segment,
    /// Shape of the node's result.
    pub shape: Shape,
    /// Its share of the node's floating-point operations (direct count).
    pub flops: u64,
    /// Bytes of the activations that it reads and writes.
    pub traffic: u64,
}

/// A named tensor that the host writes or reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Where it lives.
    pub slot: usize,
    /// Its shape.
    pub shape: Shape,
}

/// A graph made concrete for a device.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Dispatches in order.
    pub(crate) dispatches: Vec<Dispatch>,
    /// Bytes of each slot.
    pub(crate) slots: Vec<u64>,
    /// Weights to load, each once.
    pub(crate) weights: Vec<WeightSpec>,
    /// Bytes of the packed weight buffers.
    pub(crate) packed: Vec<u64>,
    /// Small tables computed on the host.
    pub(crate) constants: Vec<Vec<f32>>,
    /// All dispatches' parameters, each at an offset that a uniform binding may have.
    pub(crate) parameters: Vec<u8>,
    /// What the host writes.
    pub(crate) inputs: Vec<Port>,
    /// What the host may read.
    pub(crate) outputs: Vec<Port>,
    /// When each value is alive.
    pub(crate) lifetimes: Vec<lifetime::Lifetime>,
    /// The slot of each value.
    pub(crate) assignment: Vec<usize>,
}

/// Uniform bindings start at multiples of this (WebGPU's default, in bytes).
pub const PARAMETER_ALIGNMENT: usize = 256;

impl Plan {
    /// Dispatches in order.
    pub fn dispatches(&self) -> &[Dispatch] {
        &self.dispatches
    }

    /// The kernel of each dispatch.
    pub fn kernels(&self) -> Vec<&Kernel> {
        self.dispatches.iter().map(|dispatch| &dispatch.kernel).collect()
    }

    /// Whether any kernel computes in float16.
    pub fn uses_f16(&self) -> bool {
        self.dispatches.iter().any(|dispatch| dispatch.kernel.uses_f16())
    }

    /// Bytes of each slot.
    pub fn slots(&self) -> &[u64] {
        &self.slots
    }

    /// Weights to load, each once.
    pub fn weights(&self) -> &[WeightSpec] {
        &self.weights
    }

    /// What the host writes.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What the host may read.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// The lifetime of each value.
    pub fn lifetimes(&self) -> &[lifetime::Lifetime] {
        &self.lifetimes
    }

    /// The slot of each value; without meaning for a value that no dispatch uses.
    pub fn assignment(&self) -> &[usize] {
        &self.assignment
    }

    /// Bytes of all activations.
    pub fn activation_bytes(&self) -> u64 {
        self.slots.iter().sum()
    }

    /// Bytes of all weights on the device.
    pub fn weight_bytes(&self) -> u64 {
        self.weights.iter().map(WeightSpec::bytes).sum()
    }

    /// Direct-convolution floating-point operations of the network and, where there is one, the classifier.
    pub fn flops(&self) -> u64 {
        self.dispatches.iter().map(|s| s.flops).sum()
    }

    /// The input or output named `name`.
    pub fn port(&self, name: &str) -> Option<&Port> {
        self.inputs.iter().chain(&self.outputs).find(|p| p.name == name)
    }
}
