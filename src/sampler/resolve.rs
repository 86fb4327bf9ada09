//! The defaults and checks of the settings, for a model; and the step table that they ask for.

use super::edit::Degradation;
use super::process::{Karras, Process};
use super::registry::{Kind, Sampler, Steps, Task};
use super::respace::Respacing;
use super::row::Row;
use super::schedule::Schedule;
use super::settings::Settings;
use crate::config::{ModelConfig, ProcessKind, descends, presets};
use crate::model::sampling::check_size;
use crate::{Error, Result};

/// Steps in sigma-space of samplers that have another default on a discrete process.
const KARRAS_STEPS: usize = 40;

/// What defaults and checks depend on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The model.
    pub config: &'a ModelConfig,
    /// A classifier is loaded.
    pub guided: bool,
    /// The public file that it is.
    pub public: Option<&'a str>,
}

impl<'a> Facts<'a> {
    /// A model of which nothing but its configuration is known.
    pub fn new(config: &'a ModelConfig, guided: bool) -> Self {
        Self { config, guided, public: None }
    }
}

/// The grid that the file has for so many steps: of samplers that count their steps; those that respace the process keep to that.
fn grid_of_file(sampler: Sampler, steps: &Respacing, facts: &Facts<'_>) -> Option<Vec<f64>> {
    match (sampler.entry().steps, steps) {
        (Steps::Count(_) | Steps::Sigma(_), Respacing::Sections(counts)) if counts.len() == 1 => {
            facts.config.grids.get(&counts[0]).cloned()
        }
        _ => None,
    }
}

/// The published two-step schedule of the file, where nothing else is asked for.
fn two_steps(sampler: Sampler, steps: &Respacing, facts: &Facts<'_>) -> Option<Vec<usize>> {
    let (levels, at) = facts.public.and_then(presets::two_steps)?;
    (sampler.takes("at") && *steps == Respacing::Sections(vec![levels])).then(|| at.to_vec())
}

/// What is wrong with a grid that does not descend.
fn undescending(grid: &[f64], process: ProcessKind) -> String {
    let what = if process == ProcessKind::Discrete { "timesteps from 0 on" } else { "noise levels above 0" };
    match grid.windows(2).find(|pair| pair[0] <= pair[1]) {
        Some(pair) => format!(
            "grid: {} comes after {}; it must descend, from the noisiest step to the cleanest",
            pair[1], pair[0]
        ),
        None => {
            let last = grid.last().copied().unwrap_or(f64::NAN);
            format!("grid: its last value is {last}; give finite {what}, descending")
        }
    }
}

impl Settings {
    /// The same with every default filled in; settings that were resolved stay as they are.
    ///
    /// # Errors
    /// [`Error::Options`] for what this model cannot do; the message names the setting.
    pub fn resolve(&self, facts: &Facts<'_>) -> Result<Self> {
        let kind = Kind::from(facts.config.diffusion.process);
        if let Some(settings) = self.few_step(facts.config)? {
            return settings.resolve(facts);
        }
        let sampler = match self.sampler {
            Some(sampler) => sampler,
            None if self.edit.is_some() => Sampler::editor(kind)?,
            None => Sampler::usual(kind, facts.guided, self.steps.as_ref()),
        };
        sampler.check_kind(kind)?;
        self.check_taken(sampler, kind)?;
        self.check_values(facts.config.diffusion.process)?;
        if let Some([width, height]) = self.size {
            check_size(facts.config, facts.guided, [height, width])?;
        }
        self.check_edit(sampler, facts.config)?;
        let eta = sampler.takes("eta").then(|| self.eta.unwrap_or(sampler.entry().eta));
        let steps = self.resolve_steps(sampler, facts)?;
        let mut resolved = Self {
            sampler: Some(sampler),
            grid: self.grid.clone().or_else(|| grid_of_file(sampler, &steps, facts)),
            at: self.at.clone().or_else(|| two_steps(sampler, &steps, facts)),
            steps: Some(steps),
            eta,
            clip_denoised: Some(self.clips()),
            ..self.clone()
        };
        let process = resolved.process(facts.config)?;
        let table = resolved.table(&process, resolved.edit.is_some())?;
        if !table.iter().any(Row::calls) {
            let count = resolved.steps.as_ref().map_or(1, Respacing::count);
            return Err(Error::Options(match resolved.strength {
                Some(0.0) => "strength 0 leaves the given image as it is; give more, up to 1".into(),
                Some(strength) => format!(
                    "strength {strength} of {count} steps leaves no step to make, so that the given image would not change; give {} or \
                     more, or more steps",
                    (1.0 / count as f64 * 1000.0).ceil() / 1000.0
                ),
                None => {
                    "the network would never be called: take 2 or more steps, or leave the analytic start out".into()
                }
            }));
        }
        let steps = process.steps().unwrap_or(usize::MAX);
        resolved.guidance = self.resolve_guidance(facts, sampler, steps)?;
        Ok(resolved)
    }

