//! What an op asks of the planner: its operands on the device, memory, and dispatches. `plan` implements it.

use super::dispatch::{DispatchBuilder, Resource, ValueId};
use super::variant::Variant;
use crate::error::{Error, Result};
use crate::tensor::Shape;

/// How a parameter lies in device memory. Output channels are padded to a multiple of 4, so that kernels read vec4s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// As it is: biases, norms.
    Vector,
    /// As it is, in rows: embedding tables.
    Table,
    /// `[tap]``[in]``[out]`: convolutions as matrix products, linear layers.
    Taps,
    /// `[(t+2)^2]``[in]``[out]`: G g G^T of Winograd F(t x t, 3 x 3).
    Winograd(usize),
    /// As [`Layout::Taps`], of the transposed weight: input and output channels exchanged and the kernel turned by 180
    /// degrees. The input's gradient of a convolution is the convolution of the output's by these.
    TransposedTaps,
    /// As [`Layout::Winograd`], of the transposed weight.
    TransposedWinograd(usize),
}

/// The node that an op is lowered for, and where its dispatches go.
pub trait Lowering {
    /// The kernel variant chosen for the node.
    fn variant(&self) -> Variant;

    /// The node's operand `i`.
    fn input(&self, i: usize) -> ValueId;

    /// All operands' shapes.
    fn input_shapes(&self) -> &[Shape];

    /// The shape of operand `i`.
    fn input_shape(&self, i: usize) -> Shape {
        self.input_shapes()[i]
    }

    /// The node's result.
    fn output(&self) -> ValueId;

    /// Its shape.
    fn output_shape(&self) -> Shape;

    /// The node's result overwrites operand `i`. Only for the sampler's own state, which no other op reads after this node.
    fn in_place(&mut self, i: usize);

    /// The node's result is a part of operand `i`, from element `first` on, a multiple of 64: there is nothing to compute.
    ///
    /// # Errors
    /// The host reads the result, for which it must begin a buffer.
    fn part(&mut self, i: usize, first: usize) -> Result<()>;

    /// How many parameters the node has.
    fn params(&self) -> usize;

    /// The shape of parameter `i` in the checkpoint.
    fn param_shape(&self, i: usize) -> &[usize];

    /// The define F16 of kernels that read a matrix: 1 where matrices are stored as float16.
    fn f16(&self) -> i64;

    /// The define F16 of kernels that multiply matrices: 2 where they do so in float16.
    fn f16_products(&self) -> i64;

    /// Parameter `i` on the device in `layout`.
    fn weight(&mut self, i: usize, layout: Layout) -> Resource;

    /// Parameters `which`, one after the other in one packed weight buffer.
    fn packed_weights(&mut self, which: &[usize], layout: Layout) -> Resource;

    /// How many parameters of so many `bytes`, at least one, fit a packed weight buffer.
    fn packable(&self, bytes: &[u64]) -> usize;

    /// Parameter `i`, as float32 or `half`, in a layout that is larger than the parameter, if the budget for such layouts
    /// allows it.
    fn expanded_weight(&mut self, i: usize, layout: Layout, half: bool) -> Option<Resource>;

    /// A table computed on the host.
    fn constant(&mut self, data: Vec<f32>) -> Resource;

    /// Memory that lives within the node.
    fn temporary(&mut self, name: &str, elements: usize) -> ValueId;

    /// How many rows of `row_bytes` a chunked kernel's temporary may have.
    fn workspace_rows(&self, row_bytes: usize) -> usize;

    /// Bytes that a kernel can bind of one tensor.
    fn largest_binding(&self) -> u64;

    /// Appends a dispatch.
    ///
    /// # Errors
    /// [`Error::Shader`] where names do not match the shader's, [`Error::Limit`] for a grid that is too large.
    fn emit(&mut self, dispatch: DispatchBuilder) -> Result<()>;

    /// The error of a node that cannot be lowered.
    fn misfit(&self, reason: String) -> Error;
}
