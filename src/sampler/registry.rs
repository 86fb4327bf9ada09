//! The samplers by name: what the command line, the package and the page list, and what a file's settings name.
//!
//! A sampler is one file of this folder, with its formula, its source and its rows, and one line of [`SAMPLERS`].

use std::str::FromStr;

use super::respace::Respacing;
pub use super::settings::{Entry, Kind, MANY_STEPS, Sampler, Steps, Task};
use super::{ancestral, ddim, ddnm, dpm, dpm_solver, euler, heun, invert, ipndm, multistep, repaint};
use crate::{Error, Result};

/// Every sampler, in the order of lists.
pub static SAMPLERS: &[&Entry] = &[
    &ancestral::ENTRY,
    &ddim::ENTRY,
    &dpm_solver::SECOND,
    &dpm_solver::THIRD,
    &ipndm::ENTRY,
    &euler::ENTRY,
    &ancestral::EULER,
    &heun::ENTRY,
    &dpm::ENTRY,
    &multistep::ONESTEP,
    &multistep::MULTISTEP,
    &repaint::ENTRY,
    &ddnm::ENTRY,
    &invert::ENTRY,
];

impl Sampler {
    /// DDPM's sampler.
    pub fn ancestral() -> Self {
        Self(&ancestral::ENTRY)
    }

    /// DDIM.
    pub fn ddim() -> Self {
        Self(&ddim::ENTRY)
    }

    /// DDIM's inversion.
    pub fn invert() -> Self {
        Self(&invert::ENTRY)
    }

    /// Refuses a model that it cannot sample from.
    ///
    /// # Errors
    /// [`Error::Options`], with the samplers that can.
    pub(super) fn check_kind(self, kind: Kind) -> Result<()> {
        if self.0.kinds.contains(&kind) {
            return Ok(());
        }
        let able: Vec<&str> = Self::all()
            .filter(|s| if self.is_free() { s.is_free() } else { self.edits() && s.edits() })
            .filter(|s| s.0.kinds.contains(&kind))
            .map(Self::name)
            .collect();
        let instead = match able.as_slice() {
            [] => "it needs a model of a discrete process".into(),
            able => format!("use one of {}", able.join(", ")),
        };
        Err(Error::Options(format!("sampler {self} cannot sample from {kind}, which this model has; {instead}")))
    }

    /// The sampler of a kind of model where none is given; docs/samplers.md has the reasons. Ancestral sampling is better than
    /// DDIM with [`MANY_STEPS`] or more, and worse with fewer.
    pub(super) fn usual(kind: Kind, guided: bool, steps: Option<&Respacing>) -> Self {
        match (kind, steps) {
            (Kind::Edm, _) => Self(&heun::ENTRY),
            (Kind::Consistency, _) => Self(&multistep::MULTISTEP),
            (Kind::Discrete, Some(Respacing::Ddim(_))) => Self::ddim(),
            (Kind::Discrete, Some(Respacing::Sections(counts))) if !matches!(counts[..], [n] if n < MANY_STEPS) => {
                Self::ancestral()
            }
            (Kind::Discrete, _) if guided => Self::ddim(),
            (Kind::Discrete, _) => Self(&dpm_solver::SECOND),
        }
    }

    /// The sampler that edits with a kind of model where none is named.
    pub(super) fn editor(kind: Kind) -> Result<Self> {
        match kind {
            Kind::Discrete => Ok(Self(&ddnm::ENTRY)),
            Kind::Consistency => Ok(Self(&multistep::MULTISTEP)),
            Kind::Edm => Err(Error::Options(
                "no sampler of EDM's process, which this model has, edits; vary the picture by a strength instead"
                    .into(),
            )),
        }
    }

    /// All, in the order of lists.
    pub fn all() -> impl Iterator<Item = Self> {
        SAMPLERS.iter().map(|entry| Self(entry))
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
