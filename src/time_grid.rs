//! A time grid for few steps, searched for a model without training ("GITS": Chen et al. 2024, On the Trajectory Regularity of
//! ODE-based Diffusion Models, arXiv 2405.11326).
//!
//! A teacher solves the probability flow in 60 steps. In sigma-space, with x_i its state at level i and x0_i the x_0 predicted
//! there, one Euler step from level i to a later one j misses the teacher by
//!
//! ```text
//! c_ij = |x0_i + sigma_j/sigma_i (x_i - x0_i) - x_j|            its mean over images
//! ```
//!
//! and dynamic programming finds the levels of K steps with the least cost, later errors weighing more by a factor w >= 1:
//!
//! ```text
//! V_1(i) = c_i,end,  V_k(i) = min over j of c_ij + w V_(k-1)(j)
//! ```
//!
//! The paper takes w = 1.15. Here a few are tried, and the sampler's own steps as well; the grid whose samples end nearest to
//! the teacher's, from the same noise, is the result.

use std::ops::ControlFlow;

use crate::config::ProcessKind;
use crate::error::{Error, Result, go_or_stop};
use crate::image::Images;
use crate::model::sampling::ports;
use crate::run::SampleOptions;
use crate::sampler::dpm_solver::dpm_indices;
use crate::sampler::process::{Process, karras_sigmas};
use crate::sampler::{Sampler, Settings};
use crate::session::Session;

/// Steps of the teacher.
pub const TEACHER_STEPS: usize = 60;
/// The most steps that a grid is searched for: of half the teacher's, every other one of its own would do.
pub const MOST_STEPS: usize = TEACHER_STEPS / 2;
/// How much more each later step's error weighs.
const WEIGHTS: [f64; 5] = [1.0, 1.05, 1.1, 1.15, 1.2];

/// A teacher's trajectories.
#[derive(Debug)]
pub struct Teacher {
    /// Grid values of its levels: timesteps, or noise levels.
    values: Vec<f64>,
    /// c_ij for i < j, the last j being x_0.
    costs: Vec<Vec<f64>>,
    /// Its images, a batch each, with the index of the first.
    ends: Vec<(u32, Images)>,
    seed: u64,
}

