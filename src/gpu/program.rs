//! A plan on a device: buffers, pipelines and bind groups built once; a run only encodes and submits.

use std::collections::VecDeque;
use std::sync::Arc;

use super::adapter::Gpu;
use super::in_flight::InFlight;
use super::pace::{Clock, Pace, Started};
use super::pipeline::Pipeline;
use super::readback::Readback;
use super::scope;
use crate::error::{Error, Result};
use crate::graph::Segment;
use crate::plan::weights::WeightSpec;
use crate::plan::{Buffer, PARAMETER_ALIGNMENT, Plan, Port};
use crate::shader::Access;

/// Repetitions in one submission of [`Program::run_times`] at most.
const MOST_TIMES: usize = 256;
/// What submissions are timed by. A browser watches over its device itself, and has its clock elsewhere.
#[cfg(not(target_arch = "wasm32"))]
const CLOCK: Option<Clock> = Some(super::pace::native_clock);
#[cfg(target_arch = "wasm32")]
const CLOCK: Option<Clock> = None;
/// Submissions that may wait for the device.
const IN_FLIGHT: usize = 3;

/// A plan's resources.
#[derive(Debug)]
pub struct Program {
    gpu: Arc<Gpu>,
    plan: Plan,
    slots: Vec<wgpu::Buffer>,
    weights: Vec<Option<wgpu::Buffer>>,
    constants: Vec<wgpu::Buffer>,
    parameters: wgpu::Buffer,
    pipelines: Vec<Arc<Pipeline>>,
    bind_groups: Vec<wgpu::BindGroup>,
    /// The dispatches of each segment, in order.
    segments: Vec<(Segment, Vec<usize>)>,
    pace: Pace,
    in_flight: VecDeque<(InFlight, Started)>,
}

