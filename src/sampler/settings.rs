//! How to sample: everything that a user chooses about a run's steps, with its defaults and checks, stated once. The command
//! line fills it, a recipe stores it, and the browser package sends it as JSON.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ddnm;
use super::process::Process;
use super::registry::{Kind, Sampler, Steps, Task};
use super::respace::Respacing;
use super::row::Row;
use super::schedule::{Method, Schedule};
use crate::config::{ModelConfig, presets};
use crate::{Error, Result};

/// How to sample. What is `None` takes the model's default ([`Settings::resolve`]).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// The sampler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampler: Option<Sampler>,
    /// Steps: a count (`250`), counts per section (`10,20,30`) or a fixed stride (`ddim25`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Respacing>,
    /// Randomness of DDIM: 0 is deterministic (default), 1 as random as the ancestral sampler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta: Option<f64>,
    /// Clip the predicted x_0 to `[-1, 1]` at each step (default), as the public scripts do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_denoised: Option<bool>,
    /// Seed of all noise. JSON may have it in decimal digits, since JavaScript's numbers end at 2^53.
    #[serde(serialize_with = "write_seed", deserialize_with = "read_seed")]
    pub seed: u64,
    /// Scale of the classifier's gradient, for a model with a guidance classifier (default: a public file's published
    /// one, else 1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance: Option<f64>,
    /// Guide only at these timesteps of the full process, both included (default: all); the classifier is not run at
    /// others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance_interval: Option<[u32; 2]>,
    /// Image to image: the share of the steps, 0 to 1, that is made from the noised given image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strength: Option<f64>,
    /// A time grid in place of `steps`, descending: timesteps of the full process, or noise levels of sigma-space where the
    /// model was trained there.
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
}

/// What defaults and checks depend on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The model.
    pub config: &'a ModelConfig,
    /// A classifier is loaded.
    pub guided: bool,
    /// It is the program's built-in model.
    pub built_in: bool,
    /// The public file that it is.
    pub public: Option<&'a str>,
}

impl<'a> Facts<'a> {
    /// A model of which nothing but its configuration is known.
    pub fn new(config: &'a ModelConfig, guided: bool) -> Self {
        Self { config, guided, built_in: false, public: None }
    }
}

impl Settings {
    /// The same with every default filled in; settings that were resolved stay as they are.
    ///
    /// # Errors
    /// [`Error::Options`] for what this model cannot do; the message names the setting.
    pub fn resolve(&self, facts: &Facts<'_>) -> Result<Self> {
        let sampler = match (self.sampler, &self.steps) {
            (Some(sampler), _) => sampler,
            (None, Some(Respacing::Ddim(_))) => Sampler::ddim(),
            (None, None) if facts.built_in => Sampler::ddim(),
            (None, _) => Sampler::ancestral(),
        };
        self.check_taken(sampler)?;
        self.check_values()?;
        let eta = match sampler.takes("eta") {
            true => Some(self.eta.unwrap_or(if sampler.name() == "ddnm" { ddnm::ETA } else { 0.0 })),
            false => None,
        };
        let mut resolved = Self {
            sampler: Some(sampler),
            steps: Some(self.resolve_steps(sampler, facts)?),
            eta,
            clip_denoised: Some(self.clips()),
            ..self.clone()
        };
        let steps = resolved.process(facts.config)?.steps().unwrap_or(usize::MAX);
        resolved.guidance = self.resolve_guidance(facts, sampler, steps)?;
        Ok(resolved)
    }

    fn resolve_steps(&self, sampler: Sampler, facts: &Facts<'_>) -> Result<Respacing> {
        let all = facts.config.diffusion.diffusion_steps;
        match (&self.grid, &self.steps, sampler.entry().steps) {
            (Some(grid), ..) => Ok(Respacing::Sections(vec![grid.len()])),
            (None, Some(steps), _) => Ok(steps.clone()),
            (None, None, Steps::Respacing(usual)) => Ok(match usual.parse()? {
                Respacing::Sections(counts) => Respacing::Sections(counts.iter().map(|n| *n.min(&all)).collect()),
                stride => stride,
            }),
            (None, None, Steps::Count(n) | Steps::Sigma(n)) => Ok(Respacing::Sections(vec![n.min(all)])),
        }
    }

    /// Refuses settings that the sampler does not have.
    fn check_taken(&self, sampler: Sampler) -> Result<()> {
        let churned = self.churn.or(self.churn_min).or(self.churn_max).or(self.churn_noise).is_some();
        let given = [
            ("eta", self.eta.is_some()),
            ("strength", self.strength.is_some()),
            ("churn", churned),
            ("analytic_start", self.analytic_start.is_some()),
            ("denoise", self.denoise.is_some()),
            ("at", self.at.is_some()),
            ("jump_length", self.jump_length.is_some()),
            ("jump_repeats", self.jump_repeats.is_some()),
            ("sigma_y", self.sigma_y.is_some()),
        ];
        for (option, given) in given {
            if given && !sampler.takes(option) {
                let takers: Vec<&str> = Sampler::all().filter(|s| s.takes(option)).map(Sampler::name).collect();
                return Err(Error::Options(format!(
                    "{option}: the sampler {sampler} has none; leave it out, or use {}",
                    takers.join(", ")
                )));
            }
        }
        Ok(())
    }

