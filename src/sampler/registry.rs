//! The samplers by name: what the command line, the package and the page list, and what a file's settings name.
//!
//! A sampler is one file of this folder, with its formula, its source and its rows, and one line of [`SAMPLERS`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::process::Process;
use super::respace::Respacing;
use super::row::Row;
use super::schedule::Schedule;
use super::settings::Settings;
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
    &heun::ENTRY,
    &dpm::ENTRY,
    &multistep::ONESTEP,
    &multistep::MULTISTEP,
    &repaint::ENTRY,
    &ddnm::ENTRY,
    &invert::ENTRY,
];

/// What a sampler is.
#[derive(Debug)]
pub struct Entry {
    /// Its name, in settings, files and lists.
    pub name: &'static str,
    /// One line for help texts.
    pub summary: &'static str,
    /// The processes that it samples from.
    pub kinds: &'static [Kind],
    /// What its steps are, and how many by default.
    pub steps: Steps,
    /// The settings that only some samplers have and that this one takes, by their names in [`Settings`]; `edit`: it takes
    /// the image of an edit.
    pub options: &'static [&'static str],
    /// Its step table.
    pub(super) rows: fn(&Task<'_>) -> Result<Vec<Row>>,
}

/// What a network was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A discrete process: every ADM file.
    Discrete,
    /// Sigma-space, with the preconditioning of EDM or of consistency models.
    Karras,
}

/// What a sampler's steps are on a discrete process, and how many by default; in sigma-space they are a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steps {
    /// A respacing of the process, of which each step is taken.
    Respacing(&'static str),
    /// A count; the sampler chooses indices of the whole process.
    Count(usize),
    /// A count; the sampler sees the process in sigma-space.
    Sigma(usize),
}

/// What a sampler makes its rows from.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// The process.
    pub process: &'a Process,
    /// Resolved settings.
    pub settings: &'a Settings,
    /// The run edits a known image (other than by starting from it).
    pub edits: bool,
}

impl Task<'_> {
    /// The number of steps of a sampler that counts them.
    pub(super) fn count(&self) -> Result<usize> {
        match &self.settings.steps {
            Some(Respacing::Sections(counts)) if counts.len() == 1 && counts[0] > 0 => Ok(counts[0]),
            steps => {
                let given = steps.as_ref().map_or_else(String::new, ToString::to_string);
                Err(Error::Options(format!("steps {given:?}: this sampler takes a count, such as 10")))
            }
        }
    }

    /// The indices of a given time grid.
    pub(super) fn grid_indices(&self, schedule: &Schedule) -> Result<Option<Vec<usize>>> {
        let Some(grid) = &self.settings.grid else { return Ok(None) };
        let index = |t: &f64| {
            schedule.timesteps.iter().position(|kept| *kept as f64 == *t).ok_or_else(|| {
                Error::Options(format!("grid: {t} is no timestep of this process; give whole ones, descending"))
            })
        };
        grid.iter().map(index).collect::<Result<_>>().map(Some)
    }

    /// The noise levels of a given time grid.
    pub(super) fn grid_sigmas(&self) -> Result<Option<Vec<f64>>> {
        match self.process {
            Process::Karras(_) => Ok(self.settings.grid.clone()),
            Process::Discrete(schedule) | Process::Sigma(schedule) => {
                let indices = self.grid_indices(schedule)?;
                Ok(indices.map(|indices| indices.into_iter().map(|i| schedule.sigma(i)).collect()))
            }
        }
    }

    /// The error of a sampler that was given a process of another kind.
    pub(super) fn wrong_process(&self) -> Error {
        Error::Options("this sampler steps through the indices of a discrete process; this model has none".into())
    }
}

/// A sampler of the registry; two are equal where their names are.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sampler(&'static Entry);

impl Sampler {
    /// DDPM's sampler.
    pub fn ancestral() -> Self {
        Self(&ancestral::ENTRY)
    }

    /// DDIM.
    pub fn ddim() -> Self {
        Self(&ddim::ENTRY)
    }

    /// All, in the order of lists.
    pub fn all() -> impl Iterator<Item = Self> {
        SAMPLERS.iter().map(|entry| Self(entry))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// What it is.
    pub fn entry(self) -> &'static Entry {
        self.0
    }

    /// Whether it takes a setting that only some samplers have.
    pub fn takes(self, option: &str) -> bool {
        self.0.options.contains(&option)
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
