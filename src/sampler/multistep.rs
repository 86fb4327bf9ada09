//! Consistency models (Song et al. 2023, arXiv 2303.01469): x_0 in one evaluation, or in a few with fresh noise between
//! them (algorithm 1); edits put x0 + P(known - x0) for x0 (algorithm 4).
//!
//! ```text
//! x' = x0 + sqrt(sigma'^2 - sigma_min^2) noise       at the chosen levels of a Karras grid
//! ```

use super::process::karras_sigmas;
use super::registry::{Entry, Kind, Steps, Task};
use super::row::{KNOWN, NOISE, Row, X, X0, ZERO};
use super::sigma::finish;
use crate::error::{Error, Result};

pub(super) static ONESTEP: Entry = Entry {
    name: "onestep",
    summary: "a consistency model's image in one evaluation",
    kinds: &[Kind::Consistency],
    steps: Steps::Levels(40),
    options: &["optional_edit", "colourise", "upscale"],
    eta: 0.0,
    least: None,
    rows: |task| rows(task, &[0, task.count()?.max(2) - 1]),
};

pub(super) static MULTISTEP: Entry = Entry {
    name: "multistep",
    summary: "a consistency model's image in a few evaluations, with fresh noise between them",
    options: &["optional_edit", "colourise", "upscale", "at"],
    rows: |task| {
        let steps = task.count()?;
        // The published two-step schedule of the distilled models, on any grid.
        let usual = [0, (22 * steps.saturating_sub(1) + 19) / 39, steps.saturating_sub(1)];
        let at = match &task.settings.at {
            Some(at) => at.as_slice(),
            None if steps < 3 => {
                return Err(Error::Options(format!(
                    "steps {steps}: two evaluations take places of a grid of 3 or more levels (default 40); for one take the sampler onestep"
                )));
            }
            None => &usual,
        };
        if at.len() < 2 || at[0] != 0 || !at.is_sorted_by(|a, b| a < b) || at.last().is_none_or(|last| *last >= steps) {
            return Err(Error::Options(format!(
                "at: {at:?} must be two or more places, ascending from 0, on a grid of {steps} levels (0 to {}), such as 0,22,39",
                steps.saturating_sub(1)
            )));
        }
        rows(task, at)
    },
    ..ONESTEP
};

fn rows(task: &Task<'_>, at: &[usize]) -> Result<Vec<Row>> {
    let (lowest, highest) = task.process.sigmas();
    let grid = karras_sigmas(task.count()?.max(2), (lowest, highest));
    let clip = task.settings.clips();
    let mut rows = vec![Row::of(highest * X)];
    for pair in at.windows(2) {
        let (from, to) = (grid[pair[0]], grid[pair[1]]);
        let noise = if pair[1] + 1 < grid.len() { (to * to - lowest * lowest).sqrt() } else { 0.0 };
        let row = Row::call(task.process.call(from), clip, X0 + noise * NOISE);
        rows.push(Row { proj: if task.edits { KNOWN - X0 } else { ZERO }, ..row });
    }
    Ok(finish(rows, clip && !task.edits))
}
