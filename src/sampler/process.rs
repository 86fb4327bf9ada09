//! The processes that images are sampled from, and how each calls its network.
//!
//! - discrete: x = sqrt(bar) x_0 + sqrt(1 - bar) noise at the indices of a (respaced) schedule; every ADM file. Ho et al.
//!   2020.
//! - the same seen in sigma-space, x = x_0 + sigma noise with sigma = sqrt((1 - bar) / bar), for samplers that step there;
//!   between two indices the network's time is linear in ln sigma (k-diffusion's `OpenAIDenoiser`).
//! - Karras: a network of EDM or of a consistency model, trained in sigma-space (Karras et al. 2022, table 1; Song et al.
//!   2023, appendix C).

use super::row::Call;
use super::schedule::Schedule;

/// What a sampler's rows are made for.
#[derive(Debug, Clone, PartialEq)]
pub enum Process {
    /// A discrete process in its own coordinates.
    Discrete(Schedule),
    /// A discrete process in sigma-space.
    Sigma(Schedule),
    /// A network that was trained in sigma-space.
    Karras(Karras),
}

/// The preconditioning of EDM and of consistency models.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Karras {
    /// Standard deviation of the training images.
    pub sigma_data: f64,
    /// The lowest noise level.
    pub sigma_min: f64,
    /// The highest noise level.
    pub sigma_max: f64,
    /// A consistency model: at `sigma_min` it returns x itself.
    pub consistency: bool,
}

impl Karras {
    /// As all public files have it.
    pub fn new(consistency: bool) -> Self {
        Self { sigma_data: 0.5, sigma_min: 0.002, sigma_max: 80.0, consistency }
    }

    /// With d = sigma_data and m = sigma_min (consistency) or 0 (EDM): c_skip = d^2 / ((sigma - m)^2 + d^2), c_out =
    /// (sigma - m) d / sqrt(sigma^2 + d^2), c_in = 1 / sqrt(sigma^2 + d^2), time = 1000 / 4 ln sigma.
    fn call(&self, sigma: f64) -> Call {
        let d = self.sigma_data;
        let shifted = if self.consistency { sigma - self.sigma_min } else { sigma };
        let norm = (sigma * sigma + d * d).sqrt();
        Call {
            // The public code's guard against ln 0.
            time: 250.0 * (sigma + 1e-44).ln(),
            c_in: 1.0 / norm,
            skip: d * d / (shifted * shifted + d * d),
            out: shifted * d / norm,
            guide: 0.0,
        }
    }
}

impl Process {
    /// Indices of a discrete process.
    pub fn steps(&self) -> Option<usize> {
        match self {
            Self::Discrete(schedule) | Self::Sigma(schedule) => Some(schedule.len()),
            Self::Karras(_) => None,
        }
    }

    /// The network's time per timestep of the full process.
    pub fn time_scale(&self) -> f64 {
        match self {
            Self::Discrete(schedule) | Self::Sigma(schedule) => schedule.time_scale(),
            Self::Karras(_) => 1.0,
        }
    }

    /// The noise level sigma at a timestep of the full process, between two of them by ln sigma; in sigma-space, where a
    /// timestep is 250 ln sigma, its own.
    pub fn sigma_at(&self, timestep: f64) -> f64 {
        let (Self::Discrete(schedule) | Self::Sigma(schedule)) = self else { return (timestep / 250.0).exp() };
        let at = |index: usize| schedule.timesteps.get(index).map_or(f64::NAN, |t| *t as f64);
        let above =
            schedule.timesteps.partition_point(|t| (*t as f64) < timestep).min(schedule.len().saturating_sub(1));
        let below = if at(above) > timestep { above.saturating_sub(1) } else { above };
        let share = if above == below { 0.0 } else { (timestep - at(below)) / (at(above) - at(below)) };
        let (low, high) = (schedule.sigma(below).ln(), schedule.sigma(above).ln());
        (low + share * (high - low)).exp()
    }

    /// The lowest and the highest noise level of a process in sigma-space.
    pub fn sigmas(&self) -> (f64, f64) {
        match self {
            Self::Karras(karras) => (karras.sigma_min, karras.sigma_max),
            Self::Discrete(schedule) | Self::Sigma(schedule) => {
                (schedule.sigma(0), schedule.sigma(schedule.len().saturating_sub(1)))
            }
        }
    }

    /// How the network is called at a noise level of sigma-space.
    pub fn call(&self, sigma: f64) -> Call {
        match self {
            Self::Karras(karras) => karras.call(sigma),
            Self::Discrete(schedule) | Self::Sigma(schedule) => schedule.call_at_sigma(sigma),
        }
    }
}

/// `count` levels from the highest to the lowest of a process, linear in sigma^(1/7) (Karras et al. 2022, equation 5).
pub fn karras_sigmas(count: usize, (lowest, highest): (f64, f64)) -> Vec<f64> {
    const RHO: f64 = 7.0;
    let (a, b) = (highest.powf(1.0 / RHO), lowest.powf(1.0 / RHO));
    let share = |i: usize| if count < 2 { 0.0 } else { i as f64 / (count - 1) as f64 };
    (0..count).map(|i| (a + share(i) * (b - a)).powf(RHO)).collect()
}

/// The end of descending `levels` that image to image steps through: round(strength * steps) of their steps, halves to
/// even (SDEdit, Meng et al. 2022); all of them without a strength.
pub fn tail<T>(levels: &[T], strength: Option<f64>) -> &[T] {
    let steps = levels.len().saturating_sub(1);
    let kept = strength.map_or(steps, |share| (share * steps as f64).round_ties_even() as usize);
    &levels[steps - kept.min(steps)..]
}

/// RePaint's walk over the indices of a process of `steps` (Lugmayr et al. 2022, algorithm 1): down by one; at every
/// multiple of `length` below `steps - length`, `repeats - 1` times back up by `length`. It ends at `None`, which is x_0.
pub fn jumps(steps: usize, length: usize, repeats: usize) -> Vec<Option<usize>> {
    let length = length.max(1);
    let turns = steps.saturating_sub(length).div_ceil(length);
    let mut left = vec![repeats.saturating_sub(1); turns];
    let (mut t, mut walk) = (steps, Vec::new());
    while t >= 1 {
        t -= 1;
        walk.push(Some(t));
        if t % length == 0
            && let Some(left) = left.get_mut(t / length).filter(|left| **left > 0)
        {
            *left -= 1;
            walk.extend((t + 1..=t + length).map(Some));
            t += length;
        }
    }
    walk.push(None);
    walk
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DiffusionConfig, NoiseSchedule};

    #[test]
    fn timesteps_have_the_noise_levels_that_networks_are_called_at() {
        let config = DiffusionConfig::new(1000, NoiseSchedule::Cosine);
        let schedule = |steps: &str| Schedule::new(&config, &steps.parse().expect("steps")).expect("a schedule");
        let near = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-6, "{a} is not {b}");
        let respaced = schedule("ddim25");
        let discrete = Process::Discrete(respaced.clone());
        for (index, timestep) in respaced.timesteps.iter().enumerate() {
            near(discrete.sigma_at(*timestep as f64), respaced.sigma(index));
        }
        for process in [Process::Sigma(schedule("1000")), Process::Karras(Karras::new(false))] {
            for sigma in karras_sigmas(9, process.sigmas()) {
                near(process.sigma_at(process.call(sigma).time / process.time_scale()), sigma);
            }
        }
    }
}
