//! The operations of the network. One file per op, or per few that belong together: its parameters, its shape rule (which validates), the kernels it
//! lowers to, a plain CPU reference used only by tests and the self-test, and the self-test's small problem.
//!
//! Primitive ops are what the model files and the gradient rules speak; `graph::fuse` turns chains of them into the
//! fused forms (`Conv2d` with a prologue and an epilogue, `GroupNormAffine`, `Modulate`). All of them lower to kernels:
//! fusing saves passes over memory, and a graph computes the same without it.

pub mod add;
pub mod attention;
pub mod attention_grad;
mod bands;
pub mod concat;
pub mod conv2d;
pub mod dispatch;
pub mod emb_layers;
pub mod embedding;
mod estimate;
pub mod fused;
pub mod group_norm;
pub mod group_norm_grad;
mod legal;
pub mod log_softmax;
pub mod low_res;
pub mod lowering;
pub mod modulate;
pub mod noise;
pub mod operator;
pub mod philox;
pub mod pooling;
pub mod probe;
pub mod project;
pub mod rearrange;
pub mod resample;
pub mod sampling;
pub mod threshold;
pub mod timestep_embedding;
pub mod unary;
pub mod variant;
mod winograd;

use crate::error::Result;
use crate::tensor::{Shape, Tensor};
use lowering::Lowering;
use probe::Probe;

pub use add::{Add, AddEmbedding};
pub use attention::Attention;
pub use attention_grad::AttentionGrad;
pub use concat::Concat;
pub use conv2d::Conv2d;
pub use emb_layers::{EmbLayer, EmbLayers};
pub use embedding::LabelEmbedding;
pub use fused::{Epilogue, Prologue};
pub use group_norm::{GroupNorm, GroupNormAffine};
pub use group_norm_grad::GroupNormGrad;
pub use log_softmax::LogSoftmaxGrad;
pub use low_res::ConcatLowRes;
pub use modulate::Modulate;
pub use noise::{DrawNoise, StartFromNoise};
pub use operator::Operator;
pub use pooling::{Pooled, Pooling};
pub use project::Project;
pub use rearrange::{Dilate, Slice};
pub use resample::Resample;
pub use sampling::{PredictXStart, SamplerStep, ScaleInput};
pub use threshold::Threshold;
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

            /// A small problem that runs the same kernels as a node of these shapes; `None` where there is nothing to
            /// compute.
            pub fn probe(&self, inputs: &[Shape], params: &[&[usize]], output: Shape) -> Option<Probe<Self>> {
                match self {
                    Self::Input => None,
                    $(Self::$name(op) => op.probe(inputs, params, output).map(Probe::into)),*
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
    /// Adds a vector per sample to every pixel.
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
    /// Group normalization, adaptive or not.
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
    /// Means and tokens of classifier heads.
    Pooling,
    /// The predicted x_0.
    PredictXStart,
    /// An edit's part of a step.
    Project,
    /// 2x nearest upsampling or 2x2 average pooling.
    Resample,
    /// One step of a sampler.
    SamplerStep,
    /// The network's input, scaled.
    ScaleInput,
    /// A range of channels.
    Slice,
    /// The first x.
    StartFromNoise,
    /// Dynamic thresholding.
    Threshold,
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

    fn lower(&self, _: &mut dyn Lowering) -> Result<()> {
        Ok(())
    }

    fn reference(&self, _: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        Tensor { shape: output, data: Vec::new() }
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        None
    }
}

impl From<Pooled> for Op {
    fn from(pooled: Pooled) -> Self {
        Self::Pooling(pooled.into())
    }
}