    /// The settings with the sampler and the timesteps that the file names as those that suit it, where nothing else is asked for.
    fn few_step(&self, config: &ModelConfig) -> Result<Option<Self>> {
        let Some(few) = &config.few_step else { return Ok(None) };
        if self.steps.is_some() || self.grid.is_some() || self.edit.is_some() {
            return Ok(None);
        }
        let sampler: Sampler = few.sampler.parse().map_err(|e: Error| Error::Config(format!("few_step: {e}")))?;
        if self.sampler.is_some_and(|own| own != sampler) {
            return Ok(None);
        }
        let grid = Some(few.timesteps.iter().map(|t| f64::from(*t)).collect());
        Ok(Some(Self { sampler: Some(sampler), grid, ..self.clone() }))
    }

    fn resolve_steps(&self, sampler: Sampler, facts: &Facts<'_>) -> Result<Respacing> {
        let all = facts.config.diffusion.diffusion_steps;
        let discrete = facts.config.diffusion.process == ProcessKind::Discrete;
        match (self.times(), &self.steps, sampler.entry().steps) {
            (None, None, Steps::Respacing(_) | Steps::Count(_)) if !discrete => {
                Ok(Respacing::Sections(vec![KARRAS_STEPS]))
            }
            (Some(_), _, Steps::Levels(_)) => Err(Error::Options(format!(
                "grid: sampler {sampler} takes places of its own grid of levels; say how many it has (steps), and which \
                 (multistep's at)"
            ))),
            (Some(grid), ..) => Ok(Respacing::Sections(vec![grid.len()])),
            // Where it is not asked for by name, ddim guides: others than its own steps begin at the process's last timestep, at
            // which guidance is divided by almost nothing under a cosine schedule.
            (None, Some(steps), _) if self.sampler.is_none() && sampler == Sampler::ddim() => {
                Ok(steps.at_a_stride(all))
            }
            (None, Some(steps), _) => Ok(steps.clone()),
            (None, None, Steps::Respacing(usual)) => Ok(match usual.parse()? {
                Respacing::Sections(counts) => Respacing::Sections(counts.iter().map(|n| *n.min(&all)).collect()),
                // A process of 30 or 64 steps has no stride that keeps 25.
                Respacing::Ddim(n) => Respacing::Sections(vec![n.min(all)]).at_a_stride(all),
            }),
            (None, None, Steps::Levels(n)) => {
                Ok(Respacing::Sections(vec![facts.public.and_then(presets::two_steps).map_or(n, |(levels, _)| levels)]))
            }
            (None, None, Steps::Sigma(n)) => Ok(Respacing::Sections(vec![n.min(all - 1)])),
            (None, None, Steps::Count(n)) => {
                // The fewest that someone found worth a grid of their own. A model with `few_step` has said already
                // how many it does best with.
                let usual = self.grid.is_none() && facts.config.few_step.is_none();
                let fewest = facts.config.grids.keys().next().copied().filter(|_| usual);
                Ok(Respacing::Sections(vec![fewest.unwrap_or(n).min(all - 1)]))
            }
        }
    }

