//! What the test files share: the golden fixtures, adapters, synthetic inputs. What browsers must compute too is in
//! tests/conformance.
//!
//! Each test file compiles this module for itself and uses a part of it.
#![allow(dead_code, unused_imports, reason = "each test file uses a part")]

pub mod builtin;
#[cfg(feature = "cli")]
pub mod folder;
pub mod gpu;
pub mod judge;
pub mod runs;
pub mod synth;
#[cfg(feature = "cli")]
pub mod tiny;

use std::path::PathBuf;
use std::sync::OnceLock;

use conformance::Golden;
use conformance::solvers::Solvers;
pub use conformance::{model_config, sampler_config, sizes, unet_config};
use guided_diffusion::config::parameters;
use guided_diffusion::{Checkpoint, ModelConfig};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A file of tests/fixtures.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The golden fixtures.
pub fn golden() -> &'static Golden {
    static GOLDEN: OnceLock<Golden> = OnceLock::new();
    GOLDEN.get_or_init(|| {
        let text = std::fs::read_to_string(fixture("cases.json")).unwrap();
        let [outputs, guided, steps] = ["outputs", "guided", "guided_steps"]
            .map(|stem| Checkpoint::open(fixture(&format!("{stem}.safetensors"))).unwrap());
        Golden::new(&text, outputs, guided, steps, solvers())
    })
}

/// The samplers' fixtures: of the folder that SOLVER_FIXTURES names, else tests/fixtures.
fn solvers() -> Solvers {
    let folder = std::env::var_os("SOLVER_FIXTURES").map_or_else(|| fixture(""), PathBuf::from);
    let text = std::fs::read_to_string(folder.join("solvers.json")).unwrap();
    Solvers::new(&text, Checkpoint::open(folder.join("solvers.safetensors")).unwrap())
}

/// Compares a public file's parameters with its case of kind `preset`: their number, the elements, and the SHA-256 of the
/// sorted lines "name [shape]".
pub fn check_parameters(config: &ModelConfig, case: &Value) {
    let list = parameters(config).unwrap();
    let elements: usize = list.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    let mut lines: Vec<_> = list.iter().map(|(name, shape)| format!("{name} {shape:?}")).collect();
    lines.sort();
    let hash: String = Sha256::digest(lines.join("\n")).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        (case["tensors"].as_u64(), case["parameters"].as_u64(), case["sha256"].as_str()),
        (Some(list.len() as u64), Some(elements as u64), Some(hash.as_str())),
        "{}",
        case["name"]
    );
}

/// The golden cases of one kind: unet, classifier, sampler, schedule or preset.
pub fn cases_of(kind: &str) -> Vec<Value> {
    golden().of(kind).map(|(_, case)| case.clone()).collect()
}
