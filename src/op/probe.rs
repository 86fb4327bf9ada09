//! Small problems by which the self-test checks a device's kernels: each op's `probe` gives one that runs the same kernels
//! as a node of a real network, with few elements.

use crate::tensor::Shape;

/// An operand's elements.
#[derive(Debug, Clone)]
pub enum Values {
    /// A stream of noise by the operand's name, times the first, plus the second.
    Noise(f32, f32),
    /// As given.
    Floats(Vec<f32>),
    /// Bits that the reference sees as floats too.
    Words(Vec<u32>),
    /// Integers, which the reference sees as floats of the same value.
    Labels(Vec<u32>),
}

/// An operand of a probe's node.
#[derive(Debug, Clone)]
pub struct Operand {
    /// Its shape.
    pub shape: Shape,
    /// Its elements.
    pub values: Values,
}

/// A small problem: an op, its operands, and the shapes of its parameters.
#[derive(Debug, Clone)]
pub struct Probe<O> {
    /// The op, with small sizes where it holds any.
    pub op: O,
    /// Its operands.
    pub operands: Vec<Operand>,
    /// Shapes of its parameters.
    pub params: Vec<Vec<usize>>,
}

impl<O> Probe<O> {
    /// Of an op without parameters.
    pub fn new(op: O, operands: Vec<Operand>) -> Self {
        Self { op, operands, params: Vec::new() }
    }

    /// With parameters of these shapes.
    #[must_use]
    pub fn with_params(self, params: &[&[usize]]) -> Self {
        Self { params: params.iter().map(|shape| shape.to_vec()).collect(), ..self }
    }

    /// The same with the op as another type.
    pub fn into<P: From<O>>(self) -> Probe<P> {
        Probe { op: self.op.into(), operands: self.operands, params: self.params }
    }
}

/// Noise of about unit variance.
pub fn noise(shape: Shape) -> Operand {
    spread(shape, 1.0, 0.0)
}

/// Noise, times `scale`, plus `offset`.
pub fn spread(shape: Shape, scale: f32, offset: f32) -> Operand {
    Operand { shape, values: Values::Noise(scale, offset) }
}

/// One value per sample.
pub fn scalars(values: &[f32]) -> Operand {
    Operand { shape: Shape::vector(values.len(), 1), values: Values::Floats(values.to_vec()) }
}

/// One label per sample.
pub fn labels(values: &[u32]) -> Operand {
    Operand { shape: Shape::vector(values.len(), 1), values: Values::Labels(values.to_vec()) }
}

/// A vector of bits, shared by all samples.
pub fn words(values: &[u32]) -> Operand {
    Operand { shape: Shape::vector(1, values.len()), values: Values::Words(values.to_vec()) }
}

/// An image or feature map of 3x3 pixels and 5 channels, which fill no vec4.
pub const TINY: Shape = Shape::new(2, 3, 3, 5);
/// The same of 8 channels, for kernels that read vec4s.
pub const TINY4: Shape = Shape::new(2, 3, 3, 8);
