//! Expands a WGSL template: imports, conditions, unrolled loops, and bindings numbered in order of appearance.
//!
//! | in the template | what it becomes |
//! |---|---|
//! | `#import name` | the text of `shaders/shared/name.wgsl`, expanded, once |
//! | `#if EXPR` ... `#elif EXPR` ... `#else` ... `#end` | the branch whose expression is not 0 |
//! | `#for i in A..B` ... `#end` | the body once for each i (drivers do not unroll naga's loops, so the text does) |
//! | `#let NAME = EXPR` | a name for the lines that follow |
//! | `${EXPR}` | the expression's value |
//! | `@auto var<...> name: T;` | `@group(0) @binding(n) var<...> name: T;` |

use super::expr::{Scope, evaluate};

/// One buffer of a kernel, in binding order (binding 0 upwards).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The variable's name in the shader.
    pub name: String,
    /// How the shader uses it.
    pub access: Access,
}

/// How a shader uses a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Access {
    /// `var<uniform>`: a dispatch's parameters.
    Uniform,
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`
    ReadWrite,
}

/// An expanded template.
#[derive(Debug, Clone, Default)]
pub struct Expanded {
    /// WGSL.
    pub text: String,
    /// Its buffers.
    pub bindings: Vec<Binding>,
}

/// Expands `source` under `scope`; `import` gives the text of a shared file.
///
/// # Errors
/// A message with the template's line.
pub fn expand(source: &str, scope: &Scope, import: &dyn Fn(&str) -> Option<&'static str>) -> Result<Expanded, String> {
    let mut out = Expander { import, imported: Vec::new(), result: Expanded::default() };
    let mut scope = scope.clone();
    let lines: Vec<&str> = source.lines().collect();
    out.block(&lines, &mut scope)?;
    Ok(out.result)
}

struct Expander<'a> {
    import: &'a dyn Fn(&str) -> Option<&'static str>,
    imported: Vec<String>,
    result: Expanded,
}

impl Expander<'_> {
    fn block(&mut self, lines: &[&str], scope: &mut Scope) -> Result<(), String> {
        let mut at = 0;
        while let Some(line) = lines.get(at) {
            at = match directive(line) {
                Some(("if", _)) => self.condition(lines, at, scope)?,
                Some(("for", rest)) => {
                    let end = closing(lines, at)?;
                    self.repeat(rest, lines.get(at + 1..end).unwrap_or_default(), scope)
                        .map_err(|e| format!("{line}: {e}"))?;
                    end + 1
                }
                Some(("let", rest)) => {
                    let (name, value) = rest.split_once('=').ok_or_else(|| format!("{line}: `=` is missing"))?;
                    let value = evaluate(value, scope).map_err(|e| format!("{line}: {e}"))?;
                    scope.insert(name.trim().into(), value);
                    at + 1
                }
                Some(("import", name)) => {
                    if !self.imported.iter().any(|done| done == name) {
                        self.imported.push(name.into());
                        let text = (self.import)(name).ok_or_else(|| format!("{line}: no such shared file"))?;
                        self.block(&text.lines().collect::<Vec<_>>(), scope)?;
                    }
                    at + 1
                }
                Some(_) => return Err(format!("{line}: unknown directive")),
                None => {
                    self.line(line, scope)?;
                    at + 1
                }
            };
        }
        Ok(())
    }

    /// Expands the chosen branch of the `#if` at `at`; returns the line after its `#end`.
    fn condition(&mut self, lines: &[&str], at: usize, scope: &mut Scope) -> Result<usize, String> {
        let end = closing(lines, at)?;
        let mut branch = at;
        loop {
            let next = branch_end(lines, branch, end);
            let line = lines.get(branch).copied().unwrap_or_default();
            let taken = match directive(line) {
                Some(("else", _)) => true,
                Some((_, condition)) => evaluate(condition, scope).map_err(|e| format!("{line}: {e}"))? != 0,
                None => false,
            };
            if taken {
                self.block(lines.get(branch + 1..next).unwrap_or_default(), scope)?;
                break;
            }
            if next == end {
                break;
            }
            branch = next;
        }
        Ok(end + 1)
    }

    fn repeat(&mut self, header: &str, body: &[&str], scope: &Scope) -> Result<(), String> {
        let (name, range) = header.split_once(" in ").ok_or("expected `NAME in A..B`")?;
        let (from, to) = range.split_once("..").ok_or("expected `A..B`")?;
        for i in evaluate(from, scope)?..evaluate(to, scope)? {
            let mut inner = scope.clone();
            inner.insert(name.trim().into(), i);
            self.block(body, &mut inner)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str, scope: &Scope) -> Result<(), String> {
        let mut rest = line;
        let mut text = String::new();
        while let Some((before, after)) = rest.split_once("${") {
            let (expression, after) = after.split_once('}').ok_or_else(|| format!("{line}: a `}}` is missing"))?;
            text.push_str(before);
            text.push_str(&evaluate(expression, scope).map_err(|e| format!("{line}: {e}"))?.to_string());
            rest = after;
        }
        text.push_str(rest);
        if let Some(declaration) = text.trim_start().strip_prefix("@auto var<") {
            let (space, name) = declaration
                .split_once('>')
                .and_then(|(space, rest)| Some((space, rest.split_once(':')?.0.trim())))
                .ok_or_else(|| format!("{line}: expected `@auto var<SPACE> NAME: TYPE;`"))?;
            let access = match space {
                "uniform" => Access::Uniform,
                "storage, read" => Access::Read,
                "storage, read_write" => Access::ReadWrite,
                _ => return Err(format!("{line}: unknown address space")),
            };
            let number = self.result.bindings.len();
            self.result.bindings.push(Binding { name: name.into(), access });
            text = text.replacen("@auto", &format!("@group(0) @binding({number})"), 1);
        }
        self.result.text.push_str(&text);
        self.result.text.push('\n');
        Ok(())
    }
}

