//! How to sample: everything that a user chooses about a run's steps, stated once; and what a sampler is and makes its rows
//! from. The command line fills the settings, a recipe stores them, and the browser package sends them as JSON.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::edit::Degradation;
use super::process::{Process, jumps};
use super::respace::Respacing;
use super::row::Row;
use super::schedule::Schedule;
use crate::config::{MAX_STEPS, ProcessKind};
use crate::{Error, Result};

/// Steps from which on a discrete process is sampled as the public scripts do (Nichol & Dhariwal 2021, section 4: with fewer,
/// DDIM was better).
pub const MANY_STEPS: usize = 50;

/// How to sample. What is `None` takes the model's default ([`Settings::resolve`]).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// The sampler.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(type = "SamplerName | EditorName", optional))]
    pub sampler: Option<Sampler>,
    /// Steps: a count (`250`), counts per section (`10,20,30`) or a fixed stride (`ddim25`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(type = "string | number", optional))]
    pub steps: Option<Respacing>,
    /// Randomness of DDIM: 0 is deterministic (default), 1 as random as the ancestral sampler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta: Option<f64>,
    /// Clip the predicted x_0 to `[-1, 1]` at each step (default), as the public scripts do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_denoised: Option<bool>,
    /// Seed of all noise. JSON may have it in decimal digits, since JavaScript's numbers end at 2^53.
    #[serde(serialize_with = "write_seed", deserialize_with = "read_seed")]
    #[cfg_attr(test, ts(type = "string"))]
    pub seed: u64,
    /// Scale of the guidance: of the classifier's gradient, for a model with a guidance classifier (default: a public file's
    /// published one, else 1); else classifier-free, for a model with a null class (default: none, as with 1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance: Option<f64>,
    /// Guide only at these timesteps of the full process, both included (default: all); the classifier is not run at
    /// others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance_interval: Option<[u32; 2]>,
    /// Image to image: the share of the steps, above 0 to 1, that is made from the noised given image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strength: Option<f64>,
    /// A time grid in place of `steps`, descending: timesteps of the full process, or noise levels of sigma-space where the
    /// model was trained there. Empty: the sampler's own times for `steps`, also where the file has a grid or a
    /// `few_step`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grid: Option<Vec<f64>>,
    /// EDM's churn: noise added before each step of sigma-space, 0 (default) for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub churn: Option<f64>,
    /// The lowest noise level that is churned (default 0).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub churn_min: Option<f64>,
    /// The highest noise level that is churned (default: no bound).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub churn_max: Option<f64>,
    /// Standard deviation of churned noise (default 1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub churn_noise: Option<f64>,
    /// iPNDM: the first slope without an evaluation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analytic_start: Option<bool>,
    /// iPNDM: a last evaluation that removes the noise left at the lowest level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denoise: Option<bool>,
    /// A consistency model's levels: places on the grid of `steps` levels, ascending, the last one included
    /// (default of `multistep`: 0, 22, 39 of 40).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<usize>>,
    /// Edits: steps of one jump back up (default 10 for RePaint, 1 for DDNM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jump_length: Option<usize>,
    /// Edits: how often each part of the walk is made (default 10 for RePaint, 1 for DDNM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jump_repeats: Option<usize>,
    /// DDNM: standard deviation of the noise in the known image (default 0).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigma_y: Option<f64>,
    /// Dynamic thresholding (Saharia et al. 2022): divide the predicted x_0 by the 0.995 quantile of its absolute values per
    /// image where that is above 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<bool>,
    /// An edit of a given picture: what is known of it. The rest is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edit: Option<Degradation>,
    /// Width and height of the images, for which a model was loaded (default: the model's own).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
}

impl Settings {
    /// The times of the grid, where one is given.
    pub fn times(&self) -> Option<&[f64]> {
        self.grid.as_deref().filter(|grid| !grid.is_empty())
    }

    /// Whether the predicted x_0 is clipped.
    pub fn clips(&self) -> bool {
        self.clip_denoised.unwrap_or(true)
    }
}

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
    /// The settings that only some samplers have and that this one takes, by their names in [`Settings`]; `edit`: it needs the
    /// picture of an edit, `optional_edit`: it takes one, `whole`: it needs a picture of which all is known.
    pub options: &'static [&'static str],
    /// The usual eta of one that takes it.
    pub eta: f64,
    /// With fewer steps than this on a discrete process its images suffer, where another's do not.
    pub least: Option<(usize, &'static str)>,
    /// Its step table.
    pub(super) rows: fn(&Task<'_>) -> Result<Vec<Row>>,
}

/// What a network was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A discrete process: every ADM file.
    Discrete,
    /// Sigma-space with EDM's preconditioning.
    Edm,
    /// Sigma-space with that of consistency models.
    Consistency,
}

