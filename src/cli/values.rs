//! Values that arguments take, each checked as it is read, and small values that commands share.

use std::ops::ControlFlow;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::device::Precision;
use crate::recipe::GivenFile;
use crate::resize::Fit;
use crate::{Error, Result};

/// How a command that can be stopped ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All is there.
    Done,
    /// Ctrl-C ended it; what was finished is there.
    Interrupted,
}

/// Whether work in the library goes on, by the flag that Ctrl-C sets.
pub fn unless_stopped(stop: &AtomicBool) -> ControlFlow<()> {
    if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

impl ValueEnum for Precision {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::F32, Self::F16Weights, Self::F16]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_str()).help(match self {
            Self::F32 => "float32 throughout",
            Self::F16Weights => "Weights stored as float16, float32 arithmetic",
            Self::F16 => {
                "Weights stored and multiplied as float16, four or eight products at a time, float32 sums of these; the adapter needs \
                 shader-f16"
            }
        }))
    }
}

impl ValueEnum for Fit {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Crop, Self::Pad]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_str()).help(match self {
            Self::Crop => "The largest middle part of that shape",
            Self::Pad => "The whole image, with black at two sides",
        }))
    }
}

/// `--shard`: part `index` of `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub index: u32,
    /// The number of parts.
    pub of: u32,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((index, of)) if index < of => Ok(Self { index, of }),
            _ => Err("write I/N with I from 0 to N-1, such as 0/4".into()),
        }
    }
}

impl Shard {
    /// The images of this part: contiguous, so that parts put together in order are the whole.
    pub fn range(self, count: u32) -> std::ops::Range<u32> {
        // A part of count never exceeds it, so the casts lose nothing.
        let start = |i: u32| (u64::from(count) * u64::from(i) / u64::from(self.of.max(1))) as u32;
        start(self.index)..start(self.index + 1)
    }
}

/// `--expect`: the hash of a given file's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Which file: input, init, mask or noise.
    pub file: String,
    /// Its hash.
    pub hash: String,
}

impl FromStr for Expected {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let files = ["input", "init", "mask", "noise"];
        match text.split_once('=') {
            Some((file, hash)) if files.contains(&file) && hash.len() == 16 => {
                Ok(Self { file: file.into(), hash: hash.to_ascii_lowercase() })
            }
            _ => Err(format!(
                "write FILE=HASH, with FILE one of {} and HASH as a picture's recipe has it",
                files.join(", ")
            )),
        }
    }
}

/// The given file at `path`, which `--expect` may name.
///
/// # Errors
/// [`Error::Options`] where it holds other values.
pub fn given(expected: &[Expected], what: &str, path: &Path, file: GivenFile) -> Result<GivenFile> {
    match expected.iter().find(|expected| expected.file == what && expected.hash != file.hash) {
        None => Ok(file),
        Some(Expected { hash, .. }) => Err(Error::Options(format!(
            "{}: its values have the hash {}, and --expect says {hash}: this is not the {what} that the recipe's images were \
             made from; give that one, or leave --expect out to make others",
            path.display(),
            file.hash
        ))),
    }
}

/// A count that is an image index.
///
/// # Errors
/// [`Error::Options`] for a larger one; `what` has them.
pub fn index(n: usize, what: &str) -> Result<u32> {
    u32::try_from(n).map_err(|_| Error::Options(format!("{what} of {n} images; at most {} are possible", u32::MAX)))
}

/// A file's name without its folder: pictures are published, and paths say things about their maker.
pub fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_the_whole() {
        for (count, of) in [(1, 1), (10, 3), (2, 5), (50_000, 7), (u32::MAX, 3)] {
            let mut next = 0;
            for index in 0..of {
                let range = Shard { index, of }.range(count);
                assert_eq!(range.start, next);
                next = range.end;
            }
            assert_eq!(next, count);
        }
        assert_eq!("1/4".parse::<Shard>(), Ok(Shard { index: 1, of: 4 }));
        for text in ["", "4", "4/4", "-1/4", "a/b", "0/0", "1/99999999999"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