impl Program {
    /// Compiles the plan's kernels and allocates its activations. Weights follow by [`Program::upload`].
    ///
    /// # Errors
    /// A refused shader, out of memory, a lost device.
    pub async fn new(gpu: &Arc<Gpu>, plan: Plan) -> Result<Self> {
        let pipelines = gpu.compiled(&plan.kernels()).await?;
        let ((slots, constants, parameters), pending) = scope::watch(&gpu.device, || {
            let slot = |(i, bytes): (usize, &u64)| gpu.storage(&slot_label(&plan, i), *bytes);
            let slots: Vec<wgpu::Buffer> = plan.slots.iter().enumerate().map(slot).collect();
            let constant = |data: &Vec<f32>| {
                let bytes: &[u8] = bytemuck::cast_slice(data);
                let buffer = gpu.storage("constant", bytes.len() as u64);
                gpu.queue.write_buffer(&buffer, 0, bytes);
                buffer
            };
            let constants = plan.constants.iter().map(constant).collect();
            let size = plan.parameters.len().max(PARAMETER_ALIGNMENT) as u64;
            let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
            let parameters = gpu.buffer("parameters", size, usage);
            gpu.queue.write_buffer(&parameters, 0, &plan.parameters);
            (slots, constants, parameters)
        });
        // Made before anything can fail, so that its `drop` frees the buffers.
        let program = Self {
            gpu: gpu.clone(),
            weights: plan.weights.iter().map(|_| None).collect(),
            slots,
            constants,
            parameters,
            pipelines,
            bind_groups: Vec::new(),
            segments: segments(&plan),
            pace: Pace::new(CLOCK),
            in_flight: VecDeque::with_capacity(IN_FLIGHT + 1),
            plan,
        };
        let refused = pending.error().await;
        gpu.check()?;
        match refused {
            Some(caught) => Err(caught.refusal("activations", "a smaller batch may fit")),
            None => Ok(program),
        }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The device.
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// Uploads parameter `name` in every layout that the plan asks for. Parameters may come in any order, so that a
    /// browser can stream a file.
    ///
    /// # Errors
    /// The wrong number of elements, an element too large for float16 where weights are stored so, out of memory, a lost
    /// device.
    pub async fn upload(&mut self, name: &str, data: &[f32]) -> Result<()> {
        for (i, spec) in self.plan.weights.iter().enumerate().filter(|(_, w)| w.name == name) {
            let expected: usize = spec.shape.iter().product();
            if data.len() != expected {
                return Err(Error::Options(format!("{name}: {} elements given, {expected} expected", data.len())));
            }
            let ((buffer, packed), pending) = scope::watch(&self.gpu.device, || {
                let buffer = self.weight_buffer(spec);
                let first = spec.place.map_or(0, |place| place.offset);
                let packed =
                    spec.pack(data, |offset, bytes| self.gpu.queue.write_buffer(&buffer, first + offset, bytes));
                // Submitting frees the staging memory of the write.
                self.gpu.queue.submit([]);
                (buffer, packed)
            });
            // Kept before anything can fail, so that the program's `drop` frees it.
            self.weights[i] = Some(buffer);
            let refused = pending.error().await;
            packed?;
            self.gpu.check()?;
            if let Some(caught) = refused {
                return Err(caught.refusal(name, "float16 weights (--precision f16-weights) may fit"));
            }
        }
        Ok(())
    }

    /// A weight's buffer: its own, or the packed one, which the first of its weights that came has made.
    fn weight_buffer(&self, spec: &WeightSpec) -> wgpu::Buffer {
        let Some(place) = spec.place else { return self.gpu.storage(&spec.name, spec.bytes()) };
        let shares = |other: &WeightSpec| other.place.is_some_and(|other| other.packed == place.packed);
        let mut others = self.plan.weights.iter().zip(&self.weights).filter(|(other, _)| shares(other));
        let shared = others.find_map(|(_, buffer)| buffer.clone());
        shared.unwrap_or_else(|| self.gpu.storage(&spec.name, self.plan.packed[place.packed]))
    }

    /// Builds the bind groups once every weight is there.
    ///
    /// # Errors
    /// A parameter that was not uploaded.
    pub fn seal(&mut self) -> Result<()> {
        let missing: Vec<&str> = self
            .plan
            .weights
            .iter()
            .zip(&self.weights)
            .filter(|(_, buffer)| buffer.is_none())
            .map(|(spec, _): (&WeightSpec, _)| spec.name.as_str())
            .collect();
        if !missing.is_empty() {
            return Err(Error::Options(format!("parameters were not uploaded: {}", missing.join(", "))));
        }
        let groups = self.plan.dispatches.iter().zip(&self.pipelines);
        self.bind_groups =
            groups.map(|(dispatch, pipeline)| self.bind(&dispatch.buffers, pipeline)).collect::<Result<_>>()?;
        Ok(())
    }

    /// As [`Program::seal`], with zeros for weights that were not uploaded: timings do not depend on the values.
    pub(crate) async fn seal_blank(&mut self) -> Result<()> {
        let gpu = self.gpu.clone();
        let ((), pending) = scope::watch(&gpu.device, || {
            for i in 0..self.weights.len() {
                if self.weights[i].is_none() {
                    self.weights[i] = Some(self.weight_buffer(&self.plan.weights[i]));
                }
            }
        });
        if let Some(caught) = pending.error().await {
            return Err(caught.refusal("weights", "float16 weights may fit"));
        }
        self.seal()
    }

    fn bind(&self, buffers: &[(Buffer, Access)], pipeline: &Pipeline) -> Result<wgpu::BindGroup> {
        let entry = |(binding, (buffer, _)): (usize, &(Buffer, Access))| {
            let resource = match buffer {
                Buffer::Slot(i) => self.slots[*i].as_entire_binding(),
                Buffer::Part { slot, offset, bytes } => wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &self.slots[*slot],
                    offset: *offset,
                    size: wgpu::BufferSize::new(*bytes),
                }),
                Buffer::Constant(i) => self.constants[*i].as_entire_binding(),
                Buffer::Weight(i) => self.weights[*i]
                    .as_ref()
                    .ok_or_else(|| Error::Gpu("a weight is missing".into()))?
                    .as_entire_binding(),
                Buffer::Parameters(offset) => wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &self.parameters,
                    offset: *offset as u64,
                    size: wgpu::BufferSize::new(PARAMETER_ALIGNMENT as u64),
                }),
            };
            Ok(wgpu::BindGroupEntry { binding: binding as u32, resource })
        };
        let entries = buffers.iter().enumerate().map(entry).collect::<Result<Vec<_>>>()?;
        let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &pipeline.layout, entries: &entries };
        Ok(self.gpu.device.create_bind_group(&descriptor))
    }

    /// The input or output named `name`.
    ///
    /// # Errors
    /// [`Error::Options`] where the plan has no such tensor.
    pub fn port(&self, name: &str) -> Result<&Port> {
        self.plan.port(name).ok_or_else(|| Error::Options(format!("this model has no tensor named {name}")))
    }

    /// Writes an input before the next run.
    ///
    /// # Errors
    /// No such input, or another size.
    pub fn write<T: bytemuck::Pod>(&self, name: &str, data: &[T]) -> Result<()> {
        let port = self.port(name)?;
        let bytes: &[u8] = bytemuck::cast_slice(data);
        if bytes.len() != 4 * port.shape.elements() {
            return Err(Error::Options(format!(
                "{name}: {} bytes given, {} ({}) expected",
                bytes.len(),
                4 * port.shape.elements(),
                port.shape
            )));
        }
        self.gpu.queue.write_buffer(&self.slots[port.slot], 0, bytes);
        Ok(())
    }

    /// Submits a segment; waits only if too many submissions are in flight.
    ///
    /// # Errors
    /// A lost device.
    pub async fn run(&mut self, segment: Segment) -> Result<()> {
        self.run_all(&[segment]).await
    }

    /// Submits segments one after the other, in as few submissions as watchdogs allow; waits only where too many are in
    /// flight.
    ///
    /// # Errors
    /// A lost device.
    pub async fn run_all(&mut self, segments: &[Segment]) -> Result<()> {
        let dispatches: Vec<usize> = segments.iter().flat_map(|segment| self.dispatches(*segment)).copied().collect();
        let mut rest = dispatches.as_slice();
        while !rest.is_empty() {
            let (count, flops) = self.fitting(rest);
            let (now, later) = rest.split_at(count);
            let commands = self.record(now.iter().copied());
            self.submit(commands, flops).await?;
            rest = later;
        }
        Ok(())
    }

    /// A segment's dispatches.
    fn dispatches(&self, segment: Segment) -> &[usize] {
        self.segments.iter().find(|(known, _)| *known == segment).map_or(&[], |(_, dispatches)| dispatches)
    }

    /// How many of `dispatches` the next submission may hold, at least one, and their operations.
    fn fitting(&self, dispatches: &[usize]) -> (usize, u64) {
        let (mut count, mut sum) = (0, 0);
        for dispatch in dispatches {
            let flops = self.plan.dispatches[*dispatch].flops;
            if count > 0 && sum + flops > self.pace.budget() {
                break;
            }
            (count, sum) = (count + 1, sum + flops);
        }
        (count, sum)
    }

    /// Records a segment's commands and drops them, to time the host's part of a submission.
    pub fn record_only(&self, segment: Segment) {
        drop(self.record(self.dispatches(segment).iter().copied()));
    }

    /// Runs a plan of the network's segment alone up to `times` times in one submission, as many as a submission may hold, and
    /// returns how often: for timings, in which submitting is noise.
    pub(crate) async fn run_times(&mut self, times: usize) -> Result<usize> {
        let most = usize::try_from(self.pace.budget() / self.plan.flops().max(1)).unwrap_or(usize::MAX);
        let times = times.min(most).min(MOST_TIMES);
        if times < 2 {
            self.run(Segment::Network).await?;
            return Ok(1);
        }
        let dispatches = self.plan.dispatches.len();
        let commands = self.record((0..times * dispatches).map(|i| i % dispatches));
        self.submit(commands, times as u64 * self.plan.flops()).await?;
        Ok(times)
    }

    fn record(&self, dispatches: impl Iterator<Item = usize>) -> wgpu::CommandBuffer {
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for i in dispatches {
                self.encode(i, &mut pass);
            }
        }
        encoder.finish()
    }

    pub(crate) fn encode(&self, i: usize, pass: &mut wgpu::ComputePass<'_>) {
        let [x, y, z] = self.plan.dispatches[i].workgroups;
        pass.set_pipeline(&self.pipelines[i].pipeline);
        pass.set_bind_group(0, &self.bind_groups[i], &[]);
        pass.dispatch_workgroups(x, y, z);
    }

    async fn submit(&mut self, commands: wgpu::CommandBuffer, flops: u64) -> Result<()> {
        self.gpu.check()?;
        let started = self.pace.start(flops);
        self.in_flight.push_back((InFlight::submit(&self.gpu, commands), started));
        if self.in_flight.len() > IN_FLIGHT
            && let Some((oldest, started)) = self.in_flight.pop_front()
        {
            oldest.done(&self.gpu).await?;
            self.pace.finish(&started);
        }
        self.gpu.check()
    }

    /// Reads a tensor after everything submitted.
    ///
    /// # Errors
    /// No such tensor, a lost device.
    pub async fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        let bytes = self.read_later(name)?.bytes().await?;
        self.in_flight.clear();
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }

    /// Begins to read a tensor as everything submitted so far leaves it; what is submitted next does not wait for that.
    pub(crate) fn read_later(&self, name: &str) -> Result<Readback> {
        self.gpu.check()?;
        let port = self.port(name)?;
        Ok(Readback::start(&self.gpu, &self.slots[port.slot], 4 * port.shape.elements() as u64))
    }

    /// Bytes of all buffers on the device.
    pub fn bytes(&self) -> u64 {
        let constants: usize = self.plan.constants.iter().map(|c| 4 * c.len()).sum();
        self.plan.activation_bytes() + self.plan.weight_bytes() + (constants + self.plan.parameters.len()) as u64
    }
}

