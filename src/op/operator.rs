//! The trait that every op implements.

use super::lowering::Lowering;
use super::probe::Probe;
use super::variant::Variant;
use crate::device::Caps;
use crate::error::Result;
use crate::tensor::{Shape, Tensor};

/// An operation's shape rule, kernels, CPU reference and probe.
pub trait Operator {
    /// Its name in listings.
    fn name(&self) -> &'static str;

    /// The result's shape.
    ///
    /// # Errors
    /// What does not fit, for a message that names the node.
    fn shape(&self, inputs: &[Shape], params: &[&[usize]]) -> Result<Shape, String>;

    /// The ways to compute it that are legal under `caps`; the first is the default.
    fn variants(&self, _inputs: &[Shape], _output: Shape, _caps: &Caps) -> Vec<Variant> {
        vec![Variant::Naive]
    }

    /// Emits the dispatches of its kernels.
    ///
    /// # Errors
    /// A limit of the device that is too small.
    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()>;

    /// The result on the CPU, in plain loops.
    fn reference(&self, inputs: &[&Tensor], params: &[&[f32]], output: Shape) -> Tensor;

    /// A small problem that runs the same kernels as a node of these shapes; `None` where there is nothing to compute.
    fn probe(&self, inputs: &[Shape], params: &[&[usize]], output: Shape) -> Option<Probe<Self>>
    where
        Self: Sized;

    /// Floating-point operations as the direct algorithm counts them (2 x multiply-adds); 0 where negligible.
    fn flops(&self, _inputs: &[Shape], _output: Shape) -> u64 {
        0
    }
}

/// Exactly `N` operands.
///
/// # Errors
/// Another number of them.
pub(crate) fn operands<const N: usize, T: Copy>(given: &[T]) -> Result<[T; N], String> {
    given.try_into().map_err(|_| format!("{} operands given, {N} expected", given.len()))
}

/// `Ok` where `condition` holds, else the message.
pub(crate) fn ensure(condition: bool, message: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(message()) }
}
