//! The operations of the network. One file an op: its parameters, its shape rule (which validates), the kernels it
//! lowers to, and a plain CPU reference used by tests and the self-test alone.
//!
//! Primitive ops are what the model files and the gradient rules speak; `graph::fuse` turns chains of them into the
//! fused forms (`Conv2d` with a prologue and an epilogue, `GroupNormAffine`, `Modulate`) that lower to kernels.

pub mod add;
pub mod attention;
pub mod concat;
pub mod conv2d;
pub mod embedding;
pub mod group_norm;
pub mod low_res;
pub mod modulate;
pub mod sampling;
pub mod scale_shift;
pub mod timestep_embedding;
pub mod unary;

use crate::error::Result;
use crate::graph::{Shape, Tensor};
use crate::plan::Caps;
use crate::plan::lowering::Lowering;
use crate::plan::select::Variant;

pub use add::{Add, AddEmbedding};
pub use attention::Attention;
pub use concat::Concat;
pub use conv2d::{Conv2d, Epilogue, Prologue};
pub use embedding::LabelEmbedding;
pub use group_norm::{GroupNorm, GroupNormAffine};
pub use low_res::ConcatLowRes;
pub use modulate::{Modulate, Resample};
pub use sampling::{DrawNoise, PredictXStart, SamplerStep, StartFromNoise};
pub use scale_shift::ScaleShift;
pub use timestep_embedding::TimestepEmbedding;
pub use unary::Unary;

/// What every op knows about itself.
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
        vec![Variant::Only]
    }

    /// Emits the kernels' steps.
    ///
    /// # Errors
    /// A limit of the device that is too small.
    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()>;

    /// The plain meaning, on the CPU.
    fn reference(&self, inputs: &[&Tensor], params: &[&[f32]], output: Shape) -> Tensor;

    /// Floating-point operations as the direct algorithm counts them (2 x multiply-adds); 0 where negligible.
    fn flops(&self, _inputs: &[Shape], _output: Shape) -> u64 {
        0
    }
}

macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// An operation.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Op {
            /// Written by the host.
            Input,
            $($(#[$doc])* $name($name)),*
        }

        impl Op {
            /// The op's behaviour.
            pub fn operator(&self) -> &dyn Operator {
                match self {
                    Self::Input => &Input,
                    $(Self::$name(op) => op),*
                }
            }
        }

        $(impl From<$name> for Op {
            fn from(op: $name) -> Self {
                Self::$name(op)
            }
        })*
    };
}

ops! {
    /// Sum of two tensors.
    Add,
    /// Adds a vector a sample to every pixel.
    AddEmbedding,
    /// Multi-head attention over pixels.
    Attention,
    /// Joins channels.
    Concat,
    /// Appends the bilinearly enlarged low-resolution image.
    ConcatLowRes,
    /// Convolution or linear layer.
    Conv2d,
    /// Normal draws by Philox.
    DrawNoise,
    /// Group normalization.
    GroupNorm,
    /// Group normalization's affine map.
    GroupNormAffine,
    /// Adds a row of an embedding table.
    LabelEmbedding,
    /// Affine map, SiLU, resampling, joining.
    Modulate,
    /// The predicted x_0.
    PredictXStart,
    /// Doubles or halves the image.
    Resample,
    /// One step of a sampler.
    SamplerStep,
    /// x * (1 + scale) + shift.
    ScaleShift,
    /// The first x.
    StartFromNoise,
    /// Sinusoidal timestep embedding.
    TimestepEmbedding,
    /// SiLU or ReLU.
    Unary,
}

/// The host's own node: nothing to compute.
struct Input;

impl Operator for Input {
    fn name(&self) -> &'static str {
        "input"
    }

    fn shape(&self, _: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        Err("an input has no shape rule".into())
    }

    fn lower(&self, _: &mut Lowering<'_>) -> Result<()> {
        Ok(())
    }

    fn reference(&self, _: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        Tensor { shape: output, data: Vec::new() }
    }
}

/// Exactly `N` operands, or a message.
pub(crate) fn operands<const N: usize, T: Copy>(given: &[T]) -> Result<[T; N], String> {
    given.try_into().map_err(|_| format!("{} operands given, {N} expected", given.len()))
}

/// `Ok` where `condition` holds, else the message.
pub(crate) fn ensure(condition: bool, message: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(message()) }
}
