//! Which variant computes a node: the default, or the one that was measured fastest on the device.
//!
//! The measured ones are plain data, a tuning cache that a file or a page can keep. Its keys (the precision, the op and
//! its shapes) and variants are named as they print, so that it knows nothing of the ops, and what a program does not know
//! it ignores.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::device::{Caps, Precision};
use crate::graph::{Graph, Node};
use crate::op::Variant;
use crate::order::sort_by_number;
use crate::tensor::Shape;

/// Bytes of a tuning cache as JSON, at most.
pub const MAX_BYTES: u64 = 16 << 20;
/// Keys of a tuning cache, at most; all public models at ten batch sizes are about 3000.
const MAX_KEYS: usize = 20_000;
/// Bytes of a key or a variant, at most.
const MAX_NAME: usize = 2000;

/// Variants of a key that are measured, at most.
const MAX_MEASURED: usize = 8;

/// What the choice of a variant depends on: the op as printed, its operands' and its result's shapes.
pub type TuningKey = String;

/// Variants chosen by measurement or by a test, by tuning key; `*` stands for every key where it is legal.
pub type VariantOverrides = HashMap<TuningKey, Variant>;

/// The tuning key of a node.
pub fn key(node: &Node, inputs: &[Shape]) -> TuningKey {
    let inputs: Vec<String> = inputs.iter().map(Shape::to_string).collect();
    format!("{:?} {} -> {}", node.op, inputs.join(" "), node.shape)
}

/// The variant for `node`; `None` where no kernel is legal.
pub fn choose(node: &Node, inputs: &[Shape], caps: &Caps, overrides: &VariantOverrides) -> Option<Variant> {
    let legal = node.op.operator().variants(inputs, node.shape, caps);
    let wanted = overrides.get("*").or_else(|| overrides.get(&key(node, inputs)));
    wanted.filter(|v| v.is_legal(&legal)).or(legal.first()).copied()
}

/// The fastest variants of a device, by precision and tuning key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TuningCache(BTreeMap<String, String>);

/// A tuning cache with the device that it was measured on.
#[derive(Serialize, Deserialize)]
struct File {
    device: String,
    /// Files of earlier versions, which were measured on other kernels, lack it.
    #[serde(default)]
    variants: BTreeMap<String, String>,
}

/// Nodes with more than one variant to choose from.
#[derive(Debug, Clone)]
pub struct Tunable<'g> {
    /// The first such node.
    pub node: &'g Node,
    /// Its tuning key.
    pub key: TuningKey,
    /// Legal variants that are worth measuring, the default first.
    pub variants: Vec<Variant>,
    /// How many nodes have this key.
    pub count: usize,
}

impl TuningCache {
    /// Reads a tuning cache; `None` where it was measured on another `device` (see [`crate::Gpu::fingerprint`]).
    ///
    /// # Errors
    /// What is malformed.
    pub fn parse(json: &[u8], device: &str) -> Result<Option<Self>, String> {
        if json.len() as u64 > MAX_BYTES {
            return Err(format!("it has {} bytes; at most {MAX_BYTES} are accepted", json.len()));
        }
        let file: File = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        if file.device != device {
            return Ok(None);
        }
        let long = |(key, variant): (&String, &String)| key.len() > MAX_NAME || variant.len() > MAX_NAME;
        if file.variants.len() > MAX_KEYS || file.variants.iter().any(long) {
            return Err(format!("it has more than {MAX_KEYS} keys, or one longer than {MAX_NAME} bytes"));
        }
        Ok(Some(Self(file.variants)))
    }

    /// The tuning cache as JSON, for `device`.
    pub fn to_json(&self, device: &str) -> String {
        // A map of strings always has a JSON form.
        serde_json::to_string_pretty(&File { device: device.into(), variants: self.0.clone() }).unwrap_or_default()
    }

    /// Adds another cache's variants, which replace those of equal keys. A cache that would grow beyond what
    /// [`TuningCache::parse`] takes is emptied first.
    pub fn extend(&mut self, other: &Self) {
        if self.0.len() + other.0.len() > MAX_KEYS {
            self.0.clear();
        }
        self.0.extend(other.0.iter().map(|(key, variant)| (key.clone(), variant.clone())));
    }

    /// Sets the variant of a key.
    pub fn insert(&mut self, precision: Precision, key: &str, variant: Variant) {
        self.0.insert(entry(precision, key), name(variant));
    }

    /// Whether it has a variant for the key.
    pub fn knows(&self, precision: Precision, key: &str) -> bool {
        self.0.contains_key(&entry(precision, key))
    }

    /// How many keys it knows.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a plan of `graph` takes from it: the variants that are legal here and not the default.
    pub fn overrides(&self, graph: &Graph, caps: &Caps, precision: Precision) -> VariantOverrides {
        if self.is_empty() {
            return VariantOverrides::new();
        }
        let chosen = tunable(graph, &caps.at(precision)).into_iter().filter_map(|c| {
            let wanted = self.0.get(&entry(precision, &c.key))?;
            let found = c.variants.iter().skip(1).find(|variant| name(**variant) == *wanted)?;
            Some((c.key, *found))
        });
        chosen.collect()
    }
}

/// The graph's tuning keys with more than one legal variant, those with the most work first.
pub fn tunable<'g>(graph: &'g Graph, caps: &Caps) -> Vec<Tunable<'g>> {
    let mut found: BTreeMap<TuningKey, (u64, Tunable<'g>)> = BTreeMap::new();
    for node in &graph.nodes {
        let shapes: Vec<Shape> = node.inputs.iter().map(|id| graph.shape(*id)).collect();
        let operator = node.op.operator();
        let mut variants = operator.variants(&shapes, node.shape, caps);
        // The general kernel is slow, and there for what no other takes.
        let default = variants.first().copied();
        variants.retain(|variant| *variant != Variant::Naive || Some(*variant) == default);
        // Those that an estimate expects to be fastest come first.
        variants.truncate(MAX_MEASURED);
        if variants.len() < 2 {
            continue;
        }
        let (key, flops) = (key(node, &shapes), operator.flops(&shapes, node.shape));
        let (work, tunable) =
            found.entry(key.clone()).or_insert_with(|| (0, Tunable { node, key, variants, count: 0 }));
        *work += flops;
        tunable.count += 1;
    }
    let mut found: Vec<_> = found.into_values().collect();
    sort_by_number(&mut found, |(work, _)| u128::from(u64::MAX - *work));
    found.into_iter().map(|(_, tunable)| tunable).collect()
}

fn entry(precision: Precision, key: &str) -> String {
    format!("{}: {key}", precision.as_str())
}

fn name(variant: Variant) -> String {
    format!("{variant:?}")
}
