//! Files that are read in parts: in memory, or behind a browser's file handle.

use std::borrow::Cow;
use std::ops::Range;

/// A file that is read in parts, such as a browser's file handle.
pub trait ReadAt {
    /// Its bytes.
    fn length(&self) -> u64;

    /// Some of them; `None` where they lie outside of the file, or cannot be had.
    fn read(&self, range: Range<u64>) -> Option<Cow<'_, [u8]>>;
}

impl ReadAt for &[u8] {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, range: Range<u64>) -> Option<Cow<'_, [u8]>> {
        slice(self, &range).map(Cow::Borrowed)
    }
}

/// Such a file, which threads may share; a browser's handle stays in its worker.
#[cfg(not(target_arch = "wasm32"))]
pub type Parts = Box<dyn ReadAt + Send + Sync>;
/// Such a file, which threads may share; a browser's handle stays in its worker.
#[cfg(target_arch = "wasm32")]
pub type Parts = Box<dyn ReadAt>;

/// A checked slice by a file's 64-bit offsets.
pub(super) fn slice<'a>(bytes: &'a [u8], range: &Range<u64>) -> Option<&'a [u8]> {
    bytes.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}
