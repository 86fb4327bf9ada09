//! Values that arguments take, each checked as it is read, and small values that commands share.

use std::path::Path;
use std::str::FromStr;

use clap::ValueEnum;

use crate::device::Precision;
use crate::sampler::respace::Respacing;
use crate::{Error, Result};

/// How a command that can be stopped ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All is there.
    Done,
    /// Ctrl-C ended it; what was finished is there.
    Interrupted,
}

/// `--sampler`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sampler {
    /// DDPM: draws from the learned posterior
    Ancestral,
    /// DDIM: deterministic at eta 0
    Ddim,
}

/// `--precision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// float32 throughout
    F32,
    /// Weights stored as float16, float32 arithmetic
    F16Weights,
    /// Weights stored and multiplied as float16, four products at a time, float32 sums of these; the adapter needs shader-f16
    F16,
}

impl From<PrecisionArg> for Precision {
    fn from(precision: PrecisionArg) -> Self {
        match precision {
            PrecisionArg::F32 => Self::F32,
            PrecisionArg::F16Weights => Self::F16Weights,
            PrecisionArg::F16 => Self::F16,
        }
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

/// `--guidance-interval`: timesteps of the full process, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// The lowest.
    pub low: u32,
    /// The highest.
    pub high: u32,
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ends = text.split_once(':').and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
        match ends {
            Some((low, high)) if low <= high => Ok(Self { low, high }),
            _ => Err("write LO:HI, two timesteps of the full process, such as 200:800".into()),
        }
    }
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.low, self.high)
    }
}

impl Sampler {
    /// The sampler and steps that the arguments mean, with the defaults of the model.
    ///
    /// # Errors
    /// [`Error::Options`] for an impossible spec.
    pub fn resolve(
        sampler: Option<Self>,
        steps: Option<&str>,
        built_in: bool,
        diffusion_steps: usize,
    ) -> Result<(Self, Respacing)> {
        let respacing = match (steps, sampler) {
            (Some(spec), _) => spec.parse()?,
            (None, Some(Self::Ddim)) => Respacing::Ddim(25),
            (None, None) if built_in => Respacing::Ddim(25),
            // The public scripts' choice.
            (None, _) => Respacing::Sections(vec![diffusion_steps.min(250)]),
        };
        let implied = if matches!(respacing, Respacing::Ddim(_)) { Self::Ddim } else { Self::Ancestral };
        Ok((sampler.unwrap_or(implied), respacing))
    }
}

/// A count that is an image index.
///
/// # Errors
/// [`Error::Options`] for a larger one; `what` has them.
pub fn index(n: usize, what: &str) -> Result<u32> {
    u32::try_from(n).map_err(|_| Error::Options(format!("{what} of {n} images; {} is the most", u32::MAX)))
}

/// A file's name without its folder: pictures are published, and paths tell about their maker.
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

    #[test]
    fn sampler_and_steps_follow_each_other() {
        let resolve = |sampler, steps, built_in| {
            let (sampler, respacing) = Sampler::resolve(sampler, steps, built_in, 1000).expect("possible");
            (sampler, respacing.to_string())
        };
        assert_eq!(resolve(None, None, true), (Sampler::Ddim, "ddim25".into()));
        assert_eq!(resolve(None, None, false), (Sampler::Ancestral, "250".into()));
        assert_eq!(resolve(None, Some("ddim50"), false), (Sampler::Ddim, "ddim50".into()));
        assert_eq!(resolve(None, Some("100"), true), (Sampler::Ancestral, "100".into()));
        assert_eq!(resolve(Some(Sampler::Ddim), Some("100"), true), (Sampler::Ddim, "100".into()));
        assert_eq!(resolve(Some(Sampler::Ancestral), None, true), (Sampler::Ancestral, "250".into()));
        assert!(Sampler::resolve(None, Some("x"), true, 1000).is_err());
    }

    #[test]
    fn intervals_have_two_ends_in_order() {
        assert_eq!("0:999".parse::<Interval>(), Ok(Interval { low: 0, high: 999 }));
        assert_eq!("7:7".parse::<Interval>().map(|i| i.to_string()), Ok("7:7".into()));
        for text in ["", "5", "9:1", "-1:5", "a:b", "0.5:1", "1:2:3", "0:99999999999"] {
            assert!(text.parse::<Interval>().is_err(), "{text}");
        }
    }
}
