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
    "concat_low_res",
    "conv2d",
    "conv2d_gemm",
    "embedding",
    "gemm",
    "group_norm_affine",
    "group_norm_stats",
    "modulate",
    "noise",
    "predict_xstart",
    "sampler_step",
    "timestep_embedding",
    "unary",
    "winograd_filter",
    "winograd_input",
    "winograd_output",
];

/// What kernels import.
pub const SHARED: &[(&str, &str)] =
    sources!["shared/": "epilogue", "math", "philox", "prologue", "step", "store", "weights"];
