//! Lowers a graph: each op describes its dispatches through [`Lowering`], and they are recorded.
//!
//! Names are resolved against the expanded shader, so that a missing, extra or misspelt one is an error here.

use std::collections::HashMap;

use super::options::PlanOptions;
use super::recording::{RecordedDispatch, Recording, Value};
use super::tuning;
use super::weights::{Place, WeightSpec};
use crate::device::{Caps, mebibytes};
use crate::error::{Error, Result};
use crate::graph::{Graph, Node};
use crate::op::dispatch::{DispatchBuilder, Resource, ValueId};
use crate::op::lowering::{Layout, Lowering};
use crate::op::{Op, Variant};
use crate::shader::{Access, Kernel, Shader};
use crate::tensor::Shape;

/// The dispatches, activations and weights of a graph.
///
/// # Errors
/// [`Error::Limit`] where the device is too small; no variant of a node is legal on it.
pub fn record(graph: &Graph, caps: &Caps, options: &PlanOptions) -> Result<Recording> {
    let mut recorder = Recorder::new(graph, caps, options);
    for (i, node) in graph.nodes.iter().enumerate().filter(|(_, node)| node.op != Op::Input) {
        recorder.enter(i)?;
        node.op.operator().lower(&mut recorder)?;
        recorder.leave();
    }
    recorder.finish()
}

/// The state of lowering one graph; ops see the node that was entered.
struct Recorder<'a> {
    graph: &'a Graph,
    caps: &'a Caps,
    options: &'a PlanOptions,
    recording: Recording,
    shaders: HashMap<Kernel, Shader>,
    node: usize,
    first_dispatch: usize,
    input_shapes: Vec<Shape>,
    variant: Variant,
    /// Bytes left for weights in layouts larger than the checkpoint's.
    expansion: u64,
}

impl<'a> Recorder<'a> {
    /// Starts with one value per node.
    fn new(graph: &'a Graph, caps: &'a Caps, options: &'a PlanOptions) -> Self {
        let mut pinned: Vec<bool> = graph.nodes.iter().map(|n| n.op == Op::Input).collect();
        graph.outputs.iter().for_each(|(_, id)| pinned[id.0] = true);
        for node in &graph.nodes {
            node.inputs.iter().for_each(|id| pinned[id.0] |= graph.node(*id).segment != node.segment);
        }
        let values = graph.nodes.iter().zip(pinned).map(|(node, pinned)| Value {
            label: node.name.clone(),
            bytes: bytes(node.shape.elements()),
            pinned,
        });
        let recording = Recording {
            values: values.collect(),
            node_values: (0..graph.nodes.len()).map(ValueId).collect(),
            ..Recording::default()
        };
        Self {
            graph,
            caps,
            options,
            recording,
            shaders: HashMap::new(),
            node: 0,
            first_dispatch: 0,
            input_shapes: Vec::new(),
            variant: Variant::Naive,
            expansion: options.transform_budget.unwrap_or(caps.transformed_weights),
        }
    }

    /// Makes node `index` the current one.
    ///
    /// # Errors
    /// None of its variants is legal here.
    fn enter(&mut self, index: usize) -> Result<()> {
        let node = &self.graph.nodes[index];
        self.node = index;
        self.first_dispatch = self.recording.dispatches.len();
        self.input_shapes = node.inputs.iter().map(|id| self.graph.shape(*id)).collect();
        self.variant = tuning::choose(node, &self.input_shapes, self.caps, &self.options.overrides)
            .ok_or_else(|| self.misfit("no kernel is legal on this device".into()))?;
        Ok(())
    }

    /// Divides the current node's operations among its dispatches, and what they read and write: those of one kernel have a
    /// part each of an operand or of the result (chunks of tiles, pieces), but the workspace whole, in turn.
    fn leave(&mut self) {
        let node = &self.graph.nodes[self.node];
        let flops = node.op.operator().flops(&self.input_shapes, node.shape);
        let (values, nodes) = (&self.recording.values, self.graph.nodes.len());
        let dispatches = &mut self.recording.dispatches[self.first_dispatch..];
        let sharing = |kernel: &Kernel, buffer: &(Resource, Access)| {
            dispatches.iter().filter(|other| other.kernel == *kernel && other.buffers.contains(buffer)).count() as u64
        };
        let moved = |dispatch: &RecordedDispatch| -> u64 {
            let bytes = |buffer: &(Resource, Access)| match buffer.0 {
                Resource::Value(value) if value.0 < nodes => values[value.0].bytes / sharing(&dispatch.kernel, buffer),
                Resource::Value(value) => values[value.0].bytes,
                Resource::Part { bytes, .. } => bytes,
                Resource::Weight(_) | Resource::Constant(_) | Resource::Parameters => 0,
            };
            dispatch.buffers.iter().map(bytes).sum()
        };
        let traffic: Vec<u64> = dispatches.iter().map(moved).collect();
        let count = dispatches.len() as u64;
        for (i, (dispatch, traffic)) in (0..).zip(dispatches.iter_mut().zip(traffic)) {
            dispatch.flops = flops * (i + 1) / count - flops * i / count;
            dispatch.traffic = traffic;
        }
    }

