//! Small named problems of every op and fused form, with their results by the plain CPU reference.
//!
//! One table drives the tests on every adapter and in browsers, the check of the shaders' texts and, by shrunken copies
//! of a network's own nodes, the self-test at start. Odd sizes, tails and batches are the point: a kernel that is right
//! here has met its edges.

mod convolution;
mod gradient;
mod network;
mod sampling;
mod shrink;

use half::f16;

use super::Op;
use crate::checkpoint::synthetic;
use crate::device::{Caps, Precision};
use crate::error::{Error, Result};
use crate::graph::{Graph, Param, TensorId, fuse, reference};
use crate::op::variant::Variant;
use crate::plan::tuning::VariantOverrides;
use crate::plan::{Plan, PlanOptions};
use crate::tensor::Shape;

pub use shrink::shrunken;

/// The tensor that a case yields.
pub const OUT: &str = "out";

/// Relative L2 error that a kernel may have. All sum in float32 (6e-8 an operation, a few hundred terms here, against a
/// reference in float64), and float16 weights are compared with weights so rounded. Two software drivers stay under
/// 1e-6, but for Winograd F(4x4), whose transforms cancel: 1.4e-6. The rest is room for drivers with other fused
/// multiply-adds and reciprocals.
pub const TOLERANCE: f64 = 1e-5;

/// The same where products are float16. Both factors are rounded by up to 2^-11 (of the weights the reference sees that
/// rounding, of the values it does not), as are the products and the sums of four: about 2^-12.5 each in the mean square,
/// 4e-4 together. Errors and terms of longer sums grow alike, with the root of their number. The rest is room for results
/// that are small beside what was summed, for Winograd F(2x2), whose transforms double it (1e-3), and for softmax, which
/// makes a score's absolute error a weight's relative one: the larger the scores, the more (2.6e-3 where they are peaked).
pub const F16_TOLERANCE: f64 = 4e-3;

/// The tolerance at a precision.
pub fn tolerance(precision: Precision) -> f64 {
    if precision == Precision::F16 { F16_TOLERANCE } else { TOLERANCE }
}

/// An operand's elements.
#[derive(Debug, Clone)]
pub(crate) enum Values {
    /// The noise stream of the operand's name, times the first, plus the second.
    Noise(f32, f32),
    /// As given.
    Floats(Vec<f32>),
    /// Bits that the reference sees as floats too.
    Words(Vec<u32>),
    /// Integers, which the reference sees as floats of the same value.
    Labels(Vec<u32>),
}

/// An operand of a case's node.
#[derive(Debug, Clone)]
pub(crate) struct Operand {
    pub shape: Shape,
    pub values: Values,
}

/// Noise of about unit variance.
pub(crate) fn noise(shape: Shape) -> Operand {
    spread(shape, 1.0, 0.0)
}

/// Noise, times `scale`, plus `offset`.
pub(crate) fn spread(shape: Shape, scale: f32, offset: f32) -> Operand {
    Operand { shape, values: Values::Noise(scale, offset) }
}

/// A vector of one value a sample.
pub(crate) fn scalars(values: &[f32]) -> Operand {
    Operand { shape: Shape::vector(values.len(), 1), values: Values::Floats(values.to_vec()) }
}

/// One label a sample.
pub(crate) fn labels(values: &[u32]) -> Operand {
    Operand { shape: Shape::vector(values.len(), 1), values: Values::Labels(values.to_vec()) }
}

/// A vector of bits, shared by all samples.
pub(crate) fn words(values: &[u32]) -> Operand {
    Operand { shape: Shape::vector(1, values.len()), values: Values::Words(values.to_vec()) }
}

/// One problem.
#[derive(Debug, Clone)]
pub struct Case {
    /// What is special about it.
    pub name: String,
    /// What is computed.
    graph: Graph,
    /// What is planned.
    fused: Graph,
    operands: Vec<Operand>,
}

impl Case {
    /// One node, planned as it is.
    pub(crate) fn new(
        name: impl Into<String>,
        op: impl Into<Op>,
        operands: Vec<Operand>,
        params: &[&[usize]],
    ) -> Result<Self> {
        let op = op.into();
        let mut case = Self::build(name, operands, |graph, inputs| {
            let name = |i: usize| format!("{i}.{}", if i.is_multiple_of(2) { "weight" } else { "bias" });
            let params: Vec<_> = (0..).zip(params).map(|(i, shape)| graph.param(name(i), shape)).collect();
            graph.push("node", op, inputs, &params)
        })?;
        case.fused.clone_from(&case.graph);
        Ok(case)
    }