    /// Refuses edits that the sampler or the model's images do not allow.
    fn check_edit(&self, sampler: Sampler, config: &ModelConfig) -> Result<()> {
        let Some(edit) = self.edit else { return Ok(()) };
        let refuse = |message: String| Err(Error::Options(message));
        if !sampler.edits() {
            return refuse(format!(
                "the sampler {sampler} edits no picture; leave it out{}",
                if config.diffusion.process == ProcessKind::Discrete { ", or take ddnm or repaint" } else { "" }
            ));
        }
        if edit == Degradation::default() {
            return refuse(
                "all of the picture is known, so that nothing is left to make; give a mask, colourise or upscale"
                    .into(),
            );
        }
        let [width, height] = self.size.unwrap_or([config.unet.image_size; 2]);
        let divides = |k: usize| k >= 2 && width.is_multiple_of(k) && height.is_multiple_of(k);
        if let Some(k) = edit.upscale.filter(|k| !divides(*k)) {
            let able: Vec<String> = (2..=width.min(height)).filter(|k| divides(*k)).map(|k| k.to_string()).collect();
            return refuse(match able.as_slice() {
                [] => format!(
                    "upscale {k}: no number of pixels divides both sides of {width}x{height}; give another size"
                ),
                able if k < 2 => format!("upscale {k} enlarges nothing; take {}", able.join(", ")),
                able => format!(
                    "upscale {k}: blocks of {k}x{k} pixels do not divide {width}x{height}; take {}",
                    able.join(", ")
                ),
            });
        }
        let channels = config.image_channels();
        if edit.colourise.is_some() && channels != 3 {
            return refuse(format!(
                "colourise: the model's images have {channels} channel{}; only those of 3 have colours",
                if channels == 1 { "" } else { "s" }
            ));
        }
        Ok(())
    }

    /// Refuses settings that the sampler does not have.
    fn check_taken(&self, sampler: Sampler, kind: Kind) -> Result<()> {
        let given = [
            ("eta", self.eta.is_some()),
            ("strength", self.strength.is_some()),
            ("churn", self.churn.is_some()),
            ("churn_min", self.churn_min.is_some()),
            ("churn_max", self.churn_max.is_some()),
            ("churn_noise", self.churn_noise.is_some()),
            ("analytic_start", self.analytic_start.is_some()),
            ("denoise", self.denoise.is_some()),
            ("at", self.at.is_some()),
            ("jump_length", self.jump_length.is_some()),
            ("jump_repeats", self.jump_repeats.is_some()),
            ("sigma_y", self.sigma_y.is_some()),
            ("colourise", self.edit.is_some_and(|edit| edit.colourise.is_some())),
            ("upscale", self.edit.is_some_and(|edit| edit.upscale.is_some())),
        ];
        for (option, given) in given {
            let takes = |s: &Sampler| s.takes(if option.starts_with("churn") { "churn" } else { option });
            if given && !takes(&sampler) {
                let able =
                    |s: &Sampler| takes(s) && s.entry().kinds.contains(&kind) && s.is_free() == sampler.is_free();
                let takers: Vec<&str> = Sampler::all().filter(able).map(Sampler::name).collect();
                let instead = match takers.as_slice() {
                    [] => String::new(),
                    takers => format!(", or choose sampler {}", takers.join(" or ")),
                };
                return Err(Error::Options(format!(
                    "{}: sampler {sampler} does not take it; leave it out{instead}",
                    option.replace('_', " ")
                )));
            }
        }
        Ok(())
    }

