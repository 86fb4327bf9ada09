//! The variants that were measured fastest on a device, as plain data: a table that a file or a page can keep.
//!
//! A problem (the precision, the op and its shapes) and a variant are named as they print, so that a table knows nothing
//! of the ops, and what a program does not know it ignores.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::select::{self, Overrides, Problem, Variant};
use super::{Caps, Precision};
use crate::graph::{Graph, Node, Shape};

/// Bytes of a table as JSON, at most.
pub const MAX_BYTES: u64 = 16 << 20;
/// Problems of a table, at most; all public models at ten batch sizes are about 3000.
const MAX_PROBLEMS: usize = 20_000;
/// Bytes of a problem or a variant, at most.
const MAX_NAME: usize = 2000;

/// Variants of a problem that are measured, at most.
const MAX_MEASURED: usize = 8;

/// Problem -> variant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choices(BTreeMap<String, String>);

/// The table with what it was measured on.
#[derive(Serialize, Deserialize)]
struct File {
    device: String,
    choices: BTreeMap<String, String>,
}

/// A node with a choice.
#[derive(Debug, Clone)]
pub struct Choosable<'g> {
    /// The first such node.
    pub node: &'g Node,
    /// Its problem.
    pub problem: Problem,
    /// Legal variants that are worth measuring, the default first.
    pub variants: Vec<Variant>,
    /// How many nodes have this problem.
    pub count: usize,
}

impl Choices {
    /// Reads a table; `None` where it was measured on another `device` (see [`crate::Gpu::fingerprint`]).
    ///
    /// # Errors
    /// What is malformed.
    pub fn parse(json: &[u8], device: &str) -> Result<Option<Self>, String> {
        if json.len() as u64 > MAX_BYTES {
            return Err(format!("it has {} bytes, {MAX_BYTES} are the most", json.len()));
        }
        let file: File = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        if file.device != device {
            return Ok(None);
        }
        let long = |(problem, variant): (&String, &String)| problem.len() > MAX_NAME || variant.len() > MAX_NAME;
        if file.choices.len() > MAX_PROBLEMS || file.choices.iter().any(long) {
            return Err(format!("{MAX_PROBLEMS} problems of {MAX_NAME} bytes are the most"));
        }
        Ok(Some(Self(file.choices)))
    }

    /// The table as JSON, for `device`.
    pub fn to_json(&self, device: &str) -> String {
        // Strings alone, which always have a JSON form.
        serde_json::to_string_pretty(&File { device: device.into(), choices: self.0.clone() }).unwrap_or_default()
    }

    /// Adds another table's choices, which replace those of equal problems. A table that would grow beyond what
    /// [`Choices::parse`] takes begins anew.
    pub fn extend(&mut self, other: &Self) {
        if self.0.len() + other.0.len() > MAX_PROBLEMS {
            self.0.clear();
        }
        self.0.extend(other.0.iter().map(|(problem, variant)| (problem.clone(), variant.clone())));
    }

    /// Notes the choice of a problem.
    pub fn insert(&mut self, precision: Precision, problem: &str, variant: Variant) {
        self.0.insert(key(precision, problem), name(variant));
    }

    /// Whether the table knows the problem.
    pub fn knows(&self, precision: Precision, problem: &str) -> bool {
        self.0.contains_key(&key(precision, problem))
    }

    /// How many problems it knows.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a plan of `graph` takes from the table: the choices that are legal here and not the default.
    pub fn overrides(&self, graph: &Graph, caps: &Caps, precision: Precision) -> Overrides {
        if self.is_empty() {
            return Overrides::new();
        }
        let chosen = choosable(graph, &caps.at(precision)).into_iter().filter_map(|c| {
            let wanted = self.0.get(&key(precision, &c.problem))?;
            let found = c.variants.iter().skip(1).find(|variant| name(**variant) == *wanted)?;
            Some((c.problem, *found))
        });
        chosen.collect()
    }
}

/// The graph's problems that have more than one answer, those with the most work first.
pub fn choosable<'g>(graph: &'g Graph, caps: &Caps) -> Vec<Choosable<'g>> {
    let mut found: BTreeMap<Problem, (u64, Choosable<'g>)> = BTreeMap::new();
    for node in &graph.nodes {
        let shapes: Vec<Shape> = node.inputs.iter().map(|id| graph.shape(*id)).collect();
        let operator = node.op.operator();
        let mut variants = operator.variants(&shapes, node.shape, caps);
        // The general kernel is slow, and there for what no other takes.
        let default = variants.first().copied();
        variants.retain(|variant| *variant != Variant::Only || Some(*variant) == default);
        // Those that an estimate expects to be fastest come first.
        variants.truncate(MAX_MEASURED);
        if variants.len() < 2 {
            continue;
        }
        let (problem, flops) = (select::problem(node, &shapes), operator.flops(&shapes, node.shape));
        let (work, entry) =
            found.entry(problem.clone()).or_insert_with(|| (0, Choosable { node, problem, variants, count: 0 }));
        *work += flops;
        entry.count += 1;
    }
    let mut found: Vec<_> = found.into_values().collect();
    found.sort_by_key(|(work, _)| std::cmp::Reverse(*work));
    found.into_iter().map(|(_, choosable)| choosable).collect()
}

fn key(precision: Precision, problem: &str) -> String {
    format!("{}: {problem}", precision.as_str())
}

fn name(variant: Variant) -> String {
    format!("{variant:?}")
}
