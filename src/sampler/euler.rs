//! Euler's method on the probability flow of sigma-space (Karras et al. 2022): one evaluation per step.
//!
//! ```text
//! x' = x + (x - x0)/sigma (sigma' - sigma)
//! ```

use super::registry::{Entry, Kind, Steps, Task};
use super::row::Row;
use super::sigma::{Builder, onto};
use crate::error::Result;

pub(super) static ENTRY: Entry = Entry {
    name: "euler",
    summary: "Euler steps in sigma-space: one evaluation per step",
    kinds: &[Kind::Discrete, Kind::Edm, Kind::Consistency],
    steps: Steps::Sigma(18),
    options: &["strength", "churn"],
    eta: 0.0,
    least: None,
    rows,
};

fn rows(task: &Task<'_>) -> Result<Vec<Row>> {
    let mut table = Builder::new(task, true)?;
    for (a, b) in table.pairs() {
        let a = table.churned(a);
        table.call(a, onto(a, b));
    }
    Ok(table.finish())
}
