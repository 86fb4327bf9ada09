//! A device as plain data: its limits, and the precision of the work on it.

/// Limits and abilities of a device, as far as plans depend on them.
#[derive(Debug, Clone, PartialEq)]
pub struct Caps {
    /// The adapter's name, for messages.
    pub adapter: String,
    /// Bytes of the largest buffer.
    pub max_buffer_size: u64,
    /// Bytes of the largest storage binding.
    pub max_binding_size: u64,
    /// Workgroups per dimension of a dispatch.
    pub max_workgroups: u32,
    /// Storage buffers that a kernel may bind.
    pub max_storage_buffers: u32,
    /// Floating-point operations per dispatch at most, where its rows can be split: a driver resets a device whose submission
    /// takes about two seconds.
    pub most_work: u64,
    /// Kernels may compute in float16.
    pub shader_f16: bool,
    /// Convolutions and linear layers multiply in float16 ([`Caps::at`]).
    pub f16_products: bool,
    /// Invocations of a subgroup, where kernels may use subgroup operations and every subgroup has that many.
    pub subgroup: Option<usize>,
    /// Rows and columns of the cooperative matrices (float16 factors, float32 sums) that kernels may multiply: tensor cores.
    /// Subgroups then have 32 invocations.
    pub cooperative: Option<usize>,
    /// The driver computes on the CPU. Such drivers read memory value by value, so that kernels with much arithmetic per
    /// value are fastest; GPUs need many invocations.
    pub software: bool,
    /// Bytes of one kernel's workspace, such as Winograd's transformed inputs; what takes more is done in turn.
    pub workspace: u64,
    /// Bytes that weights in the Winograd domain may take, which replace the stored ones and are up to four times as
    /// large.
    pub transformed_weights: u64,
    /// A GPU whose invocations may have 128 registers and more, so that larger tiles of matrix products fit; Intel's have
    /// fewer, and of a browser's GPU it is not known.
    pub wide_registers: bool,
    /// An NVIDIA GPU, or a driver on the CPU: matrix products read ahead. The compilers of AMD and Intel spill registers where they
    /// do.
    pub reads_ahead: bool,
}

impl Caps {
    /// Takes 0.2 s of a slow integrated GPU.
    pub const MOST_WORK: u64 = 8_000_000_000;
    /// Takes 0.2 s of a slow discrete GPU; a fast one would idle between smaller dispatches.
    pub const MOST_WORK_DISCRETE: u64 = 64_000_000_000;

    /// What every WebGPU implementation offers.
    pub fn webgpu_defaults() -> Self {
        Self {
            adapter: "WebGPU's default limits".into(),
            max_buffer_size: 256 << 20,
            max_binding_size: 128 << 20,
            max_workgroups: 65_535,
            max_storage_buffers: 8,
            most_work: Self::MOST_WORK,
            shader_f16: false,
            f16_products: false,
            subgroup: None,
            cooperative: None,
            software: false,
            workspace: Self::workspace(None),
            transformed_weights: Self::transformed_weights(None, false),
            wide_registers: false,
            reads_ahead: false,
        }
    }

    /// A quarter of the device's own memory, where that is known; where the driver computes on the CPU, what a large model
    /// needs.
    pub fn transformed_weights(memory: Option<u64>, software: bool) -> u64 {
        if software { 2 << 30 } else { (memory.unwrap_or(0) / 4).max(256 << 20) }
    }

    /// A 64th of the device's own memory, where that is known, within bounds: more would save a large GPU nothing.
    pub fn workspace(memory: Option<u64>) -> u64 {
        (memory.unwrap_or(0) / 64).clamp(32 << 20, 256 << 20)
    }

    /// The same, as it is used at a precision: float16 arithmetic and tensor cores only where it asks for them, no transformed weights
    /// where weights are stored as float16 to save memory.
    #[must_use]
    pub fn at(&self, precision: Precision) -> Self {
        let f16 = precision == Precision::F16 && self.shader_f16;
        // Intel's compilers make more of the conversions than the products save.
        let pays = self.software || self.wide_registers || self.cooperative.is_some();
        Self {
            f16_products: f16 && pays,
            cooperative: self.cooperative.filter(|_| f16),
            transformed_weights: if precision == Precision::F16Weights { 0 } else { self.transformed_weights },
            ..self.clone()
        }
    }

    /// The limit on one storage buffer, and its WebGPU name.
    pub fn largest_buffer(&self) -> (&'static str, u64) {
        if self.max_binding_size < self.max_buffer_size {
            ("maxStorageBufferBindingSize", self.max_binding_size)
        } else {
            ("maxBufferSize", self.max_buffer_size)
        }
    }
}

/// How weights are stored on the device, and what they are multiplied in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// float32
    #[default]
    F32,
    /// Matrices as float16, unpacked in the shader; arithmetic in float32.
    F16Weights,
    /// Matrices as float16; convolutions and linear layers multiply in float16, in groups of four or eight products whose sums are added
    /// up in float32 where the device gains by that (Intel's GPUs do not); attention does so on software drivers alone.
    /// Gradients, norms, softmax, the sampler and stored activations stay float32. Needs the feature shader-f16.
    F16,
}

impl Precision {
    /// Its name, as `--precision` takes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16Weights => "f16-weights",
            Self::F16 => "f16",
        }
    }

    /// Whether matrices are stored as float16.
    pub fn stores_f16(self) -> bool {
        self != Self::F32
    }
}

/// `12.5 MiB`
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}
