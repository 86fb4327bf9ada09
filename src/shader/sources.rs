//! The table of WGSL sources; a test asserts that it and `shaders/` agree.

macro_rules! sources {
    ($folder:literal: $($stem:literal),* $(,)?) => {
        &[$(($stem, include_str!(concat!("../../shaders/", $folder, $stem, ".wgsl")))),*]
    };
}

/// Every kernel: stem, template.
pub const KERNELS: &[(&str, &str)] = sources!["":
    "add",
    "attention",
    "attention_grad_key",
    "attention_grad_query",
    "attention_tile",
    "concat_low_res",
    "conv2d",
    "conv2d_block",
    "dilate",
    "emb_layers",
    "embedding",
    "gemm",
    "gemm_cooperative",
    "gemm_sum",
    "gemm_workgroup",
    "group_norm_affine",
    "group_norm_grad",
    "group_norm_grad_apply",
    "group_norm_grad_means",
    "group_norm_grad_sums",
    "group_norm_moments",
    "group_norm_stats",
    "log_softmax_grad",
    "modulate",
    "noise",
    "pooling",
    "predict_xstart",
    "project",
    "sampler_step",
    "scale_input",
    "slice",
    "threshold",
    "timestep_embedding",
    "unary",
    "winograd_filter",
    "winograd_input",
    "winograd_output",
];

/// What kernels import.
pub const SHARED: &[(&str, &str)] = sources!["shared/": "elementwise", "epilogue", "factors", "gemm_rows", "group_norm", "math", "philox", "prologue", "row", "store", "weights"];
