//! The table of WGSL sources; a test asserts that it and `shaders/` agree.

macro_rules! sources {
    ($folder:literal: $($stem:literal),* $(,)?) => {
        &[$(($stem, {
            const TEXT: &str = include_str!(concat!("../../shaders/", $folder, $stem, ".wgsl"));
            const STRIPPED: [u8; TEXT.len()] = stripped(TEXT);
            if cfg!(target_arch = "wasm32") { trimmed(&STRIPPED) } else { TEXT }
        })),*]
    };
}

/// A source without its comments and indents, then zeros: in a browser's program, whose visitors download it.
const fn stripped<const N: usize>(text: &str) -> [u8; N] {
    let text = text.as_bytes();
    let (mut out, mut len, mut at, mut begins) = ([0; N], 0, 0, true);
    while at < text.len() {
        let byte = text[at];
        if byte == b'/' && at + 1 < text.len() && text[at + 1] == b'/' {
            while at < text.len() && text[at] != b'\n' {
                at += 1;
            }
            continue;
        }
        at += 1;
        if begins && (byte == b' ' || byte == b'\n') {
            continue;
        }
        begins = byte == b'\n';
        out[len] = byte;
        len += 1;
    }
    out
}

/// The text before the zeros.
const fn trimmed(bytes: &'static [u8]) -> &'static str {
    let mut len = bytes.len();
    while len > 0 && bytes[len - 1] == 0 {
        len -= 1;
    }
    match str::from_utf8(bytes.split_at(len).0) {
        Ok(text) => text,
        Err(_) => "",
    }
}

/// Every kernel: stem, template.
pub const KERNELS: &[(&str, &str)] = sources!["":
    "add",
    "attention",
    "attention_grad_key",
    "attention_grad_query",
    "attention_sum",
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
    "group_norm_grad_apply",
    "group_norm_grad_means",
    "group_norm_grad_sums",
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
pub const SHARED: &[(&str, &str)] = sources!["shared/": "attention", "elementwise", "epilogue", "factors", "finite", "gemm_rows", "group_norm", "group_norm_fold", "math", "philox", "prologue", "row", "store", "weights"];
