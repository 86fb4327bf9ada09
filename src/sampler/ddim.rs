//! DDIM (Song et al. 2021): along the predicted noise, with a share `eta` of the posterior's randomness.
//!
//! ```text
//! eps = (x/sqrt(bar) - x0)/sqrt(1/bar - 1),  sigma = eta sqrt((1 - bar')/(1 - bar)) sqrt(1 - bar/bar')
//! x' = sqrt(bar') x0 + sqrt(1 - bar' - sigma^2) eps + sigma noise
//! ```
//!
//! ADM guides it after the clamp (Dhariwal & Nichol 2021, algorithm 2): x0 is shifted by (1 - bar)/sqrt(bar) g, and eps
//! follows.

use super::ancestral::stepwise;
use super::process::Process;
use super::registry::{Entry, Kind, Steps, Task};
use super::row::{GRAD, NOISE, Row, X, X0, ZERO};
use super::schedule::Schedule;
use crate::error::Result;

pub(super) static ENTRY: Entry = Entry {
    name: "ddim",
    summary: "along the predicted noise; deterministic at eta 0 (DDIM)",
    kinds: &[Kind::Discrete],
    steps: Steps::Respacing("ddim25"),
    options: &["strength", "eta"],
    eta: 0.0,
    least: None,
    rows,
};

fn rows(task: &Task<'_>) -> Result<Vec<Row>> {
    let (clip, eta) = (task.settings.clips(), task.settings.eta.unwrap_or(0.0));
    match task.process {
        Process::Discrete(schedule) => Ok(stepwise(task, schedule, |i| ddim_row(schedule, i, clip, eta))),
        _ => Err(task.wrong_process()),
    }
}

fn ddim_row(schedule: &Schedule, i: usize, clip: bool, eta: f64) -> Row {
    let (bar, prev) = (schedule.bar(Some(i)), schedule.bar(i.checked_sub(1)));
    let sigma = eta * ((1.0 - prev) / (1.0 - bar)).sqrt() * (1.0 - bar / prev).sqrt();
    let x0 = X0 + schedule.call(i).guide * GRAD;
    // Rounding may leave a tiny negative number where eta is 1.
    let direction = (1.0 - prev - sigma * sigma).max(0.0).sqrt();
    let noise = if i > 0 { sigma * NOISE } else { ZERO };
    let next = prev.sqrt() * x0 + direction * schedule.noise_of(X, x0, i) + noise;
    Row::call(schedule.unguided_call(i), clip, next)
}
