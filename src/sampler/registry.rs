//! The samplers by name: what the command line, the package and the page list, and what a file's settings name.
//!
//! A sampler is one file of this folder, and one line of [`SAMPLERS`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::respace::Respacing;
use crate::{Error, Result};

/// What a sampler is, as lists show it.
#[derive(Debug)]
pub struct Entry {
    /// Its name, in settings, files and lists.
    pub name: &'static str,
    /// One line for help texts.
    pub summary: &'static str,
    /// The steps it takes where none are given, of a process of so many.
    pub(super) steps: fn(usize) -> Respacing,
    /// The settings that only some samplers have and that this one takes, by their names in `Settings`.
    pub options: &'static [&'static str],
}

/// A sampler of the registry; two are equal where their names are.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sampler(&'static Entry);

/// Every sampler.
pub static SAMPLERS: &[Entry] = &[
    Entry {
        name: "ancestral",
        summary: "DDPM: draws from the learned posterior",
        // The public scripts' choice.
        steps: |all| Respacing::Sections(vec![all.min(250)]),
        options: &[],
    },
    Entry { name: "ddim", summary: "DDIM: deterministic at eta 0", steps: |_| Respacing::Ddim(25), options: &["eta"] },
];

impl Sampler {
    /// DDPM's sampler.
    pub fn ancestral() -> Self {
        Self(&SAMPLERS[0])
    }

    /// DDIM.
    pub fn ddim() -> Self {
        Self(&SAMPLERS[1])
    }

    /// All, in the order of lists.
    pub fn all() -> impl Iterator<Item = Self> {
        SAMPLERS.iter().map(Self)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// What it is.
    pub fn entry(self) -> &'static Entry {
        self.0
    }
}

impl PartialEq for Sampler {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Sampler {}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Sampler {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::all().find(|sampler| sampler.name() == name).ok_or_else(|| {
            let shown: String = name.chars().take(40).collect();
            let names: Vec<&str> = Self::all().map(Self::name).collect();
            Error::Options(format!("sampler {shown:?} is unknown; use one of {}", names.join(", ")))
        })
    }
}

impl TryFrom<String> for Sampler {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<Sampler> for String {
    fn from(sampler: Sampler) -> Self {
        sampler.name().into()
    }
}
