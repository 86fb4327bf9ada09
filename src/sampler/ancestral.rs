//! The samplers that draw at each step from the reverse process's own distribution.
//!
//! Discrete (DDPM, Ho et al. 2020, with the learned variance of Nichol & Dhariwal 2021 and ADM's guidance, Dhariwal &
//! Nichol 2021, algorithm 1): with the posterior's coefficients and s its standard deviation,
//!
//! ```text
//! x' = coef1 x0 + coef2 x + s^2 g + s noise          without noise at the last step
//! ```
//!
//! In sigma-space (k-diffusion's `sample_euler_ancestral`, of a discrete process by the name `euler_ancestral`): an Euler
//! step down, then noise up,
//!
//! ```text
//! up^2 = sigma'^2 (sigma^2 - sigma'^2)/sigma^2,  down^2 = sigma'^2 - up^2
//! x' = x + (x - x0)/sigma (down - sigma) + up noise
//! ```

use super::process::{Process, tail};
use super::registry::{Entry, Kind, MANY_STEPS, Steps, Task};
use super::row::{GRAD, NOISE, Row, X, X0, ZERO};
use super::schedule::Schedule;
use super::sigma::{Builder, onto};
use crate::error::Result;

pub(super) static ENTRY: Entry = Entry {
    name: "ancestral",
    summary: "draws from the learned posterior at each step (DDPM)",
    kinds: &[Kind::Discrete, Kind::Edm, Kind::Consistency],
    // The public scripts' choice.
    steps: Steps::Respacing("250"),
    options: &["strength"],
    eta: 0.0,
    least: Some((MANY_STEPS, "dpm++2m")),
    rows,
};

/// The steps of sigma-space for a discrete process, whose `ancestral` is DDPM's.
pub(super) static EULER: Entry = Entry {
    name: "euler_ancestral",
    summary: "Euler steps in sigma-space with fresh noise after each",
    kinds: &[Kind::Discrete],
    steps: Steps::Sigma(25),
    options: &["strength"],
    eta: 0.0,
    least: None,
    rows: euler_rows,
};

fn rows(task: &Task<'_>) -> Result<Vec<Row>> {
    match task.process {
        Process::Discrete(schedule) => {
            schedule.check_two_steps()?;
            Ok(stepwise(task, schedule, |i| ancestral_row(schedule, i, task.settings.clips())))
        }
        _ => euler_rows(task),
    }
}

fn euler_rows(task: &Task<'_>) -> Result<Vec<Row>> {
    let mut table = Builder::new(task, true)?;
    for (a, b) in table.pairs() {
        let up = b * (a * a - b * b).sqrt() / a;
        table.call(a, onto(a, (b * b - up * up).sqrt()) + up * NOISE);
    }
    Ok(table.finish())
}

/// A row per kept index of a discrete process, or the last of them from the noised known image.
pub(super) fn stepwise(task: &Task<'_>, schedule: &Schedule, row: impl Fn(usize) -> Row) -> Vec<Row> {
    let indices: Vec<Option<usize>> = (0..schedule.len()).rev().map(Some).chain([None]).collect();
    let kept = tail(&indices, task.settings.strength);
    let start = task.settings.strength.and(kept[0]).map(|i| schedule.forward_row(i));
    start.into_iter().chain(kept.iter().flatten().map(|i| row(*i))).collect()
}

/// One ancestral step from index `i`.
pub(super) fn ancestral_row(schedule: &Schedule, i: usize, clip: bool) -> Row {
    let noise = if i > 0 { NOISE } else { ZERO };
    let next = schedule.coef1[i] * X0 + schedule.coef2[i] * X + noise + GRAD;
    Row { log_variance: schedule.log_variance(i), ..Row::call(schedule.unguided_call(i), clip, next) }
}