impl From<ProcessKind> for Kind {
    fn from(process: ProcessKind) -> Self {
        match process {
            ProcessKind::Discrete => Self::Discrete,
            ProcessKind::Edm => Self::Edm,
            ProcessKind::Consistency => Self::Consistency,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discrete => "a discrete process",
            Self::Edm => "EDM's process",
            Self::Consistency => "a consistency model's process",
        })
    }
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
    /// A count of levels in sigma-space, of which a consistency model's sampler takes a few.
    Levels(usize),
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
            Some(Respacing::Sections(counts)) if counts.len() == 1 && counts[0] > MAX_STEPS => {
                Err(Error::Options(format!("steps {}: a sampler makes at most {MAX_STEPS}", counts[0])))
            }
            Some(Respacing::Sections(counts)) if counts.len() == 1 && counts[0] > 0 => Ok(counts[0]),
            steps => {
                let given = steps.as_ref().map_or_else(String::new, ToString::to_string);
                Err(Error::Options(format!("steps {given:?}: this sampler takes a count, such as 10")))
            }
        }
    }

    /// The indices of a given time grid.
    pub(super) fn grid_indices(&self, schedule: &Schedule) -> Result<Option<Vec<usize>>> {
        let Some(grid) = self.settings.times() else { return Ok(None) };
        let index = |t: &f64| {
            let place = schedule.timesteps.binary_search(&(*t as usize)).ok().filter(|_| t.fract() == 0.0 && *t >= 0.0);
            place.ok_or_else(|| {
                Error::Options(format!(
                    "grid: {t} is not a timestep of this process; give whole numbers of 0 to {}, descending",
                    schedule.timesteps.last().copied().unwrap_or(0)
                ))
            })
        };
        grid.iter().map(index).collect::<Result<_>>().map(Some)
    }

    /// The noise levels of a given time grid.
    pub(super) fn grid_sigmas(&self) -> Result<Option<Vec<f64>>> {
        match self.process {
            Process::Karras(_) => Ok(self.settings.times().map(<[f64]>::to_vec)),
            Process::Discrete(schedule) | Process::Sigma(schedule) => {
                let indices = self.grid_indices(schedule)?;
                Ok(indices.map(|indices| indices.into_iter().map(|i| schedule.sigma(i)).collect()))
            }
        }
    }

    /// RePaint's walk over the indices of the process.
    pub(super) fn walk(&self, steps: usize, length: usize, repeats: usize) -> Result<Vec<Option<usize>>> {
        let (length, repeats) =
            (self.settings.jump_length.unwrap_or(length), self.settings.jump_repeats.unwrap_or(repeats));
        let turns = steps.saturating_sub(length).div_ceil(length.max(1));
        let rows = turns.saturating_mul(repeats.saturating_sub(1)).saturating_mul(2 * length).saturating_add(steps);
        if rows > MAX_STEPS {
            return Err(Error::Options(format!(
                "jump length {length}, jump repeats {repeats}: a walk of {rows} steps; the most is {MAX_STEPS}: repeat fewer times, or \
                 take fewer steps"
            )));
        }
        Ok(jumps(steps, length, repeats))
    }

    /// The error of a sampler that was given a process of another kind.
    pub(super) fn wrong_process(&self) -> Error {
        Error::Options("this sampler steps through the indices of a discrete process; this model has none".into())
    }
}

/// A sampler of the registry; two are equal where their names are.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sampler(pub(super) &'static Entry);

impl Sampler {
    /// Its name.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// What it is.
    pub fn entry(self) -> &'static Entry {
        self.0
    }

    /// Whether it makes images of nothing, so that lists of samplers have it.
    pub fn is_free(self) -> bool {
        !self.takes("edit") && !self.takes("whole")
    }

    /// Whether it takes a setting that only some samplers have.
    pub fn takes(self, option: &str) -> bool {
        self.0.options.contains(&option)
    }

    /// Whether it makes the rest of a picture of which a part is known.
    pub(super) fn edits(self) -> bool {
        self.takes("edit") || self.takes("optional_edit")
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

impl From<Sampler> for String {
    fn from(sampler: Sampler) -> Self {
        sampler.name().into()
    }
}

fn write_seed<S: Serializer>(seed: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    const EXACT: u64 = 1 << 53;
    if *seed <= EXACT { serializer.serialize_u64(*seed) } else { serializer.collect_str(seed) }
}

fn read_seed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seed {
        Number(u64),
        Digits(String),
    }
    match Seed::deserialize(deserializer)? {
        Seed::Number(seed) => Ok(seed),
        Seed::Digits(text) => text.parse().map_err(|_| {
            let shown: String = text.chars().take(40).collect();
            serde::de::Error::custom(format!("seed {shown:?}: give a whole number from 0 to {}", u64::MAX))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_travel_as_json() {
        let settings: Settings = serde_json::from_str(
            r#"{"sampler": "ddim", "steps": "10,20", "eta": 0.5, "seed": "18446744073709551615", "guidanceInterval": [0, 9]}"#,
        )
        .expect("settings");
        assert_eq!((settings.seed, settings.guidance_interval), (u64::MAX, Some([0, 9])));
        let text = serde_json::to_string(&settings).expect("JSON");
        assert_eq!(serde_json::from_str::<Settings>(&text).expect("settings"), settings);
        let number: Settings = serde_json::from_str(r#"{"steps": 50, "seed": 7}"#).expect("settings");
        assert_eq!((number.steps, number.seed), (Some(Respacing::Sections(vec![50])), 7));
        for wrong in [r#"{"sampler": "dimm"}"#, r#"{"steps": "x"}"#, r#"{"seed": "-1"}"#, r#"{"steps": 2.5}"#] {
            let message = serde_json::from_str::<Settings>(wrong).expect_err(wrong).to_string();
            assert!(message.len() < 200, "{message}");
        }
    }
}
