//! DDNM (Wang et al. 2022, arXiv 2212.00490): the predicted x_0 is corrected by what an edit knows, x0 + lambda P(known -
//! x0); then to the next level with a share eta of fresh noise and the rest of the noise that x_0 implies. Time travel
//! goes back up from the last uncorrected x_0.
//!
//! ```text
//! x' = sqrt(bar') (x0 + lambda P(known - x0)) + sqrt(var) (eta noise + sqrt(1 - eta^2) eps)
//! ```
//!
//! Without observation noise lambda is 1 and var is 1 - bar'; with it, bar' (lambda sigma_y)^2 + var = 1 - bar' where
//! that is possible.

use super::process::Process;
use super::registry::{Entry, Kind, Steps, Task};
use super::row::{H1, KNOWN, NOISE, Row, X, X0, ZERO};
use crate::error::Result;

pub(super) static ENTRY: Entry = Entry {
    name: "ddnm",
    summary: "completes, colours or enlarges a picture by data consistency at each step (DDNM)",
    kinds: &[Kind::Discrete],
    steps: Steps::Respacing("100"),
    options: &["edit", "colourise", "upscale", "eta", "sigma_y", "jump_length", "jump_repeats"],
    eta: ETA,
    least: None,
    rows,
};

/// The published randomness.
const ETA: f64 = 0.85;

fn rows(task: &Task<'_>) -> Result<Vec<Row>> {
    let Process::Discrete(schedule) = task.process else { return Err(task.wrong_process()) };
    let settings = task.settings;
    let (eta, sigma_y) = (settings.eta.unwrap_or(ENTRY.eta), settings.sigma_y.unwrap_or(0.0));
    let repeats = settings.jump_repeats.unwrap_or(1);
    let walk = task.walk(schedule.len(), 1, 1)?;
    let mut rows = Vec::new();
    for pair in walk.windows(2) {
        let bar = schedule.bar(pair[1]);
        match (pair[0], pair[1]) {
            (Some(from), Some(to)) if to > from => {
                rows.push(Row::of(bar.sqrt() * H1 + (1.0 - bar).sqrt() * NOISE));
            }
            (Some(from), _) => {
                let (weight, variance) = weights(bar, sigma_y);
                let noise = eta * NOISE + (1.0 - eta * eta).sqrt() * schedule.noise_of(X, X0, from);
                let next = bar.sqrt() * X0 + variance.sqrt() * noise;
                let row = Row::call(schedule.call(from), settings.clips(), next);
                let keep = if repeats > 1 { X0 } else { ZERO };
                rows.push(Row { proj: bar.sqrt() * weight * (KNOWN - X0), keep, ..row });
            }
            _ => {}
        }
    }
    Ok(rows)
}

/// (lambda, variance left for noise) of a step to `bar` with observation noise `sigma_y`.
fn weights(bar: f64, sigma_y: f64) -> (f64, f64) {
    let (carried, left) = (bar.sqrt() * sigma_y, (1.0 - bar).sqrt());
    if left >= carried { (1.0, left * left - carried * carried) } else { (left / carried, 0.0) }
}
