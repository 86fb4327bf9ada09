//! A checkpoint file on its way to the device: a stream, or a file of the visitor's that can be read at any place.

use std::borrow::Cow;
use std::ops::Range;

use guided_diffusion::checkpoint::{Header, ReadAt, Stream};
use guided_diffusion::order::sort_by_number;
use guided_diffusion::{Checkpoint, Error};
use js_sys::{Function, Uint8Array};
use sha2::{Digest, Sha256};
use wasm_bindgen::prelude::*;

use crate::error::{Result, js};

/// The first bytes of a .pt file, which is a zip file.
const ZIP: &[u8] = b"PK\x03\x04";

/// A file that arrives in pieces. It holds its header and one tensor at a time.
#[wasm_bindgen]
pub struct File {
    pub(crate) name: String,
    content: Content,
    hash: Sha256,
}

enum Content {
    Stream(Stream),
    /// A .pt file, whose tensors lie anywhere: each is read where it lies, once the pieces have come to its end.
    Parts {
        checkpoint: Checkpoint,
        /// Names and ends of the tensors to come, the next one last.
        rest: Vec<(String, u64)>,
        taken: u64,
        length: u64,
    },
}

#[wasm_bindgen]
impl File {
    /// The start of a file of so many bytes, where that is known; messages speak of it by this name. `read` gives
    /// the bytes from one offset to another, where the file can be read at any place: a .pt file must.
    ///
    /// # Errors
    /// A .pt file that is none.
    #[wasm_bindgen(constructor)]
    pub fn new(name: String, length: Option<f64>, read: Option<Function>) -> Result<File> {
        let hash = Sha256::new();
        if let (Some(length), Some(read)) = (length.map(|length| length as u64), read) {
            let parts = Parts { length, read };
            if parts.read(0..ZIP.len() as u64).is_some_and(|first| *first == *ZIP) {
                let checkpoint = Checkpoint::from_parts(&*name, Box::new(parts)).map_err(js)?;
                let mut rest: Vec<(String, u64)> =
                    checkpoint.header().tensors.iter().map(|(name, info)| (name.clone(), info.range.end)).collect();
                sort_by_number(&mut rest, |(_, end)| u128::from(u64::MAX - *end));
                return Ok(File { name, content: Content::Parts { checkpoint, rest, taken: 0, length }, hash });
            }
        }
        let stream = Stream::new(&*name, length.map(|length| length as u64));
        Ok(File { content: Content::Stream(stream), name, hash })
    }

    /// Takes bytes from the front of `piece`, up to the end of the header or of a tensor, and returns how many.
    ///
    /// # Errors
    /// A file that is not a checkpoint.
    pub fn push(&mut self, piece: &[u8]) -> Result<usize> {
        let used = match &mut self.content {
            Content::Stream(stream) => stream.push(piece).map_err(js)?,
            Content::Parts { taken, .. } => {
                *taken += piece.len() as u64;
                piece.len()
            }
        };
        self.hash.update(&piece[..used]);
        Ok(used)
    }

    /// Whether the header is complete.
    #[wasm_bindgen(getter, js_name = hasHeader)]
    pub fn has_header(&self) -> bool {
        self.header().is_some()
    }

    /// The file's length as its header says, once that is there.
    #[wasm_bindgen(getter)]
    pub fn length(&self) -> Option<f64> {
        match &self.content {
            Content::Stream(stream) => stream.described().map(|bytes| bytes as f64),
            Content::Parts { length, .. } => Some(*length as f64),
        }
    }

    /// Whether a tensor is complete: `Model.upload` takes it.
    #[wasm_bindgen(getter, js_name = hasTensor)]
    pub fn has_tensor(&self) -> bool {
        match &self.content {
            Content::Stream(stream) => stream.is_ready(),
            Content::Parts { rest, taken, .. } => rest.last().is_some_and(|(_, end)| end <= taken),
        }
    }

    /// Ends the file and returns its SHA-256 as hex.
    ///
    /// # Errors
    /// It is cut short.
    pub fn finish(&self) -> Result<String> {
        match &self.content {
            Content::Stream(stream) => stream.finish().map_err(js)?,
            Content::Parts { taken, length, .. } if taken == length => {}
            Content::Parts { taken, length, .. } => {
                let reason = format!("it changed while it was read: {taken} bytes came, {length} were expected");
                return Err(js(Error::Checkpoint { file: self.name.clone(), reason }));
            }
        }
        Ok(hex(self.hash.clone()))
    }
}

/// The SHA-256 of bytes that come in pieces: browsers have none for a file that memory cannot hold.
#[wasm_bindgen]
#[derive(Default)]
pub struct Hash(Sha256);

#[wasm_bindgen]
impl Hash {
    /// That of no bytes.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Hash {
        Hash::default()
    }

    /// Takes the next bytes.
    pub fn push(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The hash of all of them, as hex.
    pub fn finish(&self) -> String {
        hex(self.0.clone())
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl File {
    /// What the file holds, once that is known.
    pub(crate) fn header(&self) -> Option<&Header> {
        match &self.content {
            Content::Stream(stream) => stream.header(),
            Content::Parts { checkpoint, .. } => Some(checkpoint.header()),
        }
    }

    /// The tensor that is complete.
    pub(crate) fn take(&mut self) -> guided_diffusion::Result<Option<(String, Vec<f32>)>> {
        match &mut self.content {
            Content::Stream(stream) => stream.take(),
            Content::Parts { checkpoint, rest, taken, .. } => match rest.pop_if(|(_, end)| *end <= *taken) {
                Some((name, _)) => checkpoint.tensor_f32(&name).map(|values| Some((name, values))),
                None => Ok(None),
            },
        }
    }
}

/// A file of the visitor's.
struct Parts {
    length: u64,
    read: Function,
}

impl ReadAt for Parts {
    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, range: Range<u64>) -> Option<Cow<'_, [u8]>> {
        let wanted = range.end.checked_sub(range.start)?;
        // Offsets are below 2^53, for they lie within the file.
        let bytes = (range.end <= self.length)
            .then(|| self.read.call2(&JsValue::NULL, &(range.start as f64).into(), &(range.end as f64).into()));
        let bytes = bytes?.ok()?.dyn_into::<Uint8Array>().ok()?.to_vec();
        (bytes.len() as u64 == wanted).then_some(Cow::Owned(bytes))
    }
}