impl Drop for Program {
    /// A browser would keep the memory until it collects garbage. What was submitted is still computed.
    fn drop(&mut self) {
        let buffers = self.slots.iter().chain(self.weights.iter().flatten()).chain(&self.constants);
        buffers.chain([&self.parameters]).for_each(wgpu::Buffer::destroy);
    }
}

/// A slot's label, for the driver's errors: the first node that is computed into it.
fn slot_label(plan: &Plan, slot: usize) -> String {
    let writes = |(buffer, access): &(Buffer, Access)| *buffer == Buffer::Slot(slot) && *access == Access::ReadWrite;
    match plan.dispatches.iter().find(|dispatch| dispatch.buffers.iter().any(writes)) {
        Some(dispatch) => format!("slot {slot}, {} ({})", dispatch.node, dispatch.op),
        None => format!("slot {slot}"),
    }
}

/// The plan's dispatches by segment.
fn segments(plan: &Plan) -> Vec<(Segment, Vec<usize>)> {
    let mut all: Vec<(Segment, Vec<usize>)> = Vec::new();
    for (i, dispatch) in plan.dispatches.iter().enumerate() {
        match all.iter_mut().find(|(segment, _)| *segment == dispatch.segment) {
            Some((_, dispatches)) => dispatches.push(i),
            None => all.push((dispatch.segment, vec![i])),
        }
    }
    all
}
