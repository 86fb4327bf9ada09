//! Whole public architectures with synthetic weights against the reference: hundreds of millions of parameters and
//! minutes on a software adapter, so this target runs on request alone:
//!
//!     scripts/test-native.sh --test golden_full

mod common;

use common::gpu::{gpus, relative_l2};
use common::networks::{run_classifier, run_unet};
use common::{cases_of, outputs};
use guided_diffusion::plan::PlanOptions;

/// As in golden.rs; the reference of these is float32 too.
const NETWORK: f64 = 2e-5;
const CLASSIFIER: f64 = 5e-5;

fn strided(values: &[f32], case: &serde_json::Value) -> Vec<f32> {
    values.iter().step_by(case["stride"].as_u64().unwrap() as usize).copied().collect()
}

#[test]
fn public_architectures_equal_the_reference() {
    let outputs = outputs();
    let (mut networks, mut failures) = (0, Vec::new());
    for gpu in gpus() {
        for kind in ["unet", "classifier"] {
            for case in cases_of(kind).iter().filter(|c| c.get("stride").is_some()) {
                networks += 1;
                let name = case["name"].as_str().unwrap();
                let results = if kind == "unet" {
                    let out = run_unet(gpu, case, &PlanOptions::default());
                    vec![("out", strided(&out, case), NETWORK)]
                } else {
                    let (logits, gradient) = run_classifier(gpu, case, &PlanOptions::default());
                    vec![("logits", logits, CLASSIFIER), ("gradient", strided(&gradient, case), CLASSIFIER)]
                };
                for (key, values, tolerance) in results {
                    let error = relative_l2(&values, &outputs.tensor_f32(&format!("{kind}/{name}/{key}")).unwrap());
                    println!("{:<34} {name:<20} {key:<9} {error:.2e}", gpu.summary().name);
                    if error.is_nan() || error > tolerance {
                        failures.push(format!("{} {name} {key}: {error:.2e}", gpu.summary().name));
                    }
                }
            }
        }
    }
    assert_eq!(networks, 3 * gpus().len(), "two UNets and a classifier on each adapter");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
