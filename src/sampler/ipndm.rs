//! iPNDM (Zhang & Chen 2022, arXiv 2204.13902): Adams-Bashforth steps on the probability flow of sigma-space, as if the
//! steps were equal; one evaluation per step.
//!
//! ```text
//! d = (x - x0)/sigma,  x' = x + (sigma' - sigma) (55 d - 59 d1 + 37 d2 - 9 d3)/24       lower orders at the start
//! ```
//!
//! `analytic_start`: the first d is x / sqrt(1 + sigma^2), which needs no evaluation. `denoise`: a last evaluation puts
//! x_0 at the lowest level for x.

use super::registry::{Entry, Kind, Steps, Task};
use super::row::{Combination, H1, H2, H3, Row, X, X0, ZERO};
use super::sigma::{Builder, slope};
use crate::error::Result;

pub(super) static ENTRY: Entry = Entry {
    name: "ipndm",
    summary: "Adams-Bashforth steps of order up to 4 in sigma-space: one evaluation per step",
    kinds: &[Kind::Discrete, Kind::Edm, Kind::Consistency],
    steps: Steps::Sigma(10),
    options: &["strength", "analytic_start", "denoise"],
    eta: 0.0,
    least: None,
    rows,
};

/// Weights of the newest slope and the past ones, by how many are remembered.
const WEIGHTS: [&[f64]; 4] = [
    &[1.0],
    &[3.0 / 2.0, -1.0 / 2.0],
    &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
    &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
];

fn rows(task: &Task<'_>) -> Result<Vec<Row>> {
    let mut table = Builder::new(task, false)?;
    let analytic_start = task.settings.analytic_start.unwrap_or(false);
    for (i, (a, b)) in table.pairs().into_iter().enumerate() {
        let analytic = analytic_start && i == 0;
        let d = if analytic { 1.0 / (1.0 + a * a).sqrt() * X } else { slope(a) };
        let slopes: [Combination; 4] = [d, H1, H2, H3];
        let mean = WEIGHTS[i.min(3)].iter().zip(slopes).fold(ZERO, |sum, (w, d)| sum + *w * d);
        let next = X + (b - a) * mean;
        if analytic {
            table.push(Row::of(next)).keep = d;
        } else {
            table.call(a, next).keep = d;
        }
    }
    if let (Some(true), Some(last)) = (task.settings.denoise, table.levels.last().copied()) {
        table.call(last, X0);
    }
    Ok(table.finish())
}
