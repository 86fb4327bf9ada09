//! One error type over all layers. Every message says what was wrong, what was expected, and what to do.

use std::ops::ControlFlow;
use std::path::PathBuf;

/// The result of this library's fallible operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error where a caller's answer to progress ends `what`: [`Error::Io`] of the kind `Interrupted`.
pub(crate) fn go_or_stop(what: &str, flow: ControlFlow<()>) -> Result<()> {
    if flow.is_continue() {
        return Ok(());
    }
    Err(Error::io(what, std::io::Error::new(std::io::ErrorKind::Interrupted, "stopped; nothing was written")))
}

/// What can go wrong between a checkpoint and an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },

    /// A checkpoint is malformed: truncated, overlapping, of an unknown type, not what its header says.
    #[error("{file}: not a readable checkpoint: {reason}")]
    Checkpoint {
        /// The file's name, as the user gave it.
        file: String,
        /// What was found and what was expected.
        reason: String,
    },

    /// A checkpoint is well-formed but does not hold the tensors of the configured network.
    #[error("{file}: the tensors do not fit the configuration\n{details}")]
    Tensors {
        /// The file's name, as the user gave it.
        file: String,
        /// Every missing, extra or misshapen tensor, one per line.
        details: String,
    },

    /// The configuration cannot be found from the file, or contradicts itself.
    #[error("configuration: {0}")]
    Config(String),

    /// A sampling option is impossible: a respacing, a label, noise of the wrong shape.
    #[error("{0}")]
    Options(String),

    /// No adapter was found, or none with the wanted name.
    #[error("no GPU adapter: {0}")]
    NoAdapter(String),

    /// The adapter refused a device.
    #[error("the adapter {adapter} gave no device: {reason}")]
    NoDevice {
        /// The adapter's name.
        adapter: String,
        /// The driver's reason.
        reason: String,
    },

    /// The model needs more than the adapter offers.
    #[error("{what} needs {needed} but {adapter} allows {limit} ({name}); {advice}")]
    Limit {
        /// The tensor, step or buffer that is too large.
        what: String,
        /// The adapter's name.
        adapter: String,
        /// The WebGPU name of the limit.
        name: &'static str,
        /// What is needed, with its unit.
        needed: String,
        /// What is allowed, with its unit.
        limit: String,
        /// What would fit.
        advice: String,
    },

    /// What was asked for needs an optional feature of WebGPU.
    #[error("{what} needs the feature {name}, which {adapter} lacks; {advice}")]
    Feature {
        /// What was asked for.
        what: String,
        /// The adapter's name.
        adapter: String,
        /// The WebGPU name of the feature.
        name: &'static str,
        /// What works without it.
        advice: String,
    },

    /// A shader or pipeline was refused by the driver.
    #[error("shader {kernel}: {reason}")]
    Shader {
        /// The kernel's name and specialisation.
        kernel: String,
        /// The compiler's message.
        reason: String,
    },

    /// The sampled images hold infinities or NaN.
    #[error("{0}")]
    NotFinite(String),

    /// A kernel computes wrong values on this driver and has no other variant left.
    #[error("self-test: {0}")]
    SelfTest(String),

    /// The device ran out of memory.
    #[error("out of GPU memory: {0}")]
    OutOfMemory(String),

    /// The device was lost during the work.
    #[error("the GPU device was lost: {0}; start again, with a smaller batch if it repeats")]
    DeviceLost(String),

    /// The driver reported an error that is a defect of this library.
    #[error("internal GPU error (please report it): {0}")]
    Gpu(String),
}

impl Error {
    /// Attaches a path to an operating system error.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}