    /// A chain of primitive nodes, fused before it is planned.
    pub(crate) fn fused(
        name: impl Into<String>,
        operands: Vec<Operand>,
        build: impl FnOnce(&mut Graph, &[TensorId]) -> Result<TensorId>,
    ) -> Result<Self> {
        let mut case = Self::build(name, operands, build)?;
        case.fused = fuse::fuse(&case.graph)?;
        Ok(case)
    }

    fn build(
        name: impl Into<String>,
        operands: Vec<Operand>,
        build: impl FnOnce(&mut Graph, &[TensorId]) -> Result<TensorId>,
    ) -> Result<Self> {
        let mut graph = Graph::default();
        let inputs: Vec<TensorId> =
            operands.iter().enumerate().map(|(i, operand)| graph.input(&input_name(i), operand.shape)).collect();
        let out = build(&mut graph, &inputs)?;
        graph.output(OUT, out);
        Ok(Self { name: name.into(), graph, fused: Graph::default(), operands })
    }

    /// The ops that it covers, the primitive ones and those they are fused into.
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        self.graph.nodes.iter().chain(&self.fused.nodes).map(|node| &node.op).filter(|op| **op != Op::Input)
    }

    /// What tells it from other cases: ops, shapes and parameters.
    pub fn key(&self) -> String {
        let shapes: Vec<&[usize]> = self.fused.params.iter().map(|param| param.shape.as_slice()).collect();
        let nodes = self.fused.nodes.iter().map(|node| format!("{:?} {}", node.op, node.shape));
        format!("{} {shapes:?}", nodes.collect::<Vec<_>>().join(" "))
    }

    /// Whether float16 storage changes anything.
    pub fn has_matrices(&self) -> bool {
        self.fused.params.iter().any(|param| param.shape.len() > 1)
    }

    /// The kernels that may compute it.
    pub fn variants(&self, caps: &Caps) -> Vec<Variant> {
        let mut variants = Vec::new();
        for node in self.fused.nodes.iter().filter(|node| node.op != Op::Input) {
            let shapes: Vec<Shape> = node.inputs.iter().map(|id| self.fused.shape(*id)).collect();
            for variant in node.op.operator().variants(&shapes, node.shape, caps) {
                if !variants.contains(&variant) {
                    variants.push(variant);
                }
            }
        }
        variants
    }

    /// Its plan by `variant`.
    ///
    /// # Errors
    /// A device that is too small.
    pub fn plan(&self, caps: &Caps, variant: Variant, precision: Precision) -> Result<Plan> {
        let overrides = VariantOverrides::from([("*".to_owned(), variant)]);
        Plan::new(&self.fused, caps, &PlanOptions { precision, overrides, ..PlanOptions::default() })
    }

    /// What the host writes: names, and elements as the device has them.
    pub fn inputs(&self) -> impl Iterator<Item = (String, Vec<u32>)> {
        let floats = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
        self.operands.iter().enumerate().map(move |(i, operand)| {
            let data = match &operand.values {
                Values::Labels(labels) => labels.clone(),
                _ => floats(operand.elements(&input_name(i))),
            };
            (input_name(i), data)
        })
    }

    /// Its parameters and their elements.
    pub fn weights(&self) -> impl Iterator<Item = (&str, Vec<f32>)> {
        self.fused.params.iter().map(|param| (param.name.as_str(), synthetic::weight(&param.name, &param.shape, 0)))
    }

    /// The result by the plain reference; where matrices are stored as float16, of the matrices so rounded.
    ///
    /// # Errors
    /// None for a case of the table.
    pub fn expected(&self, precision: Precision) -> Result<Vec<f32>> {
        let input = |name: &str| {
            let found = self.operands.iter().enumerate().find(|(i, _)| input_name(*i) == name);
            let (_, operand) = found.ok_or_else(|| Error::Options(format!("no operand named {name}")))?;
            Ok(operand.elements(name))
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
}

impl Operand {
    /// The elements as the reference takes them.
    fn elements(&self, name: &str) -> Vec<f32> {
        match &self.values {
            Values::Noise(scale, offset) => {
                let stream = synthetic::noise(name, self.shape.elements(), 0);
                stream.into_iter().map(|v| v * scale + offset).collect()
            }
            Values::Floats(values) => values.clone(),
            Values::Words(words) => words.iter().map(|w| f32::from_bits(*w)).collect(),
            Values::Labels(labels) => labels.iter().map(|l| *l as f32).collect(),
        }
    }
}

fn input_name(i: usize) -> String {
    format!("input{i}")
}

/// The whole table.
///
/// # Errors
/// A case that its op's shape rule refuses, which is a defect of the table.
pub fn table() -> Result<Vec<Case>> {
    let parts = [convolution::cases()?, network::cases()?, gradient::cases()?, sampling::cases()?];
    Ok(parts.into_iter().flatten().collect())
}
