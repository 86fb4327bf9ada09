//! What the samplers of sigma-space share: their levels, the first and the last row, EDM's churn.

use super::process::{Process, karras_sigmas, tail};
use super::registry::Task;
use super::row::{Call, Combination, KNOWN, NOISE, Row, X, X0};
use crate::error::Result;

/// A step table in sigma-space while it is made.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    process: &'a Process,
    clip: bool,
    churn: [f64; 4],
    steps: usize,
    /// The levels to step through, descending.
    pub levels: Vec<f64>,
    rows: Vec<Row>,
}

impl<'a> Builder<'a> {
    /// The levels of a run, and its first row. `to_zero`: sigma 0 follows the lowest level of the process; else that is
    /// the last level, and there is one more of the others.
    pub fn new(task: &Task<'a>, to_zero: bool) -> Result<Self> {
        let (process, settings) = (task.process, task.settings);
        let levels = match task.grid_sigmas()? {
            Some(given) if to_zero => given.into_iter().chain([0.0]).collect(),
            Some(given) => {
                let lowest = process.sigmas().0;
                given.into_iter().filter(|level| *level > lowest).chain([lowest]).collect()
            }
            None if to_zero => {
                karras_sigmas(task.count()?, process.sigmas()).into_iter().chain([0.0]).collect::<Vec<_>>()
            }
            None => karras_sigmas(task.count()? + 1, process.sigmas()),
        };
        let steps = levels.len() - 1;
        let levels = tail(&levels, settings.strength).to_vec();
        let start = levels[0] * X;
        // Image to image starts from the noised image.
        let rows = vec![Row::of(if settings.strength.is_some() { start + KNOWN } else { start })];
        let churn = [
            settings.churn.unwrap_or(0.0),
            settings.churn_min.unwrap_or(0.0),
            settings.churn_max.unwrap_or(f64::INFINITY),
            settings.churn_noise.unwrap_or(1.0),
        ];
        Ok(Self { process, clip: settings.clips(), churn, steps, levels, rows })
    }

    /// Each step's levels, from and to.
    pub fn pairs(&self) -> Vec<(f64, f64)> {
        self.levels.windows(2).map(|pair| (pair[0], pair[1])).collect()
    }

    /// A row that calls the network at `sigma`.
    pub fn call(&mut self, sigma: f64, next: Combination) -> &mut Row {
        self.push(Row::call(self.process.call(sigma), self.clip, next))
    }

    /// Any row.
    pub fn push(&mut self, row: Row) -> &mut Row {
        let at = self.rows.len();
        self.rows.push(row);
        &mut self.rows[at]
    }

    /// Raises the noise level before a step from `sigma` and returns the raised one (Karras et al. 2022, algorithm 2).
    pub fn churned(&mut self, sigma: f64) -> f64 {
        let [churn, low, high, noise] = self.churn;
        let share =
            if (low..=high).contains(&sigma) { (churn / self.steps as f64).min(2f64.sqrt() - 1.0) } else { 0.0 };
        let raised = sigma * (1.0 + share);
        if raised > sigma {
            self.push(Row::of(X + noise * (raised * raised - sigma * sigma).sqrt() * NOISE));
        }
        raised
    }

    /// The table.
    pub fn finish(self) -> Vec<Row> {
        finish(self.rows, self.clip)
    }
}

/// Clamps a sample whose last row did not end at the clamped x_0, as the public `karras_sample` does.
pub(super) fn finish(mut rows: Vec<Row>, clip: bool) -> Vec<Row> {
    if clip && rows.last().is_none_or(|row| row.next != X0) {
        rows.push(Row::call(Call { skip: 1.0, ..Call::default() }, true, X0));
    }
    rows
}

/// The slope of the probability flow at `sigma`: d = (x - x0) / sigma.
pub(super) fn slope(sigma: f64) -> Combination {
    (1.0 / sigma) * (X - X0)
}

/// An Euler step from level `a` to `b`: x + (x - x0)/a (b - a), exactly x0 where b is 0.
pub(super) fn onto(a: f64, b: f64) -> Combination {
    X + ((b - a) / a) * (X - X0)
}
