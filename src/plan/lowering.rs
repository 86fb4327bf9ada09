//! What ops write their kernels into: steps, temporaries, weights.
//!
//! Names are resolved against the expanded shader, so that a missing, extra or misspelt one is an error here.

use std::collections::HashMap;

use super::recording::{RecordedStep, Recording, Resource, Value, ValueId};
use super::select::{self, Variant};
use super::step::StepBuilder;
use super::weights::{Layout, Place, WeightSpec};
use super::{Caps, PlanOptions, Precision};
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Shape};
use crate::op::Op;
use crate::shader::{Access, Kernel, Shader};

/// Bytes that one temporary of a chunked kernel should stay under.
const WORKSPACE: usize = 32 << 20;

/// Budgets for transformed weights, which replace the stored ones and have four times their size: of a GPU, and where the
/// device's memory is the host's.
const BUDGET: u64 = 256 << 20;
const HOST_BUDGET: u64 = 2 << 30;

/// The state of lowering one graph; ops see the node that was entered.
pub struct Lowering<'a> {
    graph: &'a Graph,
    caps: &'a Caps,
    options: &'a PlanOptions,
    recording: Recording,
    shaders: HashMap<Kernel, Shader>,
    node: usize,
    first_step: usize,
    input_shapes: Vec<Shape>,
    variant: Variant,
    /// Bytes left for weights in layouts larger than the checkpoint's.
    expansion: u64,
}

