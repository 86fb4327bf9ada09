//! A checkpoint: names -> shape, type, bytes. The first stage of the pipeline; it knows nothing of networks.
//!
//! One type serves safetensors files, PyTorch's .pt files and synthetic weights, natively (memory-mapped) and
//! from bytes. A browser streams instead: a [`Stream`] takes a file piece by piece and gives a tensor at a time.
//!
//! Files are hostile until proven otherwise: every length is checked against the file before it is used.

mod decode;
mod header;
mod pickle;
mod safetensors;
pub mod stream;
pub mod synthetic;
mod torch;
#[cfg(not(target_arch = "wasm32"))]
pub mod writer;
mod zip;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use self::decode::not_finite_as;
pub use self::decode::{decode_f16, decode_f32, encode};
pub use self::header::{DType, Header, TensorInfo};
use self::header::{Strides, malformed};
pub use self::stream::Stream;
#[cfg(not(target_arch = "wasm32"))]
use crate::error::Error;
use crate::error::Result;

/// Where the bytes come from.
enum Backing {
    Owned(Vec<u8>),
    #[cfg(not(target_arch = "wasm32"))]
    Mapped {
        map: memmap2::Mmap,
        file: std::fs::File,
    },
    Synthetic {
        seed: u64,
    },
}

/// An open checkpoint.
///
/// A file given to [`Checkpoint::open`] is memory-mapped, so that a tensor costs no memory until it is read.
/// Every read first asks the system for the file's length, and a file that was cut short meanwhile is an
/// error. What cannot be caught is a file cut short *during* a read: the system then ends the process
/// (SIGBUS on Unix). Do not write to a checkpoint while it is open; this library's own writer never does: it
/// replaces files by renaming.
pub struct Checkpoint {
    name: String,
    header: Header,
    backing: Backing,
    /// Strides, in elements, of the tensors that are not contiguous (.pt files only).
    strides: BTreeMap<String, Vec<usize>>,
}

