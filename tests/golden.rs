//! Networks and samples against the reference's golden outputs, on every adapter under test: the suites that browsers run
//! too, and what only native devices have.

mod common;

use common::golden;
use common::gpu::{conform, gpus, relative_l2};
use conformance::{run_unet, tolerance};
use guided_diffusion::Error;
use guided_diffusion::device::Precision;
use guided_diffusion::gpu::{AdapterChoice, Gpu};
use guided_diffusion::plan::PlanOptions;
use pollster::block_on;

#[test]
fn unets_equal_the_reference() {
    // 14 small UNets, in float32, with float16 weights and, where the adapter can, with float16 products.
    conform("networks", |gpu| if gpu.caps().shader_f16 { 42 } else { 28 });
}

/// On a driver that computes; tests/plan.rs has the rest of the message.
#[test]
fn float16_arithmetic_is_refused_without_the_feature() {
    let (_, case) = golden().small("unet").next().unwrap();
    let (can, cannot): (Vec<_>, Vec<_>) = gpus().iter().partition(|gpu| gpu.caps().shader_f16);
    // Of the two software drivers one has it and one has not: neither side of this is left out.
    assert!(std::env::var_os("TEST_ADAPTERS").is_some() || (!can.is_empty() && !cannot.is_empty()));
    for gpu in cannot {
        let options = PlanOptions { precision: Precision::F16, ..PlanOptions::default() };
        let error = block_on(run_unet(gpu, case, &options)).unwrap_err();
        assert!(matches!(&error, Error::Feature { name: "shader-f16", .. }), "{error}");
        assert!(error.to_string().contains(&gpu.summary().name), "{error}");
    }
}

#[test]
fn classifiers_and_their_gradients_equal_the_reference() {
    conform("classifiers", |_| 5);
}

#[test]
fn samples_equal_the_reference() {
    // Six of them guided.
    conform("samples", |_| 12);
}

#[test]
fn each_step_of_a_chaotic_sample_equals_the_reference() {
    conform("steps", |_| 1);
}

fn unet(gpu: &std::sync::Arc<Gpu>, name: &str, options: &PlanOptions) -> f64 {
    let (i, case) = golden().small("unet").find(|(_, case)| case["name"] == name).unwrap();
    relative_l2(&block_on(run_unet(gpu, case, options)).unwrap(), &golden().expected(i, "out"))
}

/// As users run them: compiled without bounds checks.
#[test]
fn unchecked_shaders_change_nothing() {
    for checked in gpus() {
        let gpu = block_on(Gpu::open(&AdapterChoice::Named(checked.summary().name.clone()))).unwrap();
        let error = unet(&gpu, "size_24", &PlanOptions::default());
        assert!(error < tolerance::NETWORK, "{}: {error:.2e}", gpu.summary().name);
    }
}

#[test]
fn winograd_weights_made_at_each_step_change_nothing() {
    for gpu in gpus() {
        let error = unet(gpu, "plain", &PlanOptions { transform_budget: Some(0), ..PlanOptions::default() });
        assert!(error < tolerance::NETWORK, "{}: {error:.2e}", gpu.summary().name);
    }
}