/// A batch's trajectory.
struct Taken {
    /// Before the first step and after each.
    states: Vec<Vec<f32>>,
    /// The predicted x_0 of each step.
    predicted: Vec<Vec<f32>>,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Found {
    /// The grid, descending; of the sampler's own steps where none was nearer.
    pub grid: Vec<f64>,
    /// Root mean square distance of its samples to the teacher's.
    pub distance: f64,
    /// The same of the sampler's own steps.
    pub own_distance: f64,
}

impl Teacher {
    /// Solves for `images` images, the classes in turn. `progress` gets the evaluations so far and in all, in batches, and may
    /// stop the work.
    ///
    /// # Errors
    /// [`Error::Options`] for a model without such trajectories; a lost device; [`Error::Io`] of the kind `Interrupted` where it
    /// was stopped.
    pub async fn new(
        session: &mut Session,
        images: usize,
        seed: u64,
        mut progress: impl FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Self> {
        let (values, levels) = levels(session, TEACHER_STEPS)?;
        let mut teacher =
            Self { values, costs: vec![vec![0.0; TEACHER_STEPS + 1]; TEACHER_STEPS], ends: Vec::new(), seed };
        let batch = session.batch();
        let batches = images.max(1).div_ceil(batch);
        for first in (0..images).step_by(batch) {
            let count = batch.min(images - first);
            let sampler = if is_discrete(session) { "dpm++2m" } else { "euler" };
            let options = teacher.options(session, sampler, &teacher.values, first as u32, count)?;
            let mut run = session.sample(options)?;
            let mut taken = Taken { states: vec![run.first().await?], predicted: Vec::new() };
            while let Some(step) = run.step().await? {
                taken.predicted.push(run.program().read(ports::X_START).await?);
                taken.states.push(run.program().read(ports::X).await?);
                go_or_stop("grid", progress(first / batch * TEACHER_STEPS + step.done, batches * TEACHER_STEPS))?;
            }
            let size = taken.states[0].len() / batch;
            teacher.ends.push((first as u32, run.finish().await?));
            teacher.add_costs(&levels, &mut taken, [count, size], images);
        }
        Ok(teacher)
    }

    /// Adds the costs of some of the `images`: the first `count` of a batch whose images have `size` values each.
    fn add_costs(&mut self, levels: &[Level], taken: &mut Taken, [count, size]: [usize; 2], images: usize) {
        // To sigma-space.
        for (state, level) in taken.states.iter_mut().zip(levels) {
            state.iter_mut().for_each(|v| *v = (f64::from(*v) * level.scale) as f32);
        }
        for (i, x0) in taken.predicted.iter().enumerate() {
            for (j, cost) in self.costs[i].iter_mut().enumerate().skip(i + 1) {
                let ratio = (levels.get(j).map_or(0.0, |level| level.sigma) / levels[i].sigma) as f32;
                for image in (0..count).map(|n| n * size..(n + 1) * size) {
                    let (x, to) = (&taken.states[i][image.clone()], &taken.states[j][image.clone()]);
                    let misses = x0[image].iter().zip(x).zip(to).map(|((x0, x), to)| x0 + ratio * (x - x0) - to);
                    *cost += misses.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt() / images as f64;
                }
            }
        }
    }

    /// The grid of so many steps. `progress` is called after each step of each trial, and may stop the work.
    ///
    /// # Errors
    /// [`Error::Options`] for a number of steps that is none; a lost device; as [`Teacher::new`] where it was stopped.
    pub async fn grid(
        &self,
        session: &mut Session,
        steps: usize,
        mut progress: impl FnMut() -> ControlFlow<()>,
    ) -> Result<Found> {
        if !(2..=MOST_STEPS).contains(&steps) {
            return Err(Error::Options(format!("a grid of {steps} steps; give 2 to {MOST_STEPS}")));
        }
        // iPNDM ends at the lowest level, which its grid leaves out.
        let mut own = levels(session, steps + usize::from(!is_discrete(session)))?.0;
        own.truncate(steps);
        let own_distance = self.distance(session, &own, &mut progress).await?;
        let mut found = Found { grid: own, distance: own_distance, own_distance };
        let mut tried = Vec::new();
        for weight in WEIGHTS {
            let path = cheapest(&self.costs, steps, weight);
            if tried.contains(&path) {
                continue;
            }
            let grid: Vec<f64> = path.iter().map(|i| self.values[*i]).collect();
            let distance = self.distance(session, &grid, &mut progress).await?;
            if distance < found.distance {
                found = Found { grid, distance, ..found };
            }
            tried.push(path);
        }
        Ok(found)
    }

    /// How far samples by a grid end from the teacher's: root mean square over all values.
    async fn distance(
        &self,
        session: &mut Session,
        grid: &[f64],
        progress: &mut impl FnMut() -> ControlFlow<()>,
    ) -> Result<f64> {
        let (mut squares, mut count) = (0.0, 0);
        for (first, end) in &self.ends {
            let sampler = if is_discrete(session) { "dpm++2m" } else { "ipndm" };
            let options = self.options(session, sampler, grid, *first, end.count())?;
            let mut run = session.sample(options)?;
            while run.step().await?.is_some() {
                go_or_stop("grid", progress())?;
            }
            let images = run.finish().await?;
            squares += images.data().iter().zip(end.data()).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
            count += end.data().len();
        }
        Ok((squares / count.max(1) as f64).sqrt())
    }

    fn options(
        &self,
        session: &Session,
        sampler: &str,
        grid: &[f64],
        first_index: u32,
        count: usize,
    ) -> Result<SampleOptions> {
        let sampler: Sampler = sampler.parse()?;
        let settings =
            Settings { sampler: Some(sampler), grid: Some(grid.to_vec()), seed: self.seed, ..Settings::default() };
        let classes = session.config().classes_in_turn();
        let label = |i: u32| classes.get((i as usize).checked_rem(classes.len())?).copied();
        let labels = (first_index..first_index + count as u32).filter_map(label).collect();
        Ok(SampleOptions { count, labels, settings, first_index, ..SampleOptions::default() })
    }
}

/// A level of a trajectory: sigma, and what a state is multiplied with for sigma-space.
struct Level {
    sigma: f64,
    scale: f64,
}

fn is_discrete(session: &Session) -> bool {
    session.config().diffusion.process == ProcessKind::Discrete
}

/// The levels of a sampler's own `steps` steps: as a grid, and in sigma-space.
fn levels(session: &Session, steps: usize) -> Result<(Vec<f64>, Vec<Level>)> {
    let config = session.config();
    let sampler: Option<Sampler> = Some(if is_discrete(session) { "dpm++2m" } else { "euler" }.parse()?);
    let settings = Settings { sampler, ..Settings::default() };
    match settings.process(config)? {
        Process::Discrete(schedule) if schedule.len() <= TEACHER_STEPS => Err(Error::Options(format!(
            "the model's process has {} steps; grids are searched along {TEACHER_STEPS} of more",
            schedule.len()
        ))),
        Process::Discrete(schedule) => Ok(dpm_indices(schedule.len(), steps)
            .into_iter()
            .map(|i| {
                let scale = 1.0 / schedule.alphas_cumprod[i].sqrt();
                (schedule.timesteps[i] as f64, Level { sigma: schedule.sigma(i), scale })
            })
            .unzip()),
        process if config.diffusion.process == ProcessKind::Edm => {
            let sigmas = karras_sigmas(steps, process.sigmas());
            // Only the first state is a unit draw; the later ones are in sigma-space.
            let level = |(i, sigma): (usize, &f64)| Level { sigma: *sigma, scale: if i == 0 { *sigma } else { 1.0 } };
            let levels = sigmas.iter().enumerate().map(level).collect();
            Ok((sigmas, levels))
        }
        _ => Err(Error::Options(
            "a consistency model makes its images in one to three evaluations and follows no trajectory; it needs no grid"
                .into(),
        )),
    }
}

/// The cheapest way from the first node to the last in so many steps, the last node left out.
fn cheapest(costs: &[Vec<f64>], steps: usize, weight: f64) -> Vec<usize> {
    let nodes = costs.len();
    // Per number of steps left: the cost from each node, and the next node.
    let mut ways: Vec<Vec<(f64, usize)>> = vec![(0..nodes).map(|i| (costs[i][nodes], nodes)).collect()];
    for k in 1..steps {
        let better = |i: usize| {
            let through = (i + 1..nodes).map(|j| (costs[i][j] + weight * ways[k - 1][j].0, j));
            through.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::INFINITY, nodes))
        };
        let way = (0..nodes).map(better).collect();
        ways.push(way);
    }
    let mut path = vec![0];
    for way in ways.iter().skip(1).rev() {
        let last = path[path.len() - 1];
        path.push(way[last].1);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With quadratic costs equal steps are the cheapest; where later errors weigh more, later steps are shorter.
    #[test]
    fn the_cheapest_way_has_the_steps_asked_for() {
        let costs: Vec<Vec<f64>> =
            (0..12).map(|i| (0..=12).map(|j| (j as f64 - f64::from(i)).powi(2)).collect()).collect();
        assert_eq!(cheapest(&costs, 4, 1.0), [0, 3, 6, 9]);
        assert_eq!(cheapest(&costs, 1, 1.0), [0]);
        assert_eq!(cheapest(&costs, 12, 1.2), (0..12).collect::<Vec<_>>());
        let weighted = cheapest(&costs, 4, 2.0);
        assert!(weighted[1] - weighted[0] > 12 - weighted[3], "{weighted:?}");
        let cost = |path: &[usize]| {
            let nodes = [path, &[12]].concat();
            nodes.windows(2).rev().fold(0.0, |sum, pair| costs[pair[0]][pair[1]] + 2.0 * sum)
        };
        for a in 1..10 {
            for b in a + 1..11 {
                for c in b + 1..12 {
                    assert!(cost(&weighted) <= cost(&[0, a, b, c]));
                }
            }
        }
    }
}
