//! Elements of weights to and from float32 and float16: of whole tensors, and of one that arrives in pieces.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::header::{DType, TensorInfo, malformed};
use crate::error::{Error, Result};

/// Elements converted at a time; keeps the buffers in the first-level cache.
const CHUNK: usize = 1024;

/// A tensor's contiguous little-endian bytes as float32. NaN and infinite weights are refused by name.
pub fn decode_f32(file: &str, tensor: &str, info: &TensorInfo, bytes: &[u8]) -> Result<Vec<f32>> {
    check_length(file, tensor, info, bytes)?;
    let mut out = vec![0f32; info.elements()];
    let step = CHUNK * info.dtype.size();
    for (to, from) in out.chunks_mut(CHUNK).zip(bytes.chunks(step)) {
        widen(info.dtype, from, to);
    }
    match out.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(not_finite(file, tensor, i, out[i])),
        None => Ok(out),
    }
}

/// A tensor's contiguous little-endian bytes as float16, refusing by name what float16 cannot hold.
pub fn decode_f16(file: &str, tensor: &str, info: &TensorInfo, bytes: &[u8]) -> Result<Vec<f16>> {
    check_length(file, tensor, info, bytes)?;
    let mut out = vec![f16::ZERO; info.elements()];
    let mut wide = [0f32; CHUNK];
    let step = CHUNK * info.dtype.size();
    for (k, (to, from)) in out.chunks_mut(CHUNK).zip(bytes.chunks(step)).enumerate() {
        let wide = &mut wide[..to.len()];
        widen(info.dtype, from, wide);
        to.convert_from_f32_slice(wide);
        if let Some(i) = to.iter().position(|v| !v.is_finite()) {
            return Err(not_finite_as(file, tensor, k * CHUNK + i, wide[i], DType::F16));
        }
    }
    Ok(out)
}

/// Values as little-endian bytes of a type; `None` where a finite value becomes infinite.
pub fn encode(values: &[f32], dtype: DType) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(values.len().checked_mul(dtype.size())?);
    for &v in values {
        match dtype {
            DType::F32 => out.extend_from_slice(&v.to_le_bytes()),
            DType::F16 => {
                let h = f16::from_f32(v);
                (h.is_finite() || !v.is_finite()).then_some(())?;
                out.extend_from_slice(&h.to_le_bytes());
            }
            DType::BF16 => {
                let h = bf16::from_f32(v);
                (h.is_finite() || !v.is_finite()).then_some(())?;
                out.extend_from_slice(&h.to_le_bytes());
            }
        }
    }
    Some(out)
}

/// A tensor as float32 from pieces of its bytes, so that its bytes and its values are never in memory together.
#[derive(Debug)]
pub struct Decoder {
    info: TensorInfo,
    values: Vec<f32>,
    /// The first bytes of an element that a piece ended in.
    part: Vec<u8>,
}

impl Decoder {
    /// Room for a tensor.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where memory for it cannot be had.
    pub fn new(file: &str, tensor: &str, info: &TensorInfo) -> Result<Self> {
        let mut values = Vec::new();
        values.try_reserve_exact(info.elements()).map_err(|_| {
            malformed(file, format!("tensor {tensor:?} has {} elements, more than memory holds", info.elements()))
        })?;
        Ok(Self { info: info.clone(), values, part: Vec::new() })
    }

    /// Whether all bytes are there.
    pub fn is_complete(&self) -> bool {
        self.values.len() == self.info.elements()
    }

    /// Takes bytes from the front of `piece`, as many as the tensor lacks, and returns how many.
    pub fn push(&mut self, piece: &[u8]) -> usize {
        let size = self.info.dtype.size();
        let lacking = (self.info.elements() - self.values.len()) * size - self.part.len();
        let piece = &piece[..piece.len().min(lacking)];
        let mut rest = piece;
        if !self.part.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(size - self.part.len()));
            self.part.extend_from_slice(head);
            rest = tail;
            if self.part.len() == size {
                let part = std::mem::take(&mut self.part);
                self.append(&part);
            }
        }
        let whole = rest.len() - rest.len() % size;
        self.append(&rest[..whole]);
        self.part.extend_from_slice(&rest[whole..]);
        piece.len()
    }

    fn append(&mut self, bytes: &[u8]) {
        let mut wide = [0f32; CHUNK];
        for from in bytes.chunks(CHUNK * self.info.dtype.size()) {
            let wide = &mut wide[..from.len() / self.info.dtype.size()];
            widen(self.info.dtype, from, wide);
            self.values.extend_from_slice(wide);
        }
    }

    /// The values. NaN and infinite weights are refused by name.
    ///
    /// # Errors
    /// [`Error::Checkpoint`].
    pub fn finish(self, file: &str, tensor: &str) -> Result<Vec<f32>> {
        match self.values.iter().position(|v| !v.is_finite()) {
            Some(i) => Err(not_finite(file, tensor, i, self.values[i])),
            None => Ok(self.values),
        }
    }
}

/// Widens one chunk; `from` holds exactly `to.len()` elements (the callers have checked).
fn widen(dtype: DType, from: &[u8], to: &mut [f32]) {
    match dtype {
        DType::F32 => {
            for (v, b) in to.iter_mut().zip(from.chunks_exact(4)) {
                *v = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
        DType::F16 => {
            // The file's bytes need not be aligned, and the slice conversion uses the processor's instruction.
            let mut half = [f16::ZERO; CHUNK];
            for (h, b) in half.iter_mut().zip(from.chunks_exact(2)) {
                *h = f16::from_le_bytes([b[0], b[1]]);
            }
            half[..to.len()].convert_to_f32_slice(to);
        }
        DType::BF16 => {
            for (v, b) in to.iter_mut().zip(from.chunks_exact(2)) {
                *v = bf16::from_le_bytes([b[0], b[1]]).to_f32();
            }
        }
    }
}

fn check_length(file: &str, tensor: &str, info: &TensorInfo, bytes: &[u8]) -> Result<()> {
    let want = info.byte_len();
    if bytes.len() != want {
        let reason = format!("tensor {tensor:?} of shape {:?} needs {want} bytes, {} came", info.shape, bytes.len());
        return Err(malformed(file, reason));
    }
    Ok(())
}

fn not_finite(file: &str, tensor: &str, index: usize, value: f32) -> Error {
    malformed(file, format!("element {index} of tensor {tensor:?} is {value}; weights must be finite"))
}

/// The error of a value that cannot be stored as `dtype`.
pub(crate) fn not_finite_as(file: &str, tensor: &str, index: usize, value: f32, dtype: DType) -> Error {
    if !value.is_finite() {
        return not_finite(file, tensor, index, value);
    }
    malformed(file, format!("element {index} of tensor {tensor:?} is {value}, too large for {dtype}; keep it as f32"))
}
