//! The adapters that tests run on, and how results are compared.

use std::sync::{Arc, OnceLock};

use guided_diffusion::gpu::{AdapterChoice, Gpu};

/// Names of the adapters under test. `TEST_ADAPTERS` (a comma-separated list of names) replaces the two software
/// adapters, two independent drivers of which one catches what the other forgives.
pub fn adapters() -> Vec<String> {
    let names = std::env::var("TEST_ADAPTERS").unwrap_or_else(|_| "llvmpipe,SwiftShader".into());
    names.split(',').map(|name| name.trim().to_owned()).collect()
}

/// A device of its own, with bounds-checked shaders.
///
/// # Panics
/// The adapter is missing: a test that cannot run has failed.
pub fn open(name: &str) -> Arc<Gpu> {
    let choice = AdapterChoice::Named(name.into());
    pollster::block_on(Gpu::open_with(&choice, true))
        .unwrap_or_else(|e| panic!("{e}\n`make test-native` installs both software adapters and says where they are"))
}

/// Every adapter under test, one device each for all tests of a file.
///
/// # Panics
/// An adapter is missing.
pub fn gpus() -> &'static [Arc<Gpu>] {
    static GPUS: OnceLock<Vec<Arc<Gpu>>> = OnceLock::new();
    GPUS.get_or_init(|| adapters().iter().map(|name| open(name)).collect())
}

/// |actual - expected| / |expected|, in L2.
pub fn relative_l2(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len(), "different lengths");
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        actual.iter().zip(expected).map(|(a, e)| f(f64::from(*a), f64::from(*e))).sum()
    };
    (sum(&|a, e| (a - e) * (a - e)) / sum(&|_, e| e * e).max(1e-60)).sqrt()
}
