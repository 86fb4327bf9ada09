//! How to sample: everything that a user chooses about a run's steps, with its defaults and checks, stated once. The command
//! line fills it, a recipe stores it, and the browser package sends it as JSON.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::registry::Sampler;
use super::respace::Respacing;
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
        let all = facts.config.diffusion.diffusion_steps;
        let sampler = match (self.sampler, &self.steps) {
            (Some(sampler), _) => sampler,
            (None, Some(Respacing::Ddim(_))) => Sampler::ddim(),
            (None, None) if facts.built_in => Sampler::ddim(),
            (None, _) => Sampler::ancestral(),
        };
        let takes = |option| sampler.entry().options.contains(&option);
        if self.eta.is_some() && !takes("eta") {
            return Err(Error::Options(format!(
                "eta: the sampler {sampler} has none; use sampler ddim, or leave it out"
            )));
        }
        let steps = self.steps.clone().unwrap_or_else(|| (sampler.entry().steps)(all));
        let count = Schedule::new(&facts.config.diffusion, &steps)?.len();
        let resolved = Self {
            sampler: Some(sampler),
            steps: Some(steps),
            eta: takes("eta").then_some(self.eta.unwrap_or(0.0)),
            clip_denoised: Some(self.clip_denoised.unwrap_or(true)),
            seed: self.seed,
            guidance: self.resolve_guidance(facts, sampler, count)?,
            guidance_interval: self.guidance_interval,
        };
        if let Some(eta) = resolved.eta.filter(|eta| !(0.0..=1.0).contains(eta)) {
            return Err(Error::Options(format!(
                "eta is {eta}; it must be between 0 (deterministic) and 1 (as random as the ancestral sampler)"
            )));
        }
        Ok(resolved)
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
