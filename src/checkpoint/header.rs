//! What a checkpoint holds, without its data: names, types, shapes and places.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::order::{pair, sort_by_number};

/// The element types that weights may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DType {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of a single.
    BF16,
}

impl DType {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
        })
    }
}

impl std::str::FromStr for DType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "f32" | "float32" => Ok(Self::F32),
            "f16" | "float16" | "half" => Ok(Self::F16),
            "bf16" | "bfloat16" => Ok(Self::BF16),
            _ => Err(Error::Options(format!("{text:?} is not an element type; use f32, f16 or bf16"))),
        }
    }
}

/// Where a tensor lies in its file, and how to read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The type of its elements.
    pub dtype: DType,
    /// Its dimensions, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Its bytes in the file, from the file's start. Tensors of a .pt file may share bytes.
    pub range: Range<u64>,
}

impl TensorInfo {
    /// The number of elements; the parsers have checked that it fits.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The number of bytes when stored contiguously.
    pub fn byte_len(&self) -> usize {
        self.elements().saturating_mul(self.dtype.size())
    }
}

/// What a checkpoint holds, without its data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// Every tensor by name.
    pub tensors: BTreeMap<String, TensorInfo>,
    /// Free-form strings; `adm` is the configuration as JSON.
    pub metadata: BTreeMap<String, String>,
}

impl Header {
    /// Tensors by their place in the file: the order in which a stream delivers them.
    pub fn in_file_order(&self) -> Vec<(&str, &TensorInfo)> {
        let mut all: Vec<_> = self.tensors.iter().map(|(name, info)| (name.as_str(), info)).collect();
        sort_by_number(&mut all, |(_, info)| pair(info.range.start, info.range.end));
        all
    }

    /// The number of parameters.
    pub fn parameters(&self) -> u64 {
        self.tensors.values().map(|info| info.elements() as u64).sum()
    }
}

/// Strides of the tensors that are not contiguous, by name.
pub(super) type Strides = BTreeMap<String, Vec<usize>>;

/// The error of a file that is not what it should be.
pub(super) fn malformed(file: &str, reason: String) -> Error {
    Error::Checkpoint { file: file.into(), reason }
}
