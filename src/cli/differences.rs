//! What differs between two runs, as an error names it: a command that cannot continue a run, parts that cannot be merged.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Differences between two runs that an error lists.
const MOST_DIFFERENCES: usize = 4;

/// What differs between two runs, by name: "seed 0, here 1".
pub fn differences(there: &Value, here: &Value) -> String {
    let (mut of_there, mut of_here) = (BTreeMap::new(), BTreeMap::new());
    leaves("", there, &mut of_there);
    leaves("", here, &mut of_here);
    let names: BTreeSet<&String> = of_there.keys().chain(of_here.keys()).collect();
    let text = |value: Option<&&Value>| value.map_or("none".into(), |value| shortened(&value.to_string()));
    let differing = names.into_iter().filter(|name| of_there.get(*name) != of_here.get(*name));
    let mut all: Vec<String> = differing
        .map(|name| {
            let (there, here, name) = (of_there.get(name), of_here.get(name), name.trim_start_matches("recipe "));
            match [there, here].into_iter().flatten().any(|value| is_hash(value)) {
                // Digits would say nothing.
                true => format!("other {}", name.trim_end_matches("_hash")),
                false => format!("{name} {}, here {}", text(there), text(here)),
            }
        })
        .collect();
    let more = all.len().saturating_sub(MOST_DIFFERENCES);
    all.truncate(MOST_DIFFERENCES);
    if more > 0 {
        all.push(format!("and {more} more"));
    }
    all.join("; ")
}

/// A value's parts that have no names in them, by their whole name.
fn leaves<'a>(name: &str, value: &'a Value, into: &mut BTreeMap<String, &'a Value>) {
    match value {
        Value::Object(parts) => {
            for (part, value) in parts {
                let name = if name.is_empty() { part.clone() } else { format!("{name} {part}") };
                leaves(&name, value, into);
            }
        }
        _ => drop(into.insert(name.to_owned(), value)),
    }
}

/// Whether a value stands for others that are too many to name: a hash or a list of them.
fn is_hash(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit()),
        Value::Array(parts) => !parts.is_empty() && parts.iter().all(is_hash),
        _ => false,
    }
}

/// As much of a user's text as a line holds.
fn shortened(text: &str) -> String {
    if text.chars().count() <= 40 { text.into() } else { text.chars().take(39).chain(['…']).collect() }
}