impl<'a> Lowering<'a> {
    /// Starts with one value a node.
    pub fn new(graph: &'a Graph, caps: &'a Caps, options: &'a PlanOptions) -> Self {
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
            first_step: 0,
            input_shapes: Vec::new(),
            variant: Variant::Only,
            expansion: options.transform_budget.unwrap_or(if caps.software { HOST_BUDGET } else { BUDGET }),
        }
    }

    /// Makes node `index` the current one.
    ///
    /// # Errors
    /// None of its variants is legal here.
    pub fn enter(&mut self, index: usize) -> Result<()> {
        let node = &self.graph.nodes[index];
        self.node = index;
        self.first_step = self.recording.steps.len();
        self.input_shapes = node.inputs.iter().map(|id| self.graph.shape(*id)).collect();
        self.variant = select::choose(node, &self.input_shapes, self.caps, &self.options.overrides)
            .ok_or_else(|| self.misfit("no kernel is legal on this device".into()))?;
        Ok(())
    }

    /// Shares the current node's operations among its steps.
    pub fn leave(&mut self) {
        let node = &self.graph.nodes[self.node];
        let flops = node.op.operator().flops(&self.input_shapes, node.shape);
        let steps = &mut self.recording.steps[self.first_step..];
        let count = steps.len() as u64;
        for (i, step) in (0..).zip(steps) {
            step.flops = flops * (i + 1) / count - flops * i / count;
        }
    }

    /// Ends the lowering.
    ///
    /// # Errors
    /// A weight that is larger than the device allows.
    pub fn finish(self) -> Result<Recording> {
        for weight in &self.recording.weights {
            let (name, limit) = self.caps.largest_buffer();
            if weight.bytes() > limit {
                return Err(Error::Limit {
                    what: weight.name.clone(),
                    adapter: self.caps.adapter.clone(),
                    name,
                    needed: super::mebibytes(weight.bytes()),
                    limit: super::mebibytes(limit),
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

    /// The kernel variant chosen for the node.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// The node's operand `i`.
    pub fn input(&self, i: usize) -> ValueId {
        self.recording.node_values[self.current().inputs[i].0]
    }

    /// Its shape.
    pub fn input_shape(&self, i: usize) -> Shape {
        self.input_shapes[i]
    }

    /// All operands' shapes.
    pub fn input_shapes(&self) -> &[Shape] {
        &self.input_shapes
    }

    /// The node's result.
    pub fn output(&self) -> ValueId {
        self.recording.node_values[self.node]
    }

    /// Its shape.
    pub fn output_shape(&self) -> Shape {
        self.current().shape
    }

    /// The node's result overwrites operand `i` (which the sampler's own state alone may do: no other op reads it
    /// after this node).
    pub fn in_place(&mut self, i: usize) {
        self.recording.node_values[self.node] = self.input(i);
    }

    /// The node's result is a part of operand `i`, from element `first` on, a multiple of 64: there is nothing to compute.
    ///
    /// # Errors
    /// The host reads the result, for which it must begin a buffer.
    pub fn part(&mut self, i: usize, first: usize) -> Result<()> {
        let (value, whole) = (self.output(), self.input(i));
        if self.graph.outputs.iter().any(|(_, id)| id.0 == self.node) {
            return Err(self.misfit("a part of another tensor cannot be a result".into()));
        }
        // Whoever needs the part needs the whole.
        let pinned = std::mem::take(&mut self.recording.values[value.0].pinned);
        self.recording.values[whole.0].pinned |= pinned;
        let (offset, bytes) = (4 * first as u64, self.recording.values[value.0].bytes);
        self.recording.parts.insert(value, Resource::Part { value: whole, offset, bytes });
        Ok(())
    }

    /// How many parameters the node has.
    pub fn params(&self) -> usize {
        self.current().params.len()
    }

    /// The shape of parameter `i` in the checkpoint.
    pub fn param_shape(&self, i: usize) -> &'a [usize] {
        &self.graph.params[self.current().params[i].0].shape
    }

    /// The define F16 of kernels that read a matrix: 1 where matrices are stored as float16.
    pub fn f16(&self) -> i64 {
        self.options.precision.halves_weights() as i64
    }

    /// The define F16 of kernels that multiply matrices: 2 where they do so in float16.
    pub fn f16_products(&self) -> i64 {
        if self.options.precision == Precision::F16 { 2 } else { self.f16() }
    }

    /// Parameter `i` on the device in `layout`.
    pub fn weight(&mut self, i: usize, layout: Layout) -> Resource {
        let f16 = layout != Layout::Vector && self.options.precision.halves_weights();
        let spec = self.spec(i, layout, f16);
        self.declare(spec)
    }

    /// Parameters `which`, one after the other in one buffer.
    pub fn pool(&mut self, which: &[usize], layout: Layout) -> Resource {
        let (first, pool) = (self.recording.weights.len(), self.recording.pools.len());
        let mut offset = 0;
        for i in which {
            let f16 = layout != Layout::Vector && self.f16() != 0;
            let spec = WeightSpec { place: Some(Place { pool, offset }), ..self.spec(*i, layout, f16) };
            offset += spec.bytes();
            self.recording.weights.push(spec);
        }
        self.recording.pools.push(offset);
        Resource::Weight(first)
    }

    /// How many parameters of so many `bytes`, at least one, a pool takes.
    pub fn pooled(&self, bytes: &[u64]) -> usize {
        let limit = self.caps.largest_buffer().1;
        let sums = bytes.iter().scan(0, |sum, bytes| {
            *sum += bytes;
            Some(*sum)
        });
        sums.take_while(|sum| *sum <= limit).count().max(1)
    }

    /// Parameter `i` in a float32 layout that is larger than the parameter, while the budget for that lasts. Float16
    /// weights are asked for to save memory, and lose digits when they are transformed before they are rounded.
    pub fn expanded_weight(&mut self, i: usize, layout: Layout) -> Option<Resource> {
        let spec = self.spec(i, layout, false);
        let rest = self.expansion.checked_sub(spec.bytes())?;
        if self.options.precision.halves_weights() {
            return None;
        }
        self.expansion = rest;
        Some(self.declare(spec))
    }

    fn spec(&self, i: usize, layout: Layout, f16: bool) -> WeightSpec {
        let param = &self.graph.params[self.current().params[i].0];
        WeightSpec {
            name: param.name.clone(),
            shape: param.shape.clone(),
            layout,
            f16,
            place: None,
            flipped: matches!(&self.current().op, Op::Conv2d(conv) if conv.flipped) && layout != Layout::Vector,
        }
    }

    fn declare(&mut self, spec: WeightSpec) -> Resource {
        let known = self.recording.weights.iter().position(|w| *w == spec);
        Resource::Weight(known.unwrap_or_else(|| {
            self.recording.weights.push(spec);
            self.recording.weights.len() - 1
        }))
    }

    /// A table computed on the host.
    pub fn constant(&mut self, data: Vec<f32>) -> Resource {
        let known = self.recording.constants.iter().position(|c| *c == data);
        Resource::Constant(known.unwrap_or_else(|| {
            self.recording.constants.push(data);
            self.recording.constants.len() - 1
        }))
    }

    /// Memory that lives within the node.
    pub fn temporary(&mut self, name: &str, elements: usize) -> ValueId {
        let label = format!("{}/{name}", self.current().name);
        self.recording.values.push(Value { label, bytes: bytes(elements), pinned: false });
        ValueId(self.recording.values.len() - 1)
    }

    /// How many rows of `row_bytes` a chunked kernel's temporary may have.
    pub fn workspace_rows(&self, row_bytes: usize) -> usize {
        (WORKSPACE as u64).min(self.caps.max_binding_size) as usize / row_bytes.max(1)
    }

    /// Starts a step.
    pub fn step(&self, kernel: Kernel) -> StepBuilder {
        StepBuilder::new(kernel)
    }

    /// Appends a step.
    ///
    /// # Errors
    /// [`Error::Shader`] where names do not match the shader's, [`Error::Limit`] for a grid that is too large.
    pub fn emit(&mut self, step: StepBuilder) -> Result<()> {
        let broken = |reason: String| Error::Shader { kernel: step.kernel.to_string(), reason };
        if !self.shaders.contains_key(&step.kernel) {
            let shader = step.kernel.expand().map_err(broken)?;
            self.shaders.insert(step.kernel.clone(), shader);
        }
        let shader = &self.shaders[&step.kernel];
        let mut buffers = Vec::with_capacity(shader.bindings.len());
        for binding in &shader.bindings {
            let resource = match binding.access {
                Access::Uniform => Some(Resource::Parameters),
                _ => step.buffers.iter().find(|(name, _)| *name == binding.name).map(|(_, resource)| match resource {
                    Resource::Value(value) => self.recording.parts.get(value).copied().unwrap_or(*resource),
                    _ => *resource,
                }),
            };
            buffers.push((resource.ok_or_else(|| broken(format!("{} is not bound", binding.name)))?, binding.access));
        }
        if let Some((name, _)) = step.buffers.iter().find(|(name, _)| shader.bindings.iter().all(|b| b.name != *name)) {
            return Err(broken(format!("it has no buffer named {name}")));
        }
        let storage = buffers.len() as u32 - 1;
        if storage > self.caps.max_storage_buffers {
            let (needed, limit) = (storage.to_string(), self.caps.max_storage_buffers.to_string());
            return Err(self.limit("maxStorageBuffersPerShaderStage", needed, limit));
        }
        let word = |name: &String| {
            let found = step.words.iter().find(|(n, _)| n == name).map(|(_, word)| *word);
            let given = found.ok_or_else(|| broken(format!("parameter {name} is not given")))?;
            given.ok_or_else(|| broken(format!("parameter {name} is larger than 32 bits")))
        };
        let words = shader.parameters.iter().map(word).collect::<Result<Vec<u32>>>()?;
        let mut workgroups = [0u32; 3];
        for (to, from) in workgroups.iter_mut().zip(step.workgroups) {
            *to = u32::try_from(from).unwrap_or(u32::MAX);
            if *to > self.caps.max_workgroups {
                let limit = self.caps.max_workgroups.to_string();
                return Err(self.limit("maxComputeWorkgroupsPerDimension", from.to_string(), limit));
            }
        }
        let node = self.current();
        self.recording.steps.push(RecordedStep {
            node: node.name.clone(),
            op: node.op.operator().name(),
            kernel: step.kernel,
            buffers,
            words,
            workgroups,
            segment: node.segment,
            shape: node.shape,
            flops: 0,
        });
        Ok(())
    }

    /// The node cannot be lowered as it is.
    pub fn misfit(&self, reason: String) -> Error {
        let node = self.current();
        Error::Config(format!("{} ({}): {reason}", node.name, node.op.operator().name()))
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

/// Storage buffers are whole vec4s.
fn bytes(elements: usize) -> u64 {
    4 * elements.next_multiple_of(4) as u64
}
