//! DPM-Solver-2 (Lu et al. 2022, arXiv 2206.00927, algorithm 1) at the mean of cube roots, as the consistency models' code
//! has it (`sample_dpm`): two evaluations per step.
//!
//! ```text
//! m = ((sigma^(1/3) + sigma'^(1/3)) / 2)^3,  y = x + (x - x0)/sigma (m - sigma)
//! x' = x + (y - x0(y))/m (sigma' - sigma)
//! ```

use super::euler;
use super::registry::{Entry, MANY_STEPS, Task};
use super::row::{H1, Row, X};
use super::sigma::{Builder, onto, slope};
use crate::error::Result;

pub(super) static ENTRY: Entry = Entry {
    name: "dpm",
    summary: "DPM-Solver-2 in sigma-space: two evaluations per step, the second at the midpoint",
    rows,
    least: Some((MANY_STEPS, "dpm++2m")),
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
