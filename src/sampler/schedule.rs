//! A discrete diffusion process on the host, in float64, since alpha-bar reaches 1e-9 and its differences cancel. The
//! formulas are those of Ho et al. 2020 and Nichol & Dhariwal 2021 (cosine schedule, learned range of the variance).

use super::respace::Respacing;
use super::row::{Call, Combination, KNOWN, Row, X};
use crate::config::{self, DiffusionConfig, NoiseSchedule};
use crate::{Error, Result};

/// Where a step's variance comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variance {
    /// The network interpolates between the posterior's log variance and log beta.
    LearnedRange,
    /// Beta, except at the last step.
    FixedLarge,
    /// The posterior's.
    FixedSmall,
}

/// The full process's betas.
///
/// # Errors
/// [`Error::Config`] for an impossible number of steps.
pub fn betas(schedule: NoiseSchedule, steps: usize) -> Result<Vec<f64>> {
    config::check_schedule(schedule, steps)?;
    match schedule {
        NoiseSchedule::Linear => {
            let scale = 1000.0 / steps as f64;
            let (first, last) = (scale * 1e-4, scale * 0.02);
            let delta = (last - first) / (steps - 1) as f64;
            Ok((0..steps).map(|i| if i + 1 == steps { last } else { first + i as f64 * delta }).collect())
        }
        NoiseSchedule::Cosine => {
            let bar = |t: f64| ((t + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
            let at = |i: usize| bar(i as f64 / steps as f64);
            Ok((0..steps).map(|i| (1.0 - at(i + 1) / at(i)).min(0.999)).collect())
        }
    }
}

/// A respaced process. All tables have one entry per kept step, the cleanest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// The kept steps of the full process, ascending.
    pub timesteps: Vec<usize>,
    /// The share of the image's variance left at each step (alpha-bar).
    pub alphas_cumprod: Vec<f64>,
    /// The same one step earlier; 1 for step 0.
    pub alphas_cumprod_prev: Vec<f64>,
    /// The respaced betas.
    pub betas: Vec<f64>,
    /// Variance of q(x_{i-1} | x_i, x_0); 0 at step 0.
    pub posterior_variance: Vec<f64>,
    /// Its logarithm, step 0 taking step 1's.
    pub posterior_log_variance: Vec<f64>,
    /// Weight of x_0 in the posterior's mean.
    pub coef1: Vec<f64>,
    /// Weight of x_i in the posterior's mean.
    pub coef2: Vec<f64>,
    /// Where a step's variance comes from.
    pub variance: Variance,
    /// The network predicts x_0 instead of the noise.
    pub predict_xstart: bool,
    /// What the network's timesteps are multiplied with, where it was trained so.
    time_scale: Option<f32>,
}

/// The noise level of an alpha-bar in sigma-space.
fn sigma_of(bar: f64) -> f64 {
    ((1.0 - bar) / bar).sqrt()
}

impl Schedule {
    /// The process `config` describes, shortened by `respacing`.
    ///
    /// # Errors
    /// [`Error::Config`] for an impossible process, [`Error::Options`] for an impossible respacing.
    pub fn new(config: &DiffusionConfig, respacing: &Respacing) -> Result<Self> {
        // Also checks the number of steps, before anything is allocated for it.
        let all = betas(config.noise_schedule, config.diffusion_steps)?.len();
        let timesteps = respacing.timesteps(all)?;
        if timesteps.len() < 2 {
            return Err(Error::Options(format!(
                "steps {respacing}: sampling needs at least 2 steps; a single one would start at the clean end"
            )));
        }
        Self::of_timesteps(config, timesteps)
    }

    /// The process at the timesteps of a descending time grid.
    ///
    /// # Errors
    /// [`Error::Options`] for values that are not timesteps of the process.
    pub fn at(config: &DiffusionConfig, grid: &[f64]) -> Result<Self> {
        let timestep = |t: &f64| {
            let whole = t.fract() == 0.0 && (0.0..config.diffusion_steps as f64).contains(t);
            whole.then_some(*t as usize).ok_or_else(|| {
                Error::Options(format!(
                    "grid: {t} is not a timestep; give whole numbers below {}",
                    config.diffusion_steps
                ))
            })
        };
        Self::of_timesteps(config, grid.iter().rev().map(timestep).collect::<Result<_>>()?)
    }

    /// The process at ascending timesteps.
    fn of_timesteps(config: &DiffusionConfig, timesteps: Vec<usize>) -> Result<Self> {
        let mut bar = 1.0;
        let full: Vec<f64> = betas(config.noise_schedule, config.diffusion_steps)?
            .into_iter()
            .map(|beta| {
                bar *= 1.0 - beta;
                bar
            })
            .collect();
        let alphas_cumprod: Vec<f64> = timesteps.iter().map(|&t| full[t]).collect();
        let mut schedule = Self {
            variance: match (config.learn_sigma, config.sigma_small) {
                (true, _) => Variance::LearnedRange,
                (false, true) => Variance::FixedSmall,
                (false, false) => Variance::FixedLarge,
            },
            predict_xstart: config.predict_xstart,
            time_scale: config.rescale_timesteps.then(|| (1000.0 / config.diffusion_steps as f64) as f32),
            alphas_cumprod_prev: std::iter::once(1.0)
                .chain(alphas_cumprod.iter().copied())
                .take(timesteps.len())
                .collect(),
            betas: Vec::new(),
            posterior_variance: Vec::new(),
            posterior_log_variance: Vec::new(),
            coef1: Vec::new(),
            coef2: Vec::new(),
            timesteps,
            alphas_cumprod,
        };
        for (&bar, &prev) in schedule.alphas_cumprod.iter().zip(&schedule.alphas_cumprod_prev) {
            let beta = 1.0 - bar / prev;
            schedule.betas.push(beta);
            schedule.posterior_variance.push(beta * (1.0 - prev) / (1.0 - bar));
            schedule.coef1.push(beta * prev.sqrt() / (1.0 - bar));
            schedule.coef2.push((1.0 - prev) * (1.0 - beta).sqrt() / (1.0 - bar));
        }
        // The posterior's variance is 0 at step 0, so its logarithm takes step 1's.
        let variance = &schedule.posterior_variance;
        let second = usize::from(variance.len() > 1);
        schedule.posterior_log_variance = (0..variance.len()).map(|i| variance[i.max(second)].ln()).collect();
        Ok(schedule)
    }

    /// Refuses a single step for a sampler that needs its posterior's variance, which is 0 there.
    ///
    /// # Errors
    /// [`Error::Options`].
    pub(super) fn check_two_steps(&self) -> Result<()> {
        match self.len() {
            0 | 1 => {
                Err(Error::Options("grid: this sampler needs at least 2 timesteps; ddim can make a single one".into()))
            }
            _ => Ok(()),
        }
    }

    /// alpha-bar at an index; 1 for None, which is x_0.
    pub(super) fn bar(&self, index: Option<usize>) -> f64 {
        index.and_then(|i| self.alphas_cumprod.get(i).copied()).unwrap_or(1.0)
    }

    /// The network's time per timestep.
    pub(super) fn time_scale(&self) -> f64 {
        self.time_scale.map_or(1.0, f64::from)
    }

    /// The noise level of an index in sigma-space, sqrt((1 - bar) / bar).
    pub fn sigma(&self, index: usize) -> f64 {
        sigma_of(self.bar(Some(index)))
    }

    /// How the network is called at an index; guidance shifts the predicted noise by -sqrt(1 - bar) g.
    pub(super) fn call(&self, index: usize) -> Call {
        let bar = self.bar(Some(index));
        let (skip, out) = match self.predict_xstart {
            true => (0.0, 1.0),
            false => ((1.0 / bar).sqrt(), -(1.0 / bar - 1.0).sqrt()),
        };
        Call { time: self.model_timestep(index).into(), c_in: 1.0, skip, out, guide: (1.0 - bar) / bar.sqrt() }
    }

    /// The same without guidance in x_0.
    pub(crate) fn unguided_call(&self, index: usize) -> Call {
        Call { guide: 0.0, ..self.call(index) }
    }

    /// How the network is called at a noise level of sigma-space, as k-diffusion's `OpenAIDenoiser`: c_in = 1 /
    /// sqrt(sigma^2 + 1), time linear in ln sigma between two indices.
    pub(super) fn call_at_sigma(&self, sigma: f64) -> Call {
        let last = self.len().saturating_sub(1);
        let above = self.alphas_cumprod.partition_point(|bar| sigma_of(*bar) < sigma).min(last);
        let below = above.saturating_sub(1);
        let (low, high) = (self.sigma(below).ln(), self.sigma(above).ln());
        let share = if high > low { ((sigma.ln() - low) / (high - low)).clamp(0.0, 1.0) } else { 0.0 };
        let (from, to) = (self.timesteps[below] as f64, self.timesteps[above] as f64);
        let time = (from + share * (to - from)) * self.time_scale.map_or(1.0, f64::from);
        let (skip, out) = if self.predict_xstart { (0.0, 1.0) } else { (1.0, -sigma) };
        let c_in = 1.0 / (sigma * sigma + 1.0).sqrt();
        Call { time, c_in, skip, out, guide: sigma * sigma * c_in }
    }

    /// The noise that an x_0 implies at an index: (x / sqrt(bar) - x_0) / sqrt(1 / bar - 1).
    pub(super) fn noise_of(&self, x: Combination, x0: Combination, index: usize) -> Combination {
        let bar = self.bar(Some(index));
        1.0 / (1.0 / bar - 1.0).sqrt() * ((1.0 / bar).sqrt() * x - x0)
    }

    /// A first row: q(x_i | known) from a unit normal x.
    pub(super) fn forward_row(&self, index: usize) -> Row {
        let bar = self.bar(Some(index));
        Row::of(bar.sqrt() * KNOWN + (1.0 - bar).sqrt() * X)
    }

    /// The two log variances between which the network interpolates at an index; equal where it does not.
    pub(crate) fn log_variance(&self, index: usize) -> [f64; 2] {
        let (low, high) = (self.posterior_log_variance[index], self.betas[index].ln());
        match self.variance {
            Variance::LearnedRange => [low, high],
            Variance::FixedLarge if index > 0 => [high; 2],
            Variance::FixedLarge | Variance::FixedSmall => [low; 2],
        }
    }

    /// The number of sampling steps.
    pub fn len(&self) -> usize {
        self.timesteps.len()
    }

    /// Whether there is no step; never true for a constructed schedule.
    pub fn is_empty(&self) -> bool {
        self.timesteps.is_empty()
    }

    /// The timestep of respaced step `index` as the network takes it.
    fn model_timestep(&self, index: usize) -> f32 {
        let t = self.timesteps[index] as f32;
        // In float32, as the networks were trained: rounding a float64 product could end an ulp apart.
        self.time_scale.map_or(t, |scale| t * scale)
    }
}