impl Checkpoint {
    /// Opens a safetensors or .pt file; its first bytes decide which, not its name.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_nested(path, None)
    }

    /// [`Checkpoint::open`], choosing by `key` among several state dicts of a .pt file (`"ema"`, `"model"`).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open_nested(path: impl AsRef<Path>, key: Option<&str>) -> Result<Self> {
        let path = path.as_ref();
        let name = path.display().to_string();
        // Opening a pipe would wait for a writer, so ask first.
        let kind = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
        if !kind.is_file() {
            return Err(malformed(&name, "it is not a regular file; give a .safetensors or .pt file".into()));
        }
        let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
        // SAFETY: the map is read-only, and `bytes` checks the file's length before it is touched; see the
        // type's documentation for what remains when another program cuts the file short during a read.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::io(path, e))?;
        let (header, strides) = parse(&name, &map, key)?;
        Ok(Self { name, header, backing: Backing::Mapped { map, file }, strides })
    }

    /// A checkpoint from a whole file's bytes; `name` appears in errors.
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self> {
        let name = name.into();
        let (header, strides) = parse(&name, &bytes, None)?;
        Ok(Self { name, header, backing: Backing::Owned(bytes), strides })
    }

    /// Synthetic float32 weights for the given names and shapes, made tensor by tensor when they are read.
    pub(crate) fn from_parameters(name: String, parameters: Vec<(String, Vec<usize>)>, seed: u64) -> Self {
        let (mut tensors, mut at) = (BTreeMap::new(), 0u64);
        for (name, shape) in parameters {
            let len = shape.iter().fold(4u64, |n, d| n.saturating_mul(*d as u64));
            let range = at..at.saturating_add(len);
            at = range.end;
            tensors.insert(name, TensorInfo { dtype: DType::F32, shape, range });
        }
        let header = Header { tensors, metadata: BTreeMap::new() };
        Self { name, header, backing: Backing::Synthetic { seed }, strides: BTreeMap::new() }
    }

    /// What it holds.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The file's name as the user gave it, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One tensor's description.
    pub fn info(&self, tensor: &str) -> Result<&TensorInfo> {
        let missing = || malformed(&self.name, format!("it holds no tensor {tensor:?}"));
        self.header.tensors.get(tensor).ok_or_else(missing)
    }

    /// One tensor's contiguous little-endian bytes: borrowed from the file where it stores them so, else gathered.
    pub fn bytes(&self, tensor: &str) -> Result<Cow<'_, [u8]>> {
        let info = self.info(tensor)?;
        let file: &[u8] = match &self.backing {
            Backing::Owned(bytes) => bytes,
            #[cfg(not(target_arch = "wasm32"))]
            Backing::Mapped { map, file } => {
                let now = file.metadata().map_err(|e| Error::io(&self.name, e))?.len();
                if now < info.range.end {
                    let end = info.range.end;
                    let reason = format!("tensor {tensor:?} ends at byte {end}, but the file was cut to {now} bytes");
                    return Err(malformed(&self.name, reason));
                }
                map
            }
            Backing::Synthetic { seed } => {
                let values = synthetic::weight(tensor, &info.shape, *seed);
                return Ok(Cow::Owned(values.iter().flat_map(|v| v.to_le_bytes()).collect()));
            }
        };
        let bytes = slice(file, &info.range).ok_or_else(|| {
            let (range, len) = (&info.range, file.len());
            malformed(&self.name, format!("tensor {tensor:?} lies at bytes {range:?} of a file of {len} bytes"))
        })?;
        match self.strides.get(tensor) {
            None => Ok(Cow::Borrowed(bytes)),
            Some(strides) => torch::gather(bytes, info, strides)
                .map(Cow::Owned)
                .ok_or_else(|| malformed(&self.name, format!("the strides of tensor {tensor:?} leave its storage"))),
        }
    }

    /// One tensor as float32. NaN and infinite weights are refused with the tensor's name.
    pub fn tensor_f32(&self, tensor: &str) -> Result<Vec<f32>> {
        let info = self.info(tensor)?;
        if let Backing::Synthetic { seed } = self.backing {
            return Ok(synthetic::weight(tensor, &info.shape, seed));
        }
        decode_f32(&self.name, tensor, info, &self.bytes(tensor)?)
    }

    /// One tensor as float16, refusing what float16 cannot hold.
    pub fn tensor_f16(&self, tensor: &str) -> Result<Vec<half::f16>> {
        decode_f16(&self.name, tensor, self.info(tensor)?, &self.bytes(tensor)?)
    }

    /// Lets the system drop a tensor's pages from memory: call it after the last use, while loading one by one.
    pub fn release(&self, tensor: &str) {
        #[cfg(unix)]
        if let (Backing::Mapped { map, .. }, Some(info)) = (&self.backing, self.header.tensors.get(tensor)) {
            let start = usize::try_from(info.range.start).unwrap_or(usize::MAX);
            let len = info.range.end.saturating_sub(info.range.start) as usize;
            if start.checked_add(len).is_some_and(|end| end <= map.len()) && len > 0 {
                // SAFETY: the map is a read-only view of a file, so dropped pages are read again when touched.
                // A failure only means that the memory stays in use.
                let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, len) };
            }
        }
        #[cfg(not(unix))]
        let _ = tensor;
    }
}

impl std::fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoint").field("name", &self.name).field("tensors", &self.header.tensors.len()).finish()
    }
}

fn parse(name: &str, bytes: &[u8], key: Option<&str>) -> Result<(Header, Strides)> {
    if torch::looks_like(bytes) {
        return torch::parse(name, bytes, key);
    }
    if let Some(key) = key {
        return Err(malformed(name, format!("a safetensors file holds no state dict {key:?}")));
    }
    Ok((Header::parse(name, bytes, bytes.len() as u64)?, Strides::new()))
}

/// A checked slice by a file's 64-bit offsets.
fn slice<'a>(bytes: &'a [u8], range: &Range<u64>) -> Option<&'a [u8]> {
    bytes.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}
