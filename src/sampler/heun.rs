//! EDM's sampler (Karras et al. 2022, algorithms 1 and 2): Heun's second-order steps in sigma-space, two evaluations per
//! step but for the last, with optional churn.
//!
//! ```text
//! d = (x - x0)/sigma,  y = x + d (sigma' - sigma),  d' = (y - x0(y))/sigma'
//! x' = x + (d + d')/2 (sigma' - sigma)              x' = y where sigma' is 0
//! ```

use super::euler;
use super::registry::{Entry, MANY_STEPS, Task};
use super::row::{H1, Row, X};
use super::sigma::{Builder, onto, slope};
use crate::error::Result;

pub(super) static ENTRY: Entry = Entry {
    name: "heun",
    summary: "EDM's second-order steps in sigma-space: two evaluations per step",
    rows,
    least: Some((MANY_STEPS, "dpm++2m")),
    ..euler::ENTRY
};

fn rows(task: &Task<'_>) -> Result<Vec<Row>> {
    let mut table = Builder::new(task, true)?;
    for (a, b) in table.pairs() {
        let a = table.churned(a);
        let half = (b - a) / 2.0;
        let row = table.call(a, onto(a, b));
        if b > 0.0 {
            row.keep = X + half * slope(a);
            table.call(b, H1 + half * slope(b));
        }
    }
    Ok(table.finish())
}