    /// Ends the lowering.
    ///
    /// # Errors
    /// A weight that is larger than the device allows.
    fn finish(self) -> Result<Recording> {
        for weight in &self.recording.weights {
            let (name, limit) = self.caps.largest_buffer();
            if weight.bytes() > limit {
                return Err(Error::Limit {
                    what: weight.name.clone(),
                    adapter: self.caps.adapter.clone(),
                    name,
                    needed: mebibytes(weight.bytes()),
                    limit: mebibytes(limit),
                    advice: match weight.f16 || weight.layout == Layout::Vector {
                        true => "an adapter that allows larger buffers is needed",
                        false => "float16 weights (--precision f16-weights) take half; else another adapter is needed",
                    }
                    .into(),
                });
            }
        }
        Ok(self.recording)
    }

    fn current(&self) -> &'a Node {
        &self.graph.nodes[self.node]
    }

    fn spec(&self, i: usize, layout: Layout, f16: bool) -> WeightSpec {
        let param = &self.graph.params[self.current().params[i].0];
        WeightSpec { name: param.name.clone(), shape: param.shape.clone(), layout, f16, place: None }
    }

    fn declare(&mut self, spec: WeightSpec) -> Resource {
        let known = self.recording.weights.iter().position(|w| *w == spec);
        Resource::Weight(known.unwrap_or_else(|| {
            self.recording.weights.push(spec);
            self.recording.weights.len() - 1
        }))
    }

    fn emit_piece(&mut self, dispatch: DispatchBuilder) -> Result<()> {
        let broken = |reason: String| Error::Shader { kernel: dispatch.kernel.to_string(), reason };
        if !self.shaders.contains_key(&dispatch.kernel) {
            let shader = dispatch.kernel.expand().map_err(broken)?;
            self.shaders.insert(dispatch.kernel.clone(), shader);
        }
        let shader = &self.shaders[&dispatch.kernel];
        let mut buffers = Vec::with_capacity(shader.bindings.len());
        for binding in &shader.bindings {
            let resource = match binding.access {
                Access::Uniform => Some(Resource::Parameters),
                _ => {
                    dispatch.buffers.iter().find(|(name, _)| *name == binding.name).map(|(_, resource)| match *resource
                    {
                        Resource::Value(value) => self.recording.parts.get(&value).copied().unwrap_or(*resource),
                        // A part of what is itself a part of another tensor.
                        Resource::Part { value, offset, bytes } => match self.recording.parts.get(&value) {
                            Some(Resource::Part { value, offset: first, .. }) => {
                                Resource::Part { value: *value, offset: first + offset, bytes }
                            }
                            _ => *resource,
                        },
                        _ => *resource,
                    })
                }
            };
            buffers.push((resource.ok_or_else(|| broken(format!("{} is not bound", binding.name)))?, binding.access));
        }
        if let Some((name, _)) =
            dispatch.buffers.iter().find(|(name, _)| shader.bindings.iter().all(|b| b.name != *name))
        {
            return Err(broken(format!("it has no buffer named {name}")));
        }
        let storage = buffers.len() as u32 - 1;
        if storage > self.caps.max_storage_buffers {
            let (needed, limit) = (storage.to_string(), self.caps.max_storage_buffers.to_string());
            return Err(self.limit("maxStorageBuffersPerShaderStage", needed, limit));
        }
        let word = |name: &String| {
            let found = dispatch.words.iter().find(|(n, _)| n == name).map(|(_, word)| *word);
            let given = found.ok_or_else(|| broken(format!("parameter {name} is not given")))?;
            given.ok_or_else(|| broken(format!("parameter {name} is larger than 32 bits")))
        };
        let words = shader.parameters.iter().map(word).collect::<Result<Vec<u32>>>()?;
        let mut workgroups = [0u32; 3];
        for (to, from) in workgroups.iter_mut().zip(dispatch.workgroups) {
            *to = u32::try_from(from).unwrap_or(u32::MAX);
            if *to > self.caps.max_workgroups {
                let limit = self.caps.max_workgroups.to_string();
                return Err(self.limit("maxComputeWorkgroupsPerDimension", from.to_string(), limit));
            }
        }
        let node = self.current();
        self.recording.dispatches.push(RecordedDispatch {
            node: node.name.clone(),
            op: node.op.operator().name(),
            kernel: dispatch.kernel,
            buffers,
            words,
            workgroups,
            segment: node.segment,
            shape: node.shape,
            flops: 0,
            traffic: 0,
        });
        Ok(())
    }

    fn limit(&self, name: &'static str, needed: String, limit: String) -> Error {
        let (what, adapter) = (self.current().name.clone(), self.caps.adapter.clone());
        let advice = match name {
            // Grids grow with the images; the number of a kernel's buffers does not.
            "maxComputeWorkgroupsPerDimension" => "a smaller batch or smaller images may fit",
            _ => "the batch does not change that; another adapter is needed",
        };
        Error::Limit { what, adapter, name, needed, limit, advice: advice.into() }
    }
}

