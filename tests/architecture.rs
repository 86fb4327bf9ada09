//! ARCHITECTURE.md lists the layers of src in order. Imports lead to the same or an earlier layer, and no files import each
//! other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What the sources import, by module path (`plan::lowering` for src/plan/lowering.rs; the root is empty).
struct Sources {
    text: BTreeMap<String, String>,
    /// Names that a module passes on from others: (module, name) -> path.
    passed_on: BTreeMap<(String, String), String>,
}

impl Sources {
    fn new(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut text: BTreeMap<String, String> = files.into_iter().collect();
        // A module for unit tests is not part of the layers.
        let tests = |(module, text): (&String, &String)| -> Vec<String> {
            let names = text.split("#[cfg(test)]\nmod ").skip(1).filter_map(|rest| rest.split_once(';'));
            names.map(|(name, _)| format!("{module}::{name}").trim_start_matches("::").to_owned()).collect()
        };
        let tests: Vec<String> = text.iter().flat_map(tests).collect();
        text.retain(|module, _| !tests.contains(module));
        text.values_mut().for_each(|text| *text = code(text));
        let mut sources = Self { text, passed_on: BTreeMap::new() };
        for module in sources.text.keys().cloned().collect::<Vec<_>>() {
            for (path, public) in sources.paths(&module) {
                if public && let Some((_, name)) = path.rsplit_once("::") {
                    sources.passed_on.insert((module.clone(), name.to_owned()), path);
                }
            }
        }
        sources
    }

    /// All paths that begin in the crate, from the root, and whether a `pub use` has them.
    fn paths(&self, module: &str) -> Vec<(String, bool)> {
        let text = &self.text[module];
        let prefix = |name: &str| if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") };
        let child = |name: &str| !name.is_empty() && self.text.contains_key(&prefix(name));
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(next) = text[at..].find("::") {
            let end = at + next;
            let start = text[..end].rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |i| i + 1);
            let word = &text[start..end];
            at = end + 2;
            let outer = |module: &str| module.rsplit_once("::").map_or(String::new(), |(outer, _)| outer.to_owned());
            let mut base = match word {
                _ if text[..start].ends_with("::") => continue,
                "crate" => String::new(),
                "self" => module.to_owned(),
                "super" => outer(module),
                _ if child(word) => prefix(word),
                _ => continue,
            };
            while text[at..].starts_with("super::") {
                (base, at) = (outer(&base), at + "super::".len());
            }
            let statement = text[..start].rfind([';', '}', '{']).map_or(0, |i| i + 1);
            let public = text[statement..start].contains("pub") && text[statement..start].contains("use ");
            let (leaves, length) = tree(&text[at..]);
            at += length;
            let join = |leaf: String| if base.is_empty() { leaf } else { format!("{base}::{leaf}") };
            found.extend(leaves.into_iter().map(|leaf| (join(leaf), public)));
        }
        found
    }

    /// The module that has what `path` names.
    fn origin(&self, path: &str) -> String {
        let mut module = String::new();
        for name in path.split("::") {
            let inner = if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") };
            if self.text.contains_key(&inner) {
                module = inner;
            } else if let Some(other) = self.passed_on.get(&(module.clone(), name.to_owned())) {
                return self.origin(other);
            } else {
                break;
            }
        }
        module
    }

    /// Each module and those that it imports from. What a module only passes on from its own folder is not an import.
    fn imports(&self) -> BTreeMap<String, BTreeSet<String>> {
        let of = |module: &String| {
            let own = |path: &str| path.strip_prefix(module.as_str()).is_some_and(|rest| rest.starts_with("::"));
            let paths = self.paths(module).into_iter().filter(|(path, public)| !(*public && own(path)));
            paths.map(|(path, _)| self.origin(&path)).filter(|other| other != module).collect()
        };
        self.text.keys().filter(|module| !module.is_empty()).map(|module| (module.clone(), of(module))).collect()
    }

    /// Every import against the order of `layers`, every circle, and every layer that is missing on either side.
    fn check(&self, layers: &[String]) -> Vec<String> {
        let layer = |module: &str| module.split("::").next().unwrap_or_default().to_owned();
        let place = |module: &str| layers.iter().position(|name| *name == layer(module));
        let imports = self.imports();
        let mut wrong = BTreeSet::new();
        for (module, others) in &imports {
            let Some(own) = place(module) else {
                wrong.insert(format!("{} is not a listed layer", layer(module)));
                continue;
            };
            let later = others.iter().filter(|other| place(other).is_none_or(|place| place > own));
            wrong.extend(later.map(|other| format!("{module} imports from {other}, a later layer")));
        }
        let unused = layers.iter().filter(|name| imports.keys().all(|module| layer(module) != **name));
        wrong.extend(unused.map(|name| format!("{name} is listed, and src has none")));
        // What imports nothing that is left, or is imported by nothing, belongs to no circle.
        let mut left = imports;
        loop {
            let modules: BTreeSet<String> = left.keys().cloned().collect();
            let imported: BTreeSet<String> = left.values().flatten().cloned().collect();
            left.retain(|module, others| {
                others.retain(|other| modules.contains(other));
                !others.is_empty() && imported.contains(module)
            });
            if left.len() == modules.len() {
                break;
            }
        }
        wrong.extend(left.into_iter().map(|(module, others)| format!("{module} is in a circle by {others:?}")));
        wrong.into_iter().collect()
    }
}

