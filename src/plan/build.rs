//! Makes a plan: lowers each node, assigns slots to what was recorded, and checks the device's limits.

use super::lowering::record;
use super::options::PlanOptions;
use super::recording::{Recording, Value};
use super::{Buffer, Dispatch, PARAMETER_ALIGNMENT, Plan, Port, lifetime, slots};
use crate::device::{Caps, Precision, mebibytes};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::op::Op;
use crate::op::dispatch::{Resource, ValueId};

impl Plan {
    /// Plans a graph, usually a fused one.
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
        let recording = record(graph, caps, options)?;
        let lifetimes = lifetime::of(&recording);
        let (assignment, slots) = slots::assign(&lifetimes);
        check_sizes(&recording, &assignment, &slots, caps)?;
        let port = |name: &str, value: ValueId, shape| Port { name: name.into(), slot: assignment[value.0], shape };
        let inputs = graph.nodes.iter().enumerate().filter(|(_, n)| n.op == Op::Input);
        let inputs = inputs.map(|(i, n)| port(&n.name, recording.node_values[i], n.shape)).collect();
        let outputs = graph.outputs.iter();
        let outputs = outputs.map(|(name, id)| port(name, recording.node_values[id.0], graph.shape(*id))).collect();
        let mut parameters = Vec::new();
        let dispatches = recording.dispatches.into_iter().map(|dispatch| {
            let offset = parameters.len();
            parameters.extend_from_slice(bytemuck::cast_slice(&dispatch.words));
            parameters.resize(parameters.len().next_multiple_of(PARAMETER_ALIGNMENT), 0);
            let place = |resource| match resource {
                // A slot may be larger than a binding: other values in it are bound in parts.
                Resource::Value(value) if slots[assignment[value.0]] > caps.max_binding_size => {
                    Buffer::Part { slot: assignment[value.0], offset: 0, bytes: recording.values[value.0].bytes }
                }
                Resource::Value(value) => Buffer::Slot(assignment[value.0]),
                Resource::Part { value, offset, bytes } => Buffer::Part { slot: assignment[value.0], offset, bytes },
                Resource::Weight(i) => Buffer::Weight(i),
                Resource::Constant(i) => Buffer::Constant(i),
                Resource::Parameters => Buffer::Parameters(offset),
            };
            Dispatch {
                buffers: dispatch.buffers.iter().map(|(resource, access)| (place(*resource), *access)).collect(),
                node: dispatch.node,
                op: dispatch.op,
                kernel: dispatch.kernel,
                workgroups: dispatch.workgroups,
                segment: dispatch.segment,
                shape: dispatch.shape,
                flops: dispatch.flops,
                traffic: dispatch.traffic,
            }
        });
        Ok(Self {
            dispatches: dispatches.collect(),
            slots,
            weights: recording.weights,
            packed: recording.packed,
            constants: recording.constants,
            parameters,
            inputs,
            outputs,
            lifetimes,
            assignment,
        })
    }
}

/// Slots are buffers; what a dispatch binds of one is a value, or a part of one.
fn check_sizes(recording: &Recording, assignment: &[usize], slots: &[u64], caps: &Caps) -> Result<()> {
    let too_large = |value: &Value, name, limit, advice: &str| Error::Limit {
        what: value.label.clone(),
        adapter: caps.adapter.clone(),
        name,
        needed: mebibytes(value.bytes),
        limit: mebibytes(limit),
        advice: advice.into(),
    };
    let (buffer, binding) = (caps.max_buffer_size, caps.max_binding_size);
    if let Some(slot) = slots.iter().position(|bytes| *bytes > buffer) {
        let values = recording.values.iter().zip(assignment).filter(|(_, s)| **s == slot);
        if let Some((value, _)) = values.max_by_key(|(value, _)| value.bytes) {
            let advice = "a smaller batch, a smaller model, or an adapter with more memory would fit";
            return Err(too_large(value, "maxBufferSize", buffer, advice));
        }
    }
    for dispatch in &recording.dispatches {
        for (resource, _) in &dispatch.buffers {
            let (Resource::Value(value) | Resource::Part { value, .. }) = resource else { continue };
            let whole = recording.values[value.0].bytes;
            if if let Resource::Part { bytes, .. } = resource { *bytes } else { whole } > binding {
                let advice = "a smaller batch, a smaller model, or an adapter that allows larger bindings would fit";
                return Err(too_large(&recording.values[value.0], "maxStorageBufferBindingSize", binding, advice));
            }
        }
    }
    Ok(())
}
