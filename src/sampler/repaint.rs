//! RePaint (Lugmayr et al. 2022, arXiv 2201.09865): ancestral steps along a walk that goes back up now and then; before
//! each step but the first the known part is drawn again from q(x_i | known), and a step up is one of the forward process.
//!
//! ```text
//! down:  x = m (sqrt(bar_i) known + sqrt(1 - bar_i) noise) + (1 - m) x, then an ancestral step
//! up:    x' = sqrt(1 - beta) x + sqrt(beta) noise
//! ```

use super::ancestral::ancestral_row;
use super::process::Process;
use super::registry::{Entry, Kind, MANY_STEPS, Steps, Task};
use super::row::{KNOWN, NOISE, Row, X};
use crate::error::Result;

pub(super) static ENTRY: Entry = Entry {
    name: "repaint",
    summary: "completes a masked picture by ancestral steps that go back and forth (RePaint)",
    kinds: &[Kind::Discrete],
    steps: Steps::Respacing("250"),
    options: &["edit", "jump_length", "jump_repeats"],
    eta: 0.0,
    least: Some((MANY_STEPS, "ddnm")),
    rows,
};

fn rows(task: &Task<'_>) -> Result<Vec<Row>> {
    let Process::Discrete(schedule) = task.process else { return Err(task.wrong_process()) };
    let settings = task.settings;
    schedule.check_two_steps()?;
    let walk = task.walk(schedule.len(), 10, 10)?;
    let mut rows = Vec::new();
    for pair in walk.windows(2) {
        match (pair[0], pair[1]) {
            (Some(from), Some(to)) if to > from => {
                let beta = schedule.betas[to];
                rows.push(Row::of((1.0 - beta).sqrt() * X + beta.sqrt() * NOISE));
            }
            (Some(from), _) => {
                if !rows.is_empty() {
                    let bar = schedule.bar(Some(from));
                    let drawn = bar.sqrt() * KNOWN + (1.0 - bar).sqrt() * NOISE;
                    rows.push(Row { proj: drawn - X, ..Row::of(X) });
                }
                rows.push(ancestral_row(schedule, from, settings.clips()));
            }
            _ => {}
        }
    }
    Ok(rows)
}