/// The leaves of a use tree (`a::{b, c::d}`) or of a plain path at the beginning of `text`, and its length.
fn tree(text: &str) -> (Vec<String>, usize) {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let name = &text[..end];
    if end == 0 && text.starts_with('{') {
        let (mut leaves, mut at) = (Vec::new(), 1);
        while !text[at..].starts_with('}') && at < text.len() {
            let (inner, length) = tree(&text[at..]);
            leaves.extend(inner);
            at += length.max(1);
        }
        return (leaves, at + 1);
    }
    if !name.is_empty() && text[end..].starts_with("::") {
        let (inner, length) = tree(&text[end + 2..]);
        let leaves =
            inner.into_iter().map(|leaf| if leaf.is_empty() { name.into() } else { format!("{name}::{leaf}") });
        return (leaves.collect(), end + 2 + length);
    }
    // `self` in braces is the module before them.
    (if name.is_empty() { Vec::new() } else { vec![name.replace("self", "")] }, end)
}

/// The text without comments, strings and unit tests; `super` of a module that stands in it is the file.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let (mut inside, mut result) = (false, String::new());
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        let line = line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"");
        // As rustfmt writes it, such a module begins and ends at the margin.
        let begins = !line.starts_with(' ') && line.ends_with('{') && line.split(' ').rev().nth(2) == Some("mod");
        inside = (inside || begins) && line != "}";
        let outer =
            || line.replace("super::super::", "outer::").replace("super::", "self::").replace("outer::", "super::");
        result += &if inside { outer() } else { line };
        result.push('\n');
    }
    result
}

fn sources() -> Sources {
    fn walk(folder: &Path, module: &str, files: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            let inner = match (module, stem.as_str()) {
                ("", "lib") | (_, "mod") => module.to_owned(),
                ("", _) => stem,
                _ => format!("{module}::{stem}"),
            };
            if path.is_dir() {
                walk(&path, &inner, files);
            } else if inner != "main" {
                files.push((inner, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut files = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut files);
    Sources::new(files)
}

/// The first name in each row of the table under "## Layers".
fn layers() -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with("Layers")).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `src/"));
    let name = |row: &str| row.split(['`', '.', '/']).next().unwrap().to_owned();
    rows.map(name).collect()
}

#[test]
fn imports_follow_the_order_that_the_document_lists() {
    let wrong = sources().check(&layers());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Suites that Cargo.toml turns off are parts of tests/device.rs, but for those that run on request.
#[test]
fn a_suite_that_is_turned_off_runs_otherwise() {
    const ON_REQUEST: [&str; 3] = ["golden_full", "drills", "quality"];
    let text = |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let (manifest, device) = (text("Cargo.toml"), text("tests/device.rs"));
    let suites = manifest.split("\n[[test]]\n").skip(1).filter(|suite| suite.contains("\ntest = false"));
    let off: BTreeSet<&str> = suites.filter_map(|suite| suite.split('"').nth(1)).collect();
    let parts: BTreeSet<&str> =
        device.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect();
    assert_eq!(off, parts.into_iter().chain(ON_REQUEST).collect());
}

#[test]
fn the_check_sees_wrong_imports_and_circles() {
    let layers = ["error", "op", "plan"].map(String::from);
    let check = |changed: &[(&str, &str)]| {
        let mut files = BTreeMap::from([
            ("", "pub mod error;\n#[cfg(test)]\nmod helper;\npub use error::Result;"),
            ("helper", "use crate::plan::Plan;"),
            ("error", "pub type Result = ();"),
            ("op", "pub mod add; mod operator;\npub use add::Add;\npub use operator::Operator;"),
            ("op::add", "use super::operator::Operator;\nuse crate::Result; // not crate::plan::Plan"),
            ("op::operator", "use crate::error::{self, Result};"),
            ("plan", "mod build;\nuse crate::op::{Add, Operator};\npub struct Plan;"),
            (
                "plan::build",
                "use super::Plan;\nconst TEXT: &str = \"crate::cli\";\n#[cfg(test)]\nmod tests {\n    use crate::cli;\n}",
            ),
        ]);
        files.extend(changed.iter().copied());
        Sources::new(files.into_iter().map(|(module, text)| (module.to_owned(), text.to_owned()))).check(&layers)
    };
    assert_eq!(check(&[]), [""; 0]);
    assert_eq!(check(&[("plan::build", "mod part {\n    use super::Thing;\n}")]), [""; 0]);
    for (module, text, message) in [
        ("op::add", "use crate::plan::{self};", "op::add imports from plan, a later layer"),
        ("op::add", "use crate::{Result, plan::build::Thing};", "op::add imports from plan::build, a later layer"),
        ("op", "fn f() -> crate::plan::Plan {}", "op imports from plan, a later layer"),
        ("error", "use super::op::Add;", "error imports from op::add, a later layer"),
        ("op::operator", "use super::Add;", "op::operator is in a circle by {\"op::add\"}"),
        ("plan", "mod build;\nfn f() { build::g() }", "plan is in a circle by {\"plan::build\"}"),
        ("cli", "use crate::plan::Plan;", "cli is not a listed layer"),
        ("plan", "mod part {\n    use super::super::cli;\n}", "plan imports from cli, a later layer"),
    ] {
        let wrong = check(&[("cli", ""), (module, text)]);
        assert!(wrong.iter().any(|line| line == message), "{module}: {text}: {wrong:?}");
    }
}
