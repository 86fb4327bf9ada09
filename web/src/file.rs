//! A checkpoint file on its way from a stream to the device.

use guided_diffusion::checkpoint::Stream;
use sha2::{Digest, Sha256};
use wasm_bindgen::prelude::*;

use crate::error::{Result, js};

/// A file that arrives in pieces. It holds its header and one tensor at a time.
#[wasm_bindgen]
pub struct File {
    pub(crate) name: String,
    pub(crate) stream: Stream,
    hash: Sha256,
}

#[wasm_bindgen]
impl File {
    /// The start of a file of so many bytes, where that is known; messages speak of it by this name.
    #[wasm_bindgen(constructor)]
    pub fn new(name: String, length: Option<f64>) -> File {
        File { stream: Stream::new(&*name, length.map(|length| length as u64)), name, hash: Sha256::new() }
    }

    /// Takes bytes from the front of `piece`, up to the end of the header or of a tensor, and returns how many.
    ///
    /// # Errors
    /// A file that is not a checkpoint.
    pub fn push(&mut self, piece: &[u8]) -> Result<usize> {
        let used = self.stream.push(piece).map_err(js)?;
        self.hash.update(&piece[..used]);
        Ok(used)
    }

    /// Whether the header is complete.
    #[wasm_bindgen(getter, js_name = hasHeader)]
    pub fn has_header(&self) -> bool {
        self.stream.header().is_some()
    }

    /// The file's length as its header says, once that is there.
    #[wasm_bindgen(getter)]
    pub fn length(&self) -> Option<f64> {
        self.stream.described().map(|bytes| bytes as f64)
    }

    /// Whether a tensor is complete: `Model.upload` takes it.
    #[wasm_bindgen(getter, js_name = hasTensor)]
    pub fn has_tensor(&self) -> bool {
        self.stream.is_ready()
    }

    /// Ends the file and returns its SHA-256 as hex.
    ///
    /// # Errors
    /// It is cut short.
    pub fn finish(&self) -> Result<String> {
        self.stream.finish().map_err(js)?;
        Ok(self.hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}
