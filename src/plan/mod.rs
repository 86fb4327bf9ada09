//! A graph made concrete for a device: kernels in order, a variant chosen for each op, and memory assigned.
//!
//! Plain data, no GPU here: the device's limits enter as [`Caps`], and what does not fit is an error before any
//! allocation.

pub mod choices;
pub mod lifetime;
pub mod lowering;
pub mod recording;
pub mod select;
pub mod slots;
pub mod step;
pub mod table;
pub mod weights;

use crate::error::{Error, Result};
use crate::graph::{Graph, Segment, Shape};
use crate::op::Op;
use crate::shader::{Access, Kernel};
use lowering::Lowering;
use recording::{Recording, Resource, ValueId};
use weights::WeightSpec;

/// What a plan needs to know of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Caps {
    /// The adapter's name, for messages.
    pub adapter: String,
    /// Bytes of the largest buffer.
    pub max_buffer_size: u64,
    /// Bytes of the largest storage binding.
    pub max_binding_size: u64,
    /// Workgroups a dimension of a dispatch.
    pub max_workgroups: u32,
    /// Storage buffers a kernel may bind.
    pub max_storage_buffers: u32,
    /// Kernels may compute in float16.
    pub shader_f16: bool,
    /// Invocations of a subgroup, where kernels may use subgroup operations and every subgroup has that many.
    pub subgroup: Option<usize>,
    /// Rows and columns of the cooperative matrices (float16 factors, float32 sums) that kernels may multiply: tensor cores.
    /// Subgroups then have 32 invocations.
    pub cooperative: Option<usize>,
    /// The driver computes on the CPU. Such ones read memory value by value, and want as much arithmetic as registers
    /// allow for each value; a GPU wants many invocations.
    pub software: bool,
}

impl Caps {
    /// What every WebGPU implementation offers.
    pub fn webgpu_defaults() -> Self {
        Self {
            adapter: "WebGPU's default limits".into(),
            max_buffer_size: 256 << 20,
            max_binding_size: 128 << 20,
            max_workgroups: 65_535,
            max_storage_buffers: 8,
            shader_f16: false,
            subgroup: None,
            cooperative: None,
            software: false,
        }
    }

    /// What of it kernels may use at a precision: tensor cores at float16 arithmetic alone.
    #[must_use]
    pub fn at(&self, precision: Precision) -> Self {
        let f16 = precision == Precision::F16 && self.shader_f16;
        Self { cooperative: self.cooperative.filter(|_| f16), ..self.clone() }
    }

    /// The limit on one storage buffer, and its WebGPU name.
    pub(crate) fn largest_buffer(&self) -> (&'static str, u64) {
        if self.max_binding_size < self.max_buffer_size {
            ("maxStorageBufferBindingSize", self.max_binding_size)
        } else {
            ("maxBufferSize", self.max_buffer_size)
        }
    }
}

/// How weights are stored on the device, and what they are multiplied in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Precision {
    /// float32
    #[default]
    F32,
    /// Matrices as float16, unpacked in the shader; arithmetic in float32.
    F16Weights,
    /// Matrices as float16; convolutions, linear layers and attention multiply in float16, in runs of four products whose
    /// sums are added up in float32. Gradients, norms, softmax, the sampler and stored activations stay float32. Needs the
    /// feature shader-f16.
    F16,
}

impl Precision {
    /// The word for it, as `--precision` takes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16Weights => "f16-weights",
            Self::F16 => "f16",
        }
    }

    /// Whether matrices are stored as float16.
    pub fn halves_weights(self) -> bool {
        self != Self::F32
    }
}

/// Choices that are not the device's.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// How weights are stored and multiplied.
    pub precision: Precision,
    /// Variants to use instead of the defaults.
    pub overrides: select::Overrides,
    /// Bytes that float32 weights transformed at load may take; beyond it they are transformed at each step. `None`: enough
    /// for small models, for which the transform at each step would cost most, and more where the device's memory is the
    /// host's.
    pub transform_budget: Option<u64>,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { precision: Precision::F32, overrides: select::Overrides::new(), transform_budget: None }
    }
}

/// A buffer of a planned step.
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
    /// A weight, or the buffer that it shares with others.
    Weight(usize),
    /// Data that the plan itself holds.
    Constant(usize),
    /// The step's parameters, at this offset (in bytes) of the parameter buffer.
    Parameters(usize),
}

