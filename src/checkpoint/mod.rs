//! A checkpoint: names -> shape, type, bytes. It knows nothing of networks.
//!
//! One type serves safetensors files, PyTorch's .pt files and synthetic weights, natively (from the file, a tensor at a time),
//! from bytes, and from a file that is read in parts. A browser streams instead: a [`Stream`] takes a file piece by piece and
//! gives a tensor at a time.
//!
//! Files are untrusted: every length is checked against the file before it is used.

mod decode;
mod header;
mod parts;
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
#[cfg(not(target_arch = "wasm32"))]
use std::io::{Read, Seek, SeekFrom};
#[cfg(not(target_arch = "wasm32"))]
use std::ops::Range;
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;
#[cfg(not(target_arch = "wasm32"))]
use std::sync::{Mutex, PoisonError};

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use self::decode::not_finite_as;
pub use self::decode::{decode_f16, decode_f32, encode};
pub use self::header::{DType, Header, TensorInfo};
use self::header::{Strides, malformed};
use self::parts::slice;
pub use self::parts::{Parts, ReadAt};
pub use self::stream::Stream;
#[cfg(not(target_arch = "wasm32"))]
use crate::error::Error;
use crate::error::Result;

/// Where the bytes come from.
enum Backing {
    Owned(Vec<u8>),
    Parts(Parts),
    #[cfg(not(target_arch = "wasm32"))]
    File(Mutex<std::fs::File>),
    Synthetic {
        seed: u64,
    },
}

/// An open checkpoint.
///
/// A file given to [`Checkpoint::open`] is read tensor by tensor, so that a tensor costs no memory until then; one that was cut
/// short meanwhile is an error. Its header alone is read through a memory map, while the file is opened: if another program
/// cuts it short in that moment, the system ends the process (SIGBUS on Unix). Do not write to a checkpoint while it is open;
/// this library's own writer never does: it replaces files by renaming.
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
        // SAFETY: the map is read-only, and gone at the end; see the type's documentation for what remains when another program
        // cuts the file short meanwhile.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::io(path, e))?;
        let (header, strides) = parse(&name, &map, key)?;
        drop(map);
        Ok(Self { name, header, backing: Backing::File(Mutex::new(file)), strides })
    }

    /// A checkpoint from a whole file's bytes; `name` appears in errors.
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self> {
        let name = name.into();
        let (header, strides) = parse(&name, &bytes, None)?;
        Ok(Self { name, header, backing: Backing::Owned(bytes), strides })
    }

    /// A .pt file of which no more than its directory is read, and later a tensor at a time; `name` appears in errors.
    ///
    /// # Errors
    /// [`crate::Error::Checkpoint`] for another kind of file; the format that PyTorch wrote before 1.6 is another one.
    pub fn from_parts(name: impl Into<String>, file: Parts) -> Result<Self> {
        let name = name.into();
        let (header, strides) = torch::parse_parts(&name, &*file)?;
        Ok(Self { name, header, backing: Backing::Parts(file), strides })
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
        let bytes = match &self.backing {
            Backing::Owned(bytes) => Cow::Borrowed(slice(bytes, &info.range).ok_or_else(|| {
                let (range, len) = (&info.range, bytes.len());
                malformed(&self.name, format!("tensor {tensor:?} lies at bytes {range:?} of a file of {len} bytes"))
            })?),
            Backing::Parts(file) => file.read(info.range.clone()).ok_or_else(|| {
                malformed(&self.name, format!("tensor {tensor:?} at bytes {:?} cannot be read", info.range))
            })?,
            #[cfg(not(target_arch = "wasm32"))]
            Backing::File(file) => Cow::Owned(self.read(file, tensor, &info.range)?),
            Backing::Synthetic { seed } => {
                let values = synthetic::weight(tensor, &info.shape, *seed);
                return Ok(Cow::Owned(values.iter().flat_map(|v| v.to_le_bytes()).collect()));
            }
        };
        match self.strides.get(tensor) {
            None => Ok(bytes),
            Some(strides) => torch::gather(&bytes, info, strides)
                .map(Cow::Owned)
                .ok_or_else(|| malformed(&self.name, format!("the strides of tensor {tensor:?} leave its storage"))),
        }
    }

    /// Of [`Checkpoint::bytes`] the first, the middle and the last ones, at most `most` each: of a file no more is read than these.
    #[cfg(feature = "cli")]
    pub(crate) fn some_bytes(&self, tensor: &str, most: u64) -> Result<Vec<u8>> {
        let parts = |Range { start, end }: Range<u64>| {
            let most = most.min(end - start);
            let last = end - most;
            [start, start + (last - start) / 2, last].map(|start| start..start + most)
        };
        let mut some = Vec::new();
        match &self.backing {
            #[cfg(not(target_arch = "wasm32"))]
            Backing::File(file) if !self.strides.contains_key(tensor) => {
                for part in parts(self.info(tensor)?.range.clone()) {
                    some.extend(self.read(file, tensor, &part)?);
                }
            }
            _ => {
                let bytes = self.bytes(tensor)?;
                parts(0..bytes.len() as u64).iter().for_each(|part| some.extend(slice(&bytes, part).unwrap_or(&[])));
            }
        }
        Ok(some)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn read(&self, file: &Mutex<std::fs::File>, tensor: &str, range: &Range<u64>) -> Result<Vec<u8>> {
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let io = |e| Error::io(&self.name, e);
        file.seek(SeekFrom::Start(range.start)).map_err(io)?;
        // The parser has checked it against the file.
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        (&mut *file).take(range.end - range.start).read_to_end(&mut bytes).map_err(io)?;
        if (bytes.len() as u64) < range.end - range.start {
            let (end, now) = (range.end, range.start + bytes.len() as u64);
            let reason =
                format!("tensor {tensor:?} reaches byte {end}, but the file was cut short, to {now} bytes or less");
            return Err(malformed(&self.name, reason));
        }
        Ok(bytes)
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