impl Lowering for Recorder<'_> {
    fn variant(&self) -> Variant {
        self.variant
    }

    fn input(&self, i: usize) -> ValueId {
        self.recording.node_values[self.current().inputs[i].0]
    }

    fn input_shapes(&self) -> &[Shape] {
        &self.input_shapes
    }

    fn output(&self) -> ValueId {
        self.recording.node_values[self.node]
    }

    fn output_shape(&self) -> Shape {
        self.current().shape
    }

    fn in_place(&mut self, i: usize) {
        self.recording.node_values[self.node] = self.input(i);
    }

    fn part(&mut self, i: usize, first: usize) -> Result<()> {
        let (value, whole) = (self.output(), self.input(i));
        if self.graph.outputs.iter().any(|(_, id)| id.0 == self.node) {
            return Err(self.misfit("a part of another tensor cannot be a result".into()));
        }
        // The whole lives as long as the part.
        let pinned = std::mem::take(&mut self.recording.values[value.0].pinned);
        self.recording.values[whole.0].pinned |= pinned;
        let (offset, bytes) = (4 * first as u64, self.recording.values[value.0].bytes);
        self.recording.parts.insert(value, Resource::Part { value: whole, offset, bytes });
        Ok(())
    }

    fn params(&self) -> usize {
        self.current().params.len()
    }

    fn param_shape(&self, i: usize) -> &[usize] {
        &self.graph.params[self.current().params[i].0].shape
    }

    fn f16(&self) -> i64 {
        self.options.precision.stores_f16() as i64
    }

    fn f16_products(&self) -> i64 {
        if self.caps.f16_products { 2 } else { self.f16() }
    }

    fn weight(&mut self, i: usize, layout: Layout) -> Resource {
        let f16 = layout != Layout::Vector && self.options.precision.stores_f16();
        let spec = self.spec(i, layout, f16);
        self.declare(spec)
    }

    fn packed_weights(&mut self, which: &[usize], layout: Layout) -> Resource {
        let (first, packed) = (self.recording.weights.len(), self.recording.packed.len());
        let mut offset = 0;
        for i in which {
            let f16 = layout != Layout::Vector && self.f16() != 0;
            let spec = WeightSpec { place: Some(Place { packed, offset }), ..self.spec(*i, layout, f16) };
            offset += spec.bytes();
            self.recording.weights.push(spec);
        }
        self.recording.packed.push(offset);
        Resource::Weight(first)
    }

    fn packable(&self, bytes: &[u64]) -> usize {
        let limit = self.caps.largest_buffer().1;
        let sums = bytes.iter().scan(0, |sum, bytes| {
            *sum += bytes;
            Some(*sum)
        });
        sums.take_while(|sum| *sum <= limit).count().max(1)
    }

    fn expanded_weight(&mut self, i: usize, layout: Layout, half: bool) -> Option<Resource> {
        let spec = self.spec(i, layout, half);
        self.expansion = self.expansion.checked_sub(spec.bytes())?;
        Some(self.declare(spec))
    }

    fn constant(&mut self, data: Vec<f32>) -> Resource {
        let known = self.recording.constants.iter().position(|c| *c == data);
        Resource::Constant(known.unwrap_or_else(|| {
            self.recording.constants.push(data);
            self.recording.constants.len() - 1
        }))
    }

    fn temporary(&mut self, name: &str, elements: usize) -> ValueId {
        let label = format!("{}/{name}", self.current().name);
        self.recording.values.push(Value { label, bytes: bytes(elements), pinned: false });
        ValueId(self.recording.values.len() - 1)
    }

    fn workspace_rows(&self, row_bytes: usize) -> usize {
        self.caps.workspace.min(self.caps.max_binding_size) as usize / row_bytes.max(1)
    }

    fn largest_binding(&self) -> u64 {
        self.caps.max_binding_size
    }

    fn emit(&mut self, dispatch: DispatchBuilder) -> Result<()> {
        dispatch.pieces(self.caps.most_work).into_iter().try_for_each(|piece| self.emit_piece(piece))
    }

    fn misfit(&self, reason: String) -> Error {
        let node = self.current();
        Error::Config(format!("{} ({}): {reason}", node.name, node.op.operator().name()))
    }
}

/// Storage buffers are whole vec4s.
fn bytes(elements: usize) -> u64 {
    4 * elements.next_multiple_of(4) as u64
}