/// One dispatch.
#[derive(Debug, Clone)]
pub struct Step {
    /// The node it computes, or a part of it.
    pub node: String,
    /// The node's op.
    pub op: &'static str,
    /// The kernel.
    pub kernel: Kernel,
    /// Buffers in the kernel's binding order.
    pub buffers: Vec<(Buffer, Access)>,
    /// Workgroups a dimension.
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

/// A planned graph.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Dispatches in order.
    pub(crate) steps: Vec<Step>,
    /// Bytes of each slot.
    pub(crate) slots: Vec<u64>,
    /// Weights to load, each once.
    pub(crate) weights: Vec<WeightSpec>,
    /// Bytes of the buffers that several weights share.
    pub(crate) pools: Vec<u64>,
    /// Small tables computed on the host.
    pub(crate) constants: Vec<Vec<f32>>,
    /// All steps' parameters, each at an offset that a uniform binding may have.
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
    /// Plans a fused graph.
    ///
    /// # Errors
    /// [`Error::Limit`] where the device is too small, [`Error::Feature`] where it cannot compute in that precision.
    pub fn new(graph: &Graph, caps: &Caps, options: &PlanOptions) -> Result<Self> {
        if options.precision == Precision::F16 && !caps.shader_f16 {
            return Err(Error::Feature {
                what: "float16 arithmetic".into(),
                adapter: caps.adapter.clone(),
                name: "shader-f16",
                advice: "float16 weights (--precision f16-weights) need none and take as little memory".into(),
            });
        }
        let caps = &caps.at(options.precision);
        let mut lowering = Lowering::new(graph, caps, options);
        for (i, node) in graph.nodes.iter().enumerate() {
            if node.op == Op::Input {
                continue;
            }
            lowering.enter(i)?;
            node.op.operator().lower(&mut lowering)?;
            lowering.leave();
        }
        let recording = lowering.finish()?;
        let lifetimes = lifetime::of(&recording);
        let (assignment, slots) = slots::assign(&lifetimes);
        check_slots(&recording, &assignment, &slots, caps)?;
        let port = |name: &str, value: ValueId, shape| Port { name: name.into(), slot: assignment[value.0], shape };
        let inputs = graph.nodes.iter().enumerate().filter(|(_, n)| n.op == Op::Input);
        let inputs = inputs.map(|(i, n)| port(&n.name, recording.node_values[i], n.shape)).collect();
        let outputs = graph.outputs.iter();
        let outputs = outputs.map(|(name, id)| port(name, recording.node_values[id.0], graph.shape(*id))).collect();
        let mut parameters = Vec::new();
        let steps = recording.steps.into_iter().map(|step| {
            let offset = parameters.len();
            parameters.extend_from_slice(bytemuck::cast_slice(&step.words));
            parameters.resize(parameters.len().next_multiple_of(PARAMETER_ALIGNMENT), 0);
            let place = |resource| match resource {
                Resource::Value(value) => Buffer::Slot(assignment[value.0]),
                Resource::Part { value, offset, bytes } => Buffer::Part { slot: assignment[value.0], offset, bytes },
                Resource::Weight(i) => Buffer::Weight(i),
                Resource::Constant(i) => Buffer::Constant(i),
                Resource::Parameters => Buffer::Parameters(offset),
            };
            let traffic = |(resource, _): &(Resource, Access)| match resource {
                Resource::Value(value) => recording.values[value.0].bytes,
                Resource::Part { bytes, .. } => *bytes,
                Resource::Weight(_) | Resource::Constant(_) | Resource::Parameters => 0,
            };
            Step {
                traffic: step.buffers.iter().map(traffic).sum(),
                buffers: step.buffers.iter().map(|(resource, access)| (place(*resource), *access)).collect(),
                node: step.node,
                op: step.op,
                kernel: step.kernel,
                workgroups: step.workgroups,
                segment: step.segment,
                shape: step.shape,
                flops: step.flops,
            }
        });
        Ok(Self {
            steps: steps.collect(),
            slots,
            weights: recording.weights,
            pools: recording.pools,
            constants: recording.constants,
            parameters,
            inputs,
            outputs,
            lifetimes,
            assignment,
        })
    }

    /// Dispatches in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The kernel of each step.
    pub fn kernels(&self) -> Vec<&Kernel> {
        self.steps.iter().map(|step| &step.kernel).collect()
    }

    /// Whether any kernel computes in float16.
    pub fn uses_f16(&self) -> bool {
        self.steps.iter().any(|step| step.kernel.uses_f16())
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

    /// The slot of each value; of no meaning for a value that no step touches.
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
        self.steps.iter().map(|s| s.flops).sum()
    }

    /// The input or output named `name`.
    pub fn port(&self, name: &str) -> Option<&Port> {
        self.inputs.iter().chain(&self.outputs).find(|p| p.name == name)
    }
}

fn check_slots(recording: &Recording, assignment: &[usize], slots: &[u64], caps: &Caps) -> Result<()> {
    let (name, limit) = caps.largest_buffer();
    let Some((slot, bytes)) = slots.iter().enumerate().find(|(_, bytes)| **bytes > limit) else { return Ok(()) };
    let values = recording.values.iter().zip(assignment).filter(|(_, s)| **s == slot);
    let largest = values.map(|(v, _)| v).max_by_key(|v| v.bytes);
    Err(Error::Limit {
        what: largest.map_or_else(|| "an activation".into(), |v| v.label.clone()),
        adapter: caps.adapter.clone(),
        name,
        needed: mebibytes(*bytes),
        limit: mebibytes(limit),
        advice: "a smaller batch, a smaller model, or an adapter with more memory would fit".into(),
    })
}

/// `12.5 MiB`
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}
