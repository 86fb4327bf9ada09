//! The header of a safetensors file, from only the file's first bytes, so that a browser can stream the rest.
//!
//! The `safetensors` crate does the format's own checks (offsets without holes or overlaps, sizes that equal
//! shapes); what it leaves open is checked here: the header's length, the file's length, the element types.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, Metadata};

use super::header::{DType, Header, TensorInfo, malformed};
use crate::error::Result;

/// Bytes of the length field before the header.
const LENGTH: u64 = 8;
/// The longest header that is read. The largest public checkpoint's takes 70 kB.
const MAX_HEADER: u64 = 16 << 20;

impl Header {
    /// How many bytes from the file's start [`Header::parse`] needs, as the file's first 8 bytes say.
    pub fn prefix_len(file: &str, first: &[u8]) -> Result<u64> {
        let Some(length) = first.first_chunk::<8>() else {
            let reason = format!("{} bytes are too few for a safetensors file", first.len());
            return Err(malformed(file, reason));
        };
        let length = u64::from_le_bytes(*length);
        if length > MAX_HEADER {
            return Err(malformed(file, format!("it is {}; give a .safetensors or .pt file", foreign(first))));
        }
        Ok(LENGTH + length)
    }

    /// Reads the header of a safetensors file of `file_len` bytes from its first bytes; more of them do no harm.
    pub fn parse(file: &str, prefix: &[u8], file_len: u64) -> Result<Self> {
        let (header, end) = Self::parse_prefix(file, prefix)?;
        check_length(file, end, file_len)?;
        Ok(header)
    }

    /// As [`Header::parse`] where the file's length is not known yet; returns what it has to be beside the header.
    pub fn parse_prefix(file: &str, prefix: &[u8]) -> Result<(Self, u64)> {
        let start = Self::prefix_len(file, prefix)?;
        let json = usize::try_from(start).ok().and_then(|end| prefix.get(LENGTH as usize..end)).ok_or_else(|| {
            malformed(file, format!("its header ends at byte {start}, but only {} bytes are there", prefix.len()))
        })?;
        let text = std::str::from_utf8(json).map_err(|e| {
            malformed(file, format!("its header is not UTF-8 from byte {}", LENGTH as usize + e.valid_up_to()))
        })?;
        // Deserializing the crate's type runs its validation.
        let parsed: Metadata = serde_json::from_str(text)
            .map_err(|e| malformed(file, format!("its safetensors header is invalid: {e}")))?;
        let end = start.saturating_add(parsed.data_len() as u64);
        let mut tensors = BTreeMap::new();
        for (name, info) in parsed.tensors() {
            let dtype = match info.dtype {
                Dtype::F32 => DType::F32,
                Dtype::F16 => DType::F16,
                Dtype::BF16 => DType::BF16,
                other => {
                    let reason =
                        format!("tensor {name:?} has elements of type {other:?}; F32, F16 and BF16 can be read");
                    return Err(malformed(file, reason));
                }
            };
            let (from, to) = info.data_offsets;
            let range = start.saturating_add(from as u64)..start.saturating_add(to as u64);
            tensors.insert(name, TensorInfo { dtype, shape: info.shape.clone(), range });
        }
        let mut metadata = BTreeMap::new();
        metadata.extend(parsed.metadata().clone().unwrap_or_default());
        Ok((Self { tensors, metadata }, end))
    }
}

/// What a file with these first bytes is, which is neither a .pt file nor one of safetensors.
fn foreign(first: &[u8]) -> &'static str {
    let picture: [&[u8]; 4] = [b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF"];
    let printable = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
    if picture.iter().any(|start| first.starts_with(start)) {
        "a picture, not a model"
    } else if first.first() == Some(&b'<') {
        "a web page or another text, not a model"
    } else if first.iter().take(8).all(printable) {
        "a text or a document, not a model"
    } else {
        "not a model, or damaged from its first bytes on"
    }
}

/// Refuses a file of another length than its header describes.
pub(super) fn check_length(file: &str, described: u64, file_len: u64) -> Result<()> {
    if described == file_len {
        return Ok(());
    }
    let what = if described > file_len { "it is cut short" } else { "bytes follow its last tensor" };
    Err(malformed(file, format!("{what}: its header describes {described} bytes, the file has {file_len}")))
}
