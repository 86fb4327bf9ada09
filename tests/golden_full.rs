//! Whole public architectures with synthetic weights against the reference (float32 here): hundreds of millions of parameters and
//! minutes on a software adapter, so this target runs only on request:
//!
//!     scripts/test-native.sh --test golden_full

mod common;

use common::golden;
use common::gpu::{gpus, relative_l2};
use conformance::tolerance::{CLASSIFIER, NETWORK};
use conformance::{run_classifier, run_unet};
use guided_diffusion::plan::PlanOptions;
use pollster::block_on;

fn strided(values: &[f32], case: &serde_json::Value) -> Vec<f32> {
    values.iter().step_by(case["stride"].as_u64().unwrap() as usize).copied().collect()
}

#[test]
fn public_architectures_equal_the_reference() {
    let (mut networks, mut failures) = (0, Vec::new());
    for gpu in gpus() {
        for kind in ["unet", "classifier"] {
            for (i, case) in golden().of(kind).filter(|(_, case)| case.get("stride").is_some()) {
                networks += 1;
                let results = if kind == "unet" {
                    let out = block_on(run_unet(gpu, case, &PlanOptions::default())).unwrap();
                    vec![("out", strided(&out, case), NETWORK)]
                } else {
                    let (logits, gradient) = block_on(run_classifier(gpu, case, &PlanOptions::default())).unwrap();
                    vec![("logits", logits, CLASSIFIER), ("gradient", strided(&gradient, case), CLASSIFIER)]
                };
                for (key, values, tolerance) in results {
                    let (name, error) = (golden().name(i), relative_l2(&values, &golden().expected(i, key)));
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
