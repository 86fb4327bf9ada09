//! The WGSL kernels as text: sources under `shaders/`, specialised by integer defines.
//!
//! No GPU here: a kernel's buffers and parameters are read from its expanded text, so that a plan can be built,
//! printed and checked anywhere, and a name that does not match is an error instead of a wrong image.

pub mod expr;
mod sources;
pub mod template;

use std::collections::BTreeMap;
use std::fmt;

pub use sources::{KERNELS, SHARED};
pub use template::{Access, Binding};

/// The value of the define F16 for kernels that compute in float16: 0 is float32, 1 is float16 storage
/// (shaders/shared/factors.wgsl).
const ENABLE_F16: i64 = 2;

/// A kernel: a source's stem and the defines that specialise it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kernel {
    /// `gemm` for `shaders/gemm.wgsl`.
    pub stem: &'static str,
    /// Integer defines, by name.
    pub defines: BTreeMap<&'static str, i64>,
}

impl Kernel {
    /// A kernel without defines.
    pub fn new(stem: &'static str) -> Self {
        Self { stem, defines: BTreeMap::new() }
    }

    /// With one more define.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<i64>) -> Self {
        self.defines.insert(name, value.into());
        self
    }

    /// Whether it needs subgroup operations: such kernels have a define for it.
    pub fn uses_subgroups(&self) -> bool {
        self.defines.get("SUBGROUP").is_some_and(|size| *size > 0)
    }

    /// Whether it computes in float16, which is an optional feature.
    pub fn uses_f16(&self) -> bool {
        self.defines.get("F16") == Some(&ENABLE_F16)
    }

    /// Whether it multiplies cooperative matrices, which wgpu has as an experimental feature.
    pub fn uses_cooperative_matrices(&self) -> bool {
        self.defines.contains_key("COOPERATIVE")
    }

    /// Expands the source under the defines.
    ///
    /// # Errors
    /// A message that names the template.
    pub fn expand(&self) -> Result<Shader, String> {
        let source = lookup(KERNELS, self.stem).ok_or_else(|| format!("no kernel named {}", self.stem))?;
        let mut scope = BTreeMap::new();
        scope.extend(self.defines.iter().map(|(name, value)| (name.to_string(), *value)));
        let expanded = template::expand(source, &scope, &|name| lookup(SHARED, name))
            .map_err(|e| format!("shaders/{}.wgsl: {e}", self.stem))?;
        let parameters = parameters(&expanded.text);
        // WGSL's directives come first.
        let f16 = if self.uses_f16() { "enable f16;\n" } else { "" };
        let cooperative = if self.uses_cooperative_matrices() { "enable wgpu_cooperative_matrix;\n" } else { "" };
        Ok(Shader { text: format!("{f16}{cooperative}{}", expanded.text), bindings: expanded.bindings, parameters })
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.stem)?;
        for (i, (name, value)) in self.defines.iter().filter(|(_, v)| **v != 0).enumerate() {
            write!(f, "{}{name}={value}", if i == 0 { "{" } else { "," })?;
        }
        if self.defines.values().any(|v| *v != 0) { f.write_str("}") } else { Ok(()) }
    }
}

/// A specialised kernel, ready to compile. Its entry point is `main`.
#[derive(Debug, Clone)]
pub struct Shader {
    /// WGSL.
    pub text: String,
    /// Buffers in binding order.
    pub bindings: Vec<Binding>,
    /// Fields of `struct Params`, each of four bytes, in order.
    pub parameters: Vec<String>,
}

/// A number that changes with any kernel's text: measurements and compiled code of other kernels do not apply.
pub fn fingerprint() -> u64 {
    fnv1a(KERNELS.iter().chain(SHARED).flat_map(|(stem, text)| [stem.as_bytes(), text.as_bytes()]))
}

/// The 64-bit FNV-1a hash of `parts`, one after the other: it distinguishes texts and detects damage; it is not
/// cryptographic.
pub(crate) fn fnv1a<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    parts.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325, step)
}

fn lookup(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(stem, _)| *stem == name).map(|(_, text)| *text)
}

fn parameters(text: &str) -> Vec<String> {
    let Some((_, body)) = text.split_once("struct Params {") else { return Vec::new() };
    let body = body.split_once('}').map_or(body, |(body, _)| body);
    body.lines()
        .map(|line| line.split_once("//").map_or(line, |(code, _)| code))
        .flat_map(|code| code.split(','))
        .filter_map(|field| field.split_once(':'))
        .map(|(name, _)| name.trim().to_string())
        .collect()
}