    fn check_values(&self, process: ProcessKind) -> Result<()> {
        let ranges = [
            (
                "eta",
                self.eta,
                0.0,
                1.0,
                "a number between 0 (deterministic) and 1 (as random as the ancestral sampler)",
            ),
            ("strength", self.strength, 0.0, 1.0, "a share of the steps, above 0 to 1 (all of them)"),
            ("churn", self.churn, 0.0, 1e6, "0 (none) or more"),
            ("churn_min", self.churn_min, 0.0, f64::MAX, "a noise level of at least 0"),
            ("churn_max", self.churn_max, 0.0, f64::MAX, "a noise level of at least 0"),
            ("churn_noise", self.churn_noise, 0.0, 1e6, "a standard deviation, such as 1.003"),
            ("sigma_y", self.sigma_y, 0.0, 1e6, "a standard deviation of at least 0"),
        ];
        for (name, value, low, high, what) in ranges {
            if let Some(value) = value.filter(|value| !(low..=high).contains(value)) {
                return Err(Error::Options(format!("{} is {value}; give {what}", name.replace('_', " "))));
            }
        }
        for (name, value) in [("jump_length", self.jump_length), ("jump_repeats", self.jump_repeats)] {
            if value.is_some_and(|value| !(1..=1000).contains(&value)) {
                return Err(Error::Options(format!("{}: give a count of 1 to 1000", name.replace('_', " "))));
            }
        }
        match self.times() {
            Some(grid) if !descends(grid, process) => Err(Error::Options(undescending(grid, process))),
            _ => Ok(()),
        }
    }

    /// The process that resolved settings sample from.
    ///
    /// # Errors
    /// [`Error::Options`] for an impossible respacing, or a sampler that steps through another kind of process.
    pub fn process(&self, config: &ModelConfig) -> Result<Process> {
        let whole = || Schedule::new(&config.diffusion, &Respacing::Sections(vec![config.diffusion.diffusion_steps]));
        let sampler = self.sampler.unwrap_or(Sampler::ancestral());
        match config.diffusion.process {
            ProcessKind::Discrete => {}
            kind => return Ok(Process::Karras(Karras::new(kind == ProcessKind::Consistency))),
        }
        match (sampler.entry().steps, self.times(), &self.steps) {
            (Steps::Respacing(_), Some(grid), _) => Ok(Process::Discrete(Schedule::at(&config.diffusion, grid)?)),
            (Steps::Respacing(_), None, Some(steps)) => Ok(Process::Discrete(Schedule::new(&config.diffusion, steps)?)),
            (Steps::Respacing(_), None, None) | (Steps::Count(_), ..) => Ok(Process::Discrete(whole()?)),
            (Steps::Sigma(_) | Steps::Levels(_), ..) => Ok(Process::Sigma(whole()?)),
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

    /// Puts the guidance of resolved settings into the rows: by a classifier's gradient, or `freely` by the null class.
    pub fn guide(&self, rows: &mut [Row], time_scale: f64, freely: bool) {
        for row in rows {
            let timestep = row.call.time / time_scale;
            let inside = |[low, high]: [u32; 2]| (f64::from(low)..=f64::from(high)).contains(&timestep);
            match self.guidance.filter(|_| self.guidance_interval.is_none_or(inside)) {
                Some(scale) if freely => row.guide_freely(scale),
                scale => row.scale_guidance(scale.unwrap_or(0.0)),
            }
        }
    }

    fn resolve_guidance(&self, facts: &Facts<'_>, sampler: Sampler, steps: usize) -> Result<Option<f64>> {
        let freely = facts.config.null_class.is_some();
        if !(facts.guided || freely && self.guidance.is_some()) {
            return match (self.guidance, self.guidance_interval) {
                (None, None) => Ok(None),
                (None, Some(_)) if freely => Err(Error::Options("a guidance interval needs a guidance scale".into())),
                _ => Err(Error::Options(
                    "guidance needs a classifier, or a model with a null class; load the model with a classifier"
                        .into(),
                )),
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
}
