//! The second-order midpoint sampler of the consistency models' code (k-diffusion's DPM-2): two evaluations per step.
//!
//! ```text
//! m = ((sigma^(1/3) + sigma'^(1/3)) / 2)^3,  y = x + (x - x0)/sigma (m - sigma)
//! x' = x + (y - x0(y))/m (sigma' - sigma)
//! ```

use super::euler;
use super::registry::{Entry, Task};
use super::row::{H1, Row, X};
use super::sigma::{Builder, onto, slope};
use crate::error::Result;

pub(super) static ENTRY: Entry = Entry {
    name: "dpm",
    summary: "DPM-Solver-2 in sigma-space: two evaluations per step, the second at the midpoint",
    rows,
    ..euler::ENTRY
};

fn rows(task: &Task<'_>) -> Result<Vec<Row>> {
    let mut table = Builder::new(task, true)?;
    for (a, b) in table.pairs() {
        let a = table.churned(a);
        let middle = ((a.cbrt() + b.cbrt()) / 2.0).powi(3);
        table.call(a, onto(a, middle)).keep = X;
        table.call(middle, H1 + (b - a) * slope(middle));
    }
    Ok(table.finish())
}