    fn check_values(&self) -> Result<()> {
        let ranges = [
            ("eta", self.eta, 0.0, 1.0, "0 (deterministic) to 1 (as random as the ancestral sampler)"),
            ("strength", self.strength, 0.0, 1.0, "0 (the given image) to 1 (all steps)"),
            ("churn", self.churn, 0.0, 1e6, "0 (none) or more"),
            ("churn_min", self.churn_min, 0.0, f64::MAX, "a noise level of at least 0"),
            ("churn_max", self.churn_max, 0.0, f64::MAX, "a noise level of at least 0"),
            ("churn_noise", self.churn_noise, 0.0, 1e6, "a standard deviation, such as 1.003"),
            ("sigma_y", self.sigma_y, 0.0, 1e6, "a standard deviation of at least 0"),
        ];
        for (name, value, low, high, what) in ranges {
            if let Some(value) = value.filter(|value| !(low..=high).contains(value)) {
                return Err(Error::Options(format!("{name} is {value}; give {what}")));
            }
        }
        for (name, value) in [("jump_length", self.jump_length), ("jump_repeats", self.jump_repeats)] {
            if value.is_some_and(|value| !(1..=1000).contains(&value)) {
                return Err(Error::Options(format!("{name}: give a count of 1 to 1000")));
            }
        }
        let descends = |grid: &Vec<f64>| {
            !grid.is_empty() && grid.iter().all(|t| t.is_finite() && *t >= 0.0) && grid.is_sorted_by(|a, b| a > b)
        };
        if self.grid.as_ref().is_some_and(|grid| !descends(grid)) {
            return Err(Error::Options("grid: it must descend, from the noisiest step to the cleanest".into()));
        }
        Ok(())
    }

    /// The process that resolved settings sample from.
    ///
    /// # Errors
    /// [`Error::Options`] for an impossible respacing, or a sampler that steps through another kind of process.
    pub fn process(&self, config: &ModelConfig) -> Result<Process> {
        let whole = || Schedule::new(&config.diffusion, &Respacing::Sections(vec![config.diffusion.diffusion_steps]));
        let sampler = self.sampler.unwrap_or(Sampler::ancestral());
        if !sampler.entry().kinds.contains(&Kind::Discrete) {
            let able = Sampler::all().filter(|s| s.entry().kinds.contains(&Kind::Discrete)).map(Sampler::name);
            return Err(Error::Options(format!(
                "sampler {sampler} is for consistency models, and this model has a discrete process; use one of {}",
                able.collect::<Vec<_>>().join(", ")
            )));
        }
        match (sampler.entry().steps, &self.grid, &self.steps) {
            (Steps::Respacing(_), Some(grid), _) => Ok(Process::Discrete(Schedule::at(&config.diffusion, grid)?)),
            (Steps::Respacing(_), None, Some(steps)) => Ok(Process::Discrete(Schedule::new(&config.diffusion, steps)?)),
            (Steps::Respacing(_), None, None) | (Steps::Count(_), ..) => Ok(Process::Discrete(whole()?)),
            (Steps::Sigma(_), ..) => Ok(Process::Sigma(whole()?)),
        }
    }

    /// The step table of resolved settings; `edits`: the run has the image of an edit that it does not start from.
    ///
    /// # Errors
    /// [`Error::Options`] for steps that the sampler cannot make.
    pub fn table(&self, process: &Process, edits: bool) -> Result<Vec<Row>> {
        let sampler = self.sampler.unwrap_or(Sampler::ancestral());
        (sampler.entry().rows)(&Task { process, settings: self, edits })
    }

    fn resolve_guidance(&self, facts: &Facts<'_>, sampler: Sampler, steps: usize) -> Result<Option<f64>> {
        if !facts.guided {
            return match (self.guidance, self.guidance_interval) {
                (None, None) => Ok(None),
                _ => Err(Error::Options("guidance needs a classifier; load the model with one".into())),
            };
        }
        let last = facts.config.diffusion.diffusion_steps.saturating_sub(1);
        if let Some([low, high]) = self.guidance_interval.filter(|[low, high]| low > high || *low as usize > last) {
            return Err(Error::Options(format!(
                "guidance interval {low} to {high}: give two timesteps of 0 to {last}, the lower first"
            )));
        }
        let few = sampler == Sampler::ddim();
        let published = || facts.public.and_then(|name| presets::guidance_scale(name, few, steps));
        let scale = self.guidance.or_else(published).unwrap_or(1.0);
        if !(scale as f32).is_finite() {
            return Err(Error::Options(format!("the guidance scale is {scale}; give a number such as 1.0")));
        }
        Ok(Some(scale))
    }

    /// The step rule of resolved settings.
    pub(crate) fn method(&self) -> Method {
        match self.sampler {
            Some(sampler) if sampler == Sampler::ddim() => Method::Ddim { eta: self.eta.unwrap_or(0.0) },
            _ => Method::Ancestral,
        }
    }

    /// Whether the predicted x_0 is clipped.
    pub fn clips(&self) -> bool {
        self.clip_denoised.unwrap_or(true)
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
