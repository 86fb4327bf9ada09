//! Networks against the reference's golden outputs, on every adapter under test.

mod common;

use common::gpu::{gpus, relative_l2};
use common::networks::{run_classifier, run_unet};
use common::{cases_of, outputs};
use guided_diffusion::gpu::{AdapterChoice, Gpu};
use guided_diffusion::plan::{PlanOptions, Precision};
use pollster::block_on;

/// Relative L2 error that float32 kernels may have (the reference is float64, rounded once).
const NETWORK: f64 = 2e-5;
/// The same for a classifier's logits and gradients, whose path is twice as long.
const CLASSIFIER: f64 = 5e-5;
/// The same with matrices stored as float16, whose own rounding is 5e-4 an element.
const F16_WEIGHTS: f64 = 2e-3;

#[test]
fn classifiers_and_their_gradients_equal_the_reference() {
    let outputs = outputs();
    let mut failures = Vec::new();
    for gpu in gpus() {
        let cases = cases_of("classifier").into_iter().filter(|c| c.get("stride").is_none()).collect::<Vec<_>>();
        assert_eq!(cases.len(), 5, "the small golden classifiers");
        for case in &cases {
            let name = case["name"].as_str().unwrap();
            let (logits, gradient) = run_classifier(gpu, case, &PlanOptions::default());
            for (key, values) in [("logits", logits), ("gradient", gradient)] {
                let expected = outputs.tensor_f32(&format!("classifier/{name}/{key}")).unwrap();
                let error = relative_l2(&values, &expected);
                println!("{:<34} {name:<30} {key:<9} {error:.2e}", gpu.summary().name);
                if error.is_nan() || error > CLASSIFIER {
                    failures.push(format!("{} {name} {key}: {error:.2e} > {CLASSIFIER:.0e}", gpu.summary().name));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn check(options: &PlanOptions, tolerance: f64) {
    let outputs = outputs();
    let mut failures = Vec::new();
    for gpu in gpus() {
        let cases = cases_of("unet").into_iter().filter(|c| c.get("stride").is_none()).collect::<Vec<_>>();
        assert_eq!(cases.len(), 14, "the small golden UNets");
        for case in &cases {
            let name = case["name"].as_str().unwrap();
            let expected = outputs.tensor_f32(&format!("unet/{name}/out")).unwrap();
            let error = relative_l2(&run_unet(gpu, case, options), &expected);
            println!("{:<50} {name:<34} {error:.2e}", gpu.summary().name);
            if error.is_nan() || error > tolerance {
                failures.push(format!("{} {name}: {error:.2e} > {tolerance:.0e}", gpu.summary().name));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn unets_equal_the_reference() {
    check(&PlanOptions::default(), NETWORK);
}

#[test]
fn unets_with_float16_weights_stay_close_to_the_reference() {
    check(&PlanOptions { precision: Precision::F16Weights, ..PlanOptions::default() }, F16_WEIGHTS);
}

/// As users run them: compiled without bounds checks.
#[test]
fn unchecked_shaders_change_nothing() {
    let case = cases_of("unet").into_iter().find(|c| c["name"] == "size_24").unwrap();
    let expected = outputs().tensor_f32("unet/size_24/out").unwrap();
    for checked in gpus() {
        let gpu = block_on(Gpu::open(&AdapterChoice::Named(checked.summary().name.clone()))).unwrap();
        let error = relative_l2(&run_unet(&gpu, &case, &PlanOptions::default()), &expected);
        assert!(error < NETWORK, "{}: {error:.2e}", gpu.summary().name);
    }
}

#[test]
fn winograd_weights_made_at_each_step_change_nothing() {
    let case = cases_of("unet").into_iter().find(|c| c["name"] == "plain").unwrap();
    let expected = outputs().tensor_f32("unet/plain/out").unwrap();
    for gpu in gpus() {
        let out = run_unet(gpu, &case, &PlanOptions { transform_budget: Some(0), ..PlanOptions::default() });
        let error = relative_l2(&out, &expected);
        assert!(error < NETWORK, "{}: {error:.2e}", gpu.summary().name);
    }
}
