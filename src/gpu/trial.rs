//! A small graph with its operands, computed by a device's kernels and by the plain CPU reference: for the self-test, and for
//! the tests of every op.

use std::sync::Arc;

use half::f16;

use super::adapter::Gpu;
use super::program::Program;
use crate::checkpoint::synthetic;
use crate::device::Precision;
use crate::error::{Error, Result};
use crate::graph::{Graph, Param, Segment, TensorId, reference};
use crate::op::Op;
use crate::op::probe::{Operand, Probe, Values};
use crate::plan::Plan;

/// The tensor that a trial yields.
const OUT: &str = "out";

/// A graph with its operands.
#[derive(Debug, Clone)]
pub struct Trial {
    graph: Graph,
    operands: Vec<Operand>,
}

impl Trial {
    /// The graph that `build` makes of these operands, which returns its result.
    ///
    /// # Errors
    /// What `build` returns.
    pub fn new(
        operands: Vec<Operand>,
        build: impl FnOnce(&mut Graph, &[TensorId]) -> Result<TensorId>,
    ) -> Result<Self> {
        let mut graph = Graph::default();
        let inputs: Vec<TensorId> =
            operands.iter().enumerate().map(|(i, operand)| graph.input(&input_name(i), operand.shape)).collect();
        let out = build(&mut graph, &inputs)?;
        graph.output(OUT, out);
        Ok(Self { graph, operands })
    }

    /// The graph of a probe's op.
    ///
    /// # Errors
    /// Operands that the op's shape rule refuses, which is a defect of the probe.
    pub fn of(probe: Probe<Op>) -> Result<Self> {
        let Probe { op, operands, params } = probe;
        Self::new(operands, |graph, inputs| {
            let name = |i: usize| format!("{i}.{}", if i.is_multiple_of(2) { "weight" } else { "bias" });
            let params: Vec<_> = (0..).zip(params).map(|(i, shape)| graph.param(name(i), &shape)).collect();
            graph.push("node", op, inputs, &params)
        })
    }

    /// What is computed.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What distinguishes it from other trials: ops, shapes and parameters.
    pub fn key(&self) -> String {
        let shapes: Vec<&[usize]> = self.graph.params.iter().map(|param| param.shape.as_slice()).collect();
        let nodes = self.graph.nodes.iter().map(|node| format!("{:?} {}", node.op, node.shape));
        format!("{} {shapes:?}", nodes.collect::<Vec<_>>().join(" "))
    }

    /// The result by the plain reference; where matrices are stored as float16, of the matrices so rounded.
    ///
    /// # Errors
    /// None for a trial that was made.
    pub fn expected(&self, precision: Precision) -> Result<Vec<f32>> {
        let input = |name: &str| {
            let found = self.operands.iter().enumerate().find(|(i, _)| input_name(*i) == name);
            let (_, operand) = found.ok_or_else(|| Error::Options(format!("no operand named {name}")))?;
            Ok(elements(operand, name))
        };
        let param = |param: &Param| {
            let mut data = synthetic::weight(&param.name, &param.shape, 0);
            // Biases and norms stay float32.
            if precision.stores_f16() && param.shape.len() > 1 {
                data.iter_mut().for_each(|v| *v = f16::from_f32(*v).to_f32());
            }
            Ok(data)
        };
        let mut values = reference::evaluate(&self.graph, input, param)?;
        Ok(values.pop().map(|tensor| tensor.data).unwrap_or_default())
    }

    /// The result by `plan`, a plan of the graph or of what it was fused into.
    ///
    /// # Errors
    /// A refused shader, a lost device.
    pub async fn run(&self, gpu: &Arc<Gpu>, plan: Plan) -> Result<Vec<f32>> {
        let mut program = Program::new(gpu, plan).await?;
        for param in &self.graph.params {
            program.upload(&param.name, &synthetic::weight(&param.name, &param.shape, 0)).await?;
        }
        program.seal()?;
        for (i, operand) in self.operands.iter().enumerate() {
            let name = input_name(i);
            match &operand.values {
                Values::Labels(words) | Values::Words(words) => program.write(&name, words)?,
                _ => program.write(&name, &elements(operand, &name))?,
            }
        }
        program.run(Segment::Network).await?;
        program.read(OUT).await
    }
}

/// The elements as the reference takes them.
fn elements(operand: &Operand, name: &str) -> Vec<f32> {
    match &operand.values {
        Values::Noise(scale, offset) => {
            let stream = synthetic::noise(name, operand.shape.elements(), 0);
            stream.into_iter().map(|v| v * scale + offset).collect()
        }
        Values::Floats(values) => values.clone(),
        Values::Words(words) => words.iter().map(|w| f32::from_bits(*w)).collect(),
        Values::Labels(labels) => labels.iter().map(|l| *l as f32).collect(),
    }
}

fn input_name(i: usize) -> String {
    format!("input{i}")
}
