//! DDIM inversion (Song et al. 2021, section 4.3): from an image to the noise that DDIM samples it from; each index's x_0
//! and noise, put together at the next noisier level, the last at bar = 0.
//!
//! ```text
//! x' = sqrt(bar') x0 + sqrt(1 - bar') eps
//! ```

use super::process::Process;
use super::registry::{Entry, Kind, Steps, Task};
use super::row::{KNOWN, Row, X, X0};
use crate::error::Result;

pub(super) static ENTRY: Entry = Entry {
    name: "invert",
    summary: "from a picture back to the noise that ddim makes it from",
    kinds: &[Kind::Discrete],
    steps: Steps::Respacing("ddim50"),
    options: &["whole"],
    eta: 0.0,
    least: None,
    rows,
};

fn rows(task: &Task<'_>) -> Result<Vec<Row>> {
    let Process::Discrete(schedule) = task.process else { return Err(task.wrong_process()) };
    let steps = (0..schedule.len()).map(|i| {
        let bar = if i + 1 < schedule.len() { schedule.bar(Some(i + 1)) } else { 0.0 };
        let next = bar.sqrt() * X0 + (1.0 - bar).sqrt() * schedule.noise_of(X, X0, i);
        Row::call(schedule.unguided_call(i), task.settings.clips(), next)
    });
    Ok([Row::of(KNOWN)].into_iter().chain(steps).collect())
}