/// `#name rest` of a directive line.
fn directive(line: &str) -> Option<(&str, &str)> {
    let body = line.trim().strip_prefix('#')?;
    Some(body.split_once(char::is_whitespace).map_or((body, ""), |(name, rest)| (name, rest.trim())))
}

/// The `#end` that closes the block opened at `at`.
fn closing(lines: &[&str], at: usize) -> Result<usize, String> {
    let mut depth = 0usize;
    for (i, line) in lines.iter().enumerate().skip(at) {
        match directive(line) {
            Some(("if" | "for", _)) => depth += 1,
            Some(("end", _)) if depth == 1 => return Ok(i),
            Some(("end", _)) => depth -= 1,
            _ => {}
        }
    }
    Err(format!("{}: `#end` is missing", lines.get(at).copied().unwrap_or_default()))
}

/// The next `#elif`, `#else` or the `#end` of the branch that starts at `at`.
fn branch_end(lines: &[&str], at: usize, end: usize) -> usize {
    let mut depth = 0usize;
    for (i, line) in lines.iter().enumerate().take(end).skip(at + 1) {
        match directive(line) {
            Some(("if" | "for", _)) => depth += 1,
            Some(("end", _)) => depth -= 1,
            Some(("elif" | "else", _)) if depth == 0 => return i,
            _ => {}
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(source: &str, names: &[(&str, i64)]) -> Result<Expanded, String> {
        let scope = names.iter().map(|(k, v)| (k.to_string(), *v)).collect();
        expand(source, &scope, &|name| (name == "one").then_some("fn one() {}\n"))
    }

    #[test]
    fn conditions_loops_and_imports() {
        let source =
            "#import one\n#import one\n#if A == 1\na\n#elif A == 2\n#for i in 0..2\nb${i*A}\n#end\n#else\nc\n#end";
        assert_eq!(run(source, &[("A", 1)]).unwrap().text, "fn one() {}\na\n");
        assert_eq!(run(source, &[("A", 2)]).unwrap().text, "fn one() {}\nb0\nb2\n");
        assert_eq!(run(source, &[("A", 3)]).unwrap().text, "fn one() {}\nc\n");
    }

    #[test]
    fn numbers_bindings_in_order_of_appearance() {
        let source = "@auto var<uniform> p: P;\n#if A\n@auto var<storage, read> x: X;\n#end\n@auto var<storage, read_write> y: Y;";
        let with = run(source, &[("A", 1)]).unwrap();
        assert_eq!(with.bindings.iter().map(|b| b.name.as_str()).collect::<Vec<_>>(), ["p", "x", "y"]);
        assert_eq!(with.bindings.last().map(|b| b.access), Some(Access::ReadWrite));
        let without = run(source, &[("A", 0)]).unwrap();
        assert!(without.text.ends_with("@group(0) @binding(1) var<storage, read_write> y: Y;\n"));
    }

    #[test]
    fn a_broken_template_is_an_error_with_its_line() {
        for source in ["#if A", "#for i in 0..2", "#import two", "${B}", "${A", "#what", "@auto var<private> x: f32;"] {
            assert!(run(source, &[("A", 1)]).is_err(), "{source}");
        }
    }
}
