//! The smallest models that have everything: for tests of what surrounds the networks.

use guided_diffusion::config::{DiffusionConfig, ModelConfig, NoiseSchedule, Pool, Role, UNetConfig};

/// 8x8 images of ten classes, or an upsampler from them to 16x16, or a classifier of them.
pub fn tiny(role: Role) -> ModelConfig {
    let (size, inputs, outputs) = match role {
        Role::Diffusion => (8, 3, 6),
        Role::Upsampler => (16, 6, 6),
        Role::Classifier => (8, 3, 10),
    };
    ModelConfig::new(
        role,
        UNetConfig {
            image_size: size,
            in_channels: inputs,
            model_channels: 32,
            out_channels: outputs,
            num_res_blocks: 1,
            channel_mult: vec![1.0, 1.0],
            attention_resolutions: vec![size / 2],
            num_classes: if role == Role::Classifier { 0 } else { 10 },
            num_heads: 2,
            num_head_channels: if role == Role::Classifier { 16 } else { 0 },
            resblock_updown: true,
            use_scale_shift_norm: true,
            use_new_attention_order: false,
            pool: (role == Role::Classifier).then_some(Pool::Attention),
            attention_conv2d: false,
        },
        DiffusionConfig::new(1000, NoiseSchedule::Linear),
    )
}
