//! A safetensors file that arrives in pieces of any size: its header, then a tensor at a time.
//!
//! It reads nothing itself: its caller pushes bytes and takes what has become complete. So a browser feeds the
//! GPU from the network while memory holds no more than the largest tensor.

use super::decode::Decoder;
use super::header::{Header, TensorInfo, malformed};
use super::{safetensors, torch};
use crate::error::Result;

/// Bytes that hold the header's length.
const LENGTH: usize = 8;

/// A file that is being read.
#[derive(Debug)]
pub struct Stream {
    file: String,
    length: Option<u64>,
    /// Bytes taken so far.
    taken: u64,
    /// The file's first bytes, until the header is complete.
    prefix: Vec<u8>,
    header: Option<Header>,
    /// Bytes that the header describes.
    described: u64,
    /// Tensors to come, the next one last.
    rest: Vec<(String, TensorInfo)>,
    current: Option<(String, Decoder)>,
}

impl Stream {
    /// The start of a file of `length` bytes, where that is known; its name appears in errors.
    pub fn new(file: impl Into<String>, length: Option<u64>) -> Self {
        Self {
            file: file.into(),
            length,
            taken: 0,
            prefix: Vec::new(),
            header: None,
            described: 0,
            rest: Vec::new(),
            current: None,
        }
    }

    /// What the file holds, once its first bytes are there.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Bytes of the whole file, as its header says, once that is there.
    pub fn described(&self) -> Option<u64> {
        self.header.as_ref().map(|_| self.described)
    }

    /// Takes bytes from the front of `piece`, at most up to the end of the header or of a tensor, and returns how many.
    /// After each call, look for [`Stream::header`] and take what [`Stream::is_ready`].
    ///
    /// # Errors
    /// [`crate::Error::Checkpoint`] for a file that is not a checkpoint, bytes after its end, a tensor that memory cannot hold.
    pub fn push(&mut self, piece: &[u8]) -> Result<usize> {
        let used = if self.header.is_none() {
            self.push_header(piece)?
        } else if let Some((_, decoder)) = &mut self.current {
            decoder.push(piece)
        } else if piece.is_empty() {
            0
        } else {
            let length = self.taken.saturating_add(piece.len() as u64);
            return safetensors::check_length(&self.file, self.described, length).map(|()| 0);
        };
        self.taken += used as u64;
        Ok(used)
    }

    fn push_header(&mut self, piece: &[u8]) -> Result<usize> {
        let mut used = self.fill(piece, LENGTH);
        if self.prefix.len() < LENGTH {
            return Ok(used);
        }
        if self.prefix.first_chunk().is_some_and(torch::may_be) {
            let reason = "it is a .pt file, whose tensors cannot be read as they arrive; give the file itself instead of an \
                          address (PyTorch's format since 1.6), or convert it: guided-diffusion convert FILE.pt";
            return Err(malformed(&self.file, reason.into()));
        }
        let length = Header::prefix_len(&self.file, &self.prefix)? as usize;
        used += self.fill(&piece[used..], length);
        if self.prefix.len() == length {
            let (header, described) = Header::parse_prefix(&self.file, &self.prefix)?;
            if let Some(length) = self.length {
                safetensors::check_length(&self.file, described, length)?;
            }
            self.rest = header.in_file_order().into_iter().rev().map(|(n, info)| (n.into(), info.clone())).collect();
            self.prefix = Vec::new();
            self.described = described;
            self.header = Some(header);
            self.begin()?;
        }
        Ok(used)
    }

    /// Continues the prefix to `length` bytes.
    fn fill(&mut self, piece: &[u8], length: usize) -> usize {
        let used = piece.len().min(length.saturating_sub(self.prefix.len()));
        self.prefix.extend_from_slice(&piece[..used]);
        used
    }

    fn begin(&mut self) -> Result<()> {
        self.current = match self.rest.pop() {
            None => None,
            Some((name, info)) => {
                let decoder = Decoder::new(&self.file, &name, &info)?;
                Some((name, decoder))
            }
        };
        Ok(())
    }

    /// Whether a tensor is complete and waits for [`Stream::take`].
    pub fn is_ready(&self) -> bool {
        self.current.as_ref().is_some_and(|(_, decoder)| decoder.is_complete())
    }

    /// The tensor that the last push completed.
    ///
    /// # Errors
    /// [`crate::Error::Checkpoint`] for values that are not finite, or a next tensor that memory cannot hold.
    pub fn take(&mut self) -> Result<Option<(String, Vec<f32>)>> {
        let Some((name, decoder)) = self.current.take_if(|(_, decoder)| decoder.is_complete()) else { return Ok(None) };
        let values = decoder.finish(&self.file, &name)?;
        self.begin()?;
        Ok(Some((name, values)))
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`crate::Error::Checkpoint`] for one that is cut short.
    pub fn finish(&self) -> Result<()> {
        if self.header.is_none() {
            let reason = match self.taken {
                few @ ..8 => {
                    format!("its {few} bytes are too few for a model: it is cut short, or another kind of file")
                }
                _ => format!("it is cut short: it ends at byte {}, within its header", self.taken),
            };
            return Err(malformed(&self.file, reason));
        }
        safetensors::check_length(&self.file, self.described, self.taken)
    }
}
