//! DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095), multistep of order 2 and 3, on the x_0 that a discrete process's
//! network predicts: one evaluation per step.
//!
//! With lambda = ln(sqrt(bar) / sqrt(1 - bar)) at the indices i_k, newest first (0: the level stepped to), m_k the x_0
//! predicted there, h = lambda_0 - lambda_1, r0 = (lambda_1 - lambda_2)/h, r1 = (lambda_2 - lambda_3)/h:
//!
//! ```text
//! x' = sigma'/sigma x - alpha' p1 m0                                          p1 = e^-h - 1
//!      - alpha' p1/2 D                     of order 2, D = (m0 - m1)/r0
//!      + alpha' (p2 D1 - p3 D2)            of order 3, p2 = p1/h + 1, p3 = p2/h - 1/2
//! D1 = D + r0/(r0 + r1) (D - D'),  D2 = (D - D')/(r0 + r1),  D' = (m1 - m2)/r1
//! ```
//!
//! The order is lower at both ends: one more predicted x_0 is known each step; 1 at the last step, and 2 before it where
//! there are fewer than 15 steps. Index k of n is round(k (steps - 1)/n), halves to even.

use super::process::{Process, tail};
use super::registry::{Entry, Kind, Steps, Task};
use super::row::{Combination, H1, H2, Row, X, X0};
use crate::error::{Error, Result};

pub(super) static SECOND: Entry = Entry {
    name: "dpm++2m",
    summary: "DPM-Solver++ multistep of order 2: one evaluation per step",
    kinds: &[Kind::Discrete],
    steps: Steps::Count(20),
    options: &["strength"],
    eta: 0.0,
    least: None,
    rows: |task| rows(task, 2),
};

pub(super) static THIRD: Entry = Entry {
    name: "dpm++3m",
    summary: "DPM-Solver++ multistep of order 3: one evaluation per step",
    rows: |task| rows(task, 3),
    ..SECOND
};

fn rows(task: &Task<'_>, order: usize) -> Result<Vec<Row>> {
    let Process::Discrete(schedule) = task.process else { return Err(task.wrong_process()) };
    let indices: Vec<Option<usize>> = match task.grid_indices(schedule)? {
        Some(given) => given.into_iter().map(Some).chain([None]).collect(),
        None => {
            let (most, count) = (schedule.len().saturating_sub(1), task.count()?);
            if count > most {
                return Err(Error::Options(format!(
                    "steps {count}: give at most {most}, this process's steps but for its last"
                )));
            }
            dpm_indices(schedule.len(), count).into_iter().map(Some).chain([None]).collect()
        }
    };
    let strength = task.settings.strength;
    let n = indices.len() - 1;
    let first = indices.len() - tail(&indices, strength).len();
    let start = strength.and(indices[first]).map(|i| schedule.forward_row(i));
    let steps = (first..n).filter_map(|k| {
        let order = order_of(k, first, n, order);
        let bars: Vec<f64> = indices[k + 1 - order..=k + 1].iter().rev().map(|i| schedule.bar(*i)).collect();
        let row = Row::call(schedule.call(indices[k]?), task.settings.clips(), step(&bars));
        Some(Row { keep: X0, ..row })
    });
    Ok(start.into_iter().chain(steps).collect())
}

/// `n` indices, descending, of n + 1 equally spaced ones; 0 itself is left out.
pub fn dpm_indices(steps: usize, n: usize) -> Vec<usize> {
    let stride = steps.saturating_sub(1) as f64 / n as f64;
    (1..=n).rev().map(|k| (k as f64 * stride).round_ties_even() as usize).collect()
}

/// The order of step `k` of `n`, of which `first` was the first.
fn order_of(k: usize, first: usize, n: usize, order: usize) -> usize {
    let most = match n - 1 - k {
        0 => 1,
        1 if n < 15 => 2,
        _ => order,
    };
    order.min(k - first + 1).min(most)
}

/// The step to `bars[0]` from predictions at the others, newest first.
fn step(bars: &[f64]) -> Combination {
    let log_snr = |bar: f64| if bar < 1.0 { 0.5 * (bar / (1.0 - bar)).ln() } else { f64::INFINITY };
    let lambda = |k: usize| log_snr(bars[k]);
    let (h, alpha) = (lambda(0) - lambda(1), bars[0].sqrt());
    let p1 = (-h).exp() - 1.0;
    let first = ((1.0 - bars[0]) / (1.0 - bars[1])).sqrt() * X - alpha * p1 * X0;
    if bars.len() == 2 {
        return first;
    }
    let r0 = (lambda(1) - lambda(2)) / h;
    let d = (1.0 / r0) * (X0 - H1);
    if bars.len() == 3 {
        return first - alpha * p1 / 2.0 * d;
    }
    let r1 = (lambda(2) - lambda(3)) / h;
    let second = 1.0 / (r0 + r1) * (d - (1.0 / r1) * (H1 - H2));
    let p2 = p1 / h + 1.0;
    first + alpha * p2 * (d + r0 * second) - alpha * (p2 / h - 0.5) * second
}
