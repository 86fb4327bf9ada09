//! The operations of the network. One file an op: its parameters, its shape rule (which validates), the kernels it
//! lowers to, and a plain CPU reference used by tests and the self-test alone.
//!
//! Primitive ops are what the model files and the gradient rules speak; `graph::fuse` turns chains of them into the
//! fused forms (`Conv2d` with a prologue and an epilogue, `GroupNormAffine`, `Modulate`) that lower to kernels.

pub mod add;
pub mod attention;
pub mod attention_grad;
#[doc(hidden)]
pub mod cases;
pub mod concat;
pub mod conv2d;
pub mod dispatch;
pub mod elementwise_grad;
pub mod emb_layers;
pub mod embedding;
pub mod fused;
pub mod group_norm;
pub mod group_norm_grad;
pub mod log_softmax;
pub mod low_res;
pub mod lowering;
pub mod modulate;
pub mod operator;
pub mod philox;
pub mod pooling;
pub mod rearrange;
pub mod resample;
pub mod sampling;
pub mod scale_shift;
pub mod timestep_embedding;
pub mod unary;
pub mod variant;

use crate::error::Result;
use crate::tensor::{Shape, Tensor};
use lowering::Lowering;

pub use add::{Add, AddEmbedding};
pub use attention::Attention;
pub use attention_grad::AttentionGrad;
pub use concat::Concat;
pub use conv2d::Conv2d;
pub use elementwise_grad::{ResampleGrad, ScaleShiftGrad, UnaryGrad};
pub use emb_layers::{EmbLayer, EmbLayers};
pub use embedding::LabelEmbedding;
pub use fused::{Epilogue, Prologue};
pub use group_norm::{GroupNorm, GroupNormAffine};
pub use group_norm_grad::GroupNormGrad;
pub use log_softmax::LogSoftmaxGrad;
pub use low_res::ConcatLowRes;
pub use modulate::Modulate;
pub use operator::Operator;
pub use pooling::{FirstToken, FirstTokenGrad, GlobalMean, GlobalMeanGrad, PoolTokens, PoolTokensGrad};
pub use rearrange::{Dilate, Slice};
pub use resample::Resample;
pub use sampling::{DrawNoise, PredictXStart, SamplerStep, StartFromNoise};
pub use scale_shift::ScaleShift;
pub use timestep_embedding::TimestepEmbedding;
pub use unary::Unary;
pub use variant::Variant;

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
            /// Every variant's name.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

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
    /// Its gradient.
    AttentionGrad,
    /// Joins channels.
    Concat,
    /// Appends the bilinearly enlarged low-resolution image.
    ConcatLowRes,
    /// Convolution or linear layer.
    Conv2d,
    /// Puts zeros between pixels.
    Dilate,
    /// Normal draws by Philox.
    DrawNoise,
    /// One of several linear layers' results.
    EmbLayer,
    /// Linear layers that read the same vector.
    EmbLayers,
    /// The first of a sample's tokens.
    FirstToken,
    /// Its gradient.
    FirstTokenGrad,
    /// Mean over pixels.
    GlobalMean,
    /// Its gradient.
    GlobalMeanGrad,
    /// Group normalization.
    GroupNorm,
    /// Group normalization's affine map.
    GroupNormAffine,
    /// Gradient of group normalization and what follows it.
    GroupNormGrad,
    /// Adds a row of an embedding table.
    LabelEmbedding,
    /// Gradient of the log probability of a label.
    LogSoftmaxGrad,
    /// Affine map, SiLU, resampling, joining.
    Modulate,
    /// Tokens of attention pooling.
    PoolTokens,
    /// Its gradient.
    PoolTokensGrad,
    /// The predicted x_0.
    PredictXStart,
    /// Doubles or halves the image.
    Resample,
    /// Its gradient.
    ResampleGrad,
    /// One step of a sampler.
    SamplerStep,
    /// x * (1 + scale) + shift.
    ScaleShift,
    /// Its gradient.
    ScaleShiftGrad,
    /// A run of channels.
    Slice,
    /// The first x.
    StartFromNoise,
    /// Sinusoidal timestep embedding.
    TimestepEmbedding,
    /// SiLU or ReLU.
    Unary,
    /// Its gradient.
    UnaryGrad,
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

    fn lower(&self, _: &mut dyn Lowering) -> Result<()> {
        Ok(())
    }

    fn reference(&self, _: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        Tensor { shape: output, data: Vec::new() }
    }
}
