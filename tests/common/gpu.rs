//! The adapters that tests run on, and how results are compared.

use std::sync::Arc;

pub use conformance::relative_l2;
use guided_diffusion::gpu::{AdapterChoice, Gpu, OpenOptions, TensorCores};
use pollster::block_on;

/// Names of the adapters under test. `TEST_ADAPTERS` (a comma-separated list of names) replaces the two software
/// adapters, two independent drivers of which one catches what the other forgives.
pub fn adapters() -> Vec<String> {
    let names = std::env::var("TEST_ADAPTERS").unwrap_or_else(|_| "llvmpipe,SwiftShader".into());
    names.split(',').map(|name| name.trim().to_owned()).collect()
}

/// A device of its own, with bounds-checked shaders; with `TEST_ASSUME_GPU` by the plans of GPUs, with `TEST_TENSOR_CORES`
/// by theirs where float16 is multiplied.
///
/// # Panics
/// The adapter is missing: a test that cannot run has failed.
pub fn open(name: &str) -> Arc<Gpu> {
    let choice = AdapterChoice::Named(name.into());
    let assume_gpu = std::env::var_os("TEST_ASSUME_GPU").is_some();
    // SAFETY: who sets the variable accepts what wgpu warns of.
    let tensor_cores = std::env::var_os("TEST_TENSOR_CORES").map(|_| unsafe { TensorCores::enabled() });
    block_on(Gpu::open_with(&choice, OpenOptions { checked: true, assume_gpu, tensor_cores, ..OpenOptions::default() }))
        .unwrap_or_else(|e| panic!("{e}\n`make test-native` installs both software adapters and says where they are"))
}

/// Every adapter under test, one device each for all tests of a program.
///
/// # Panics
/// An adapter is missing.
pub fn gpus() -> &'static [Arc<Gpu>] {
    conformance::SHARED.get_or_init(|| adapters().iter().map(|name| open(name)).collect())
}

/// `work` on every adapter under test, at the same time: one of the software drivers compiles under a lock of the whole
/// process, which leaves a core to the other.
///
/// # Panics
/// `work` does.
pub fn on_each<T: Send>(work: impl Fn(&Arc<Gpu>) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = gpus().iter().map(|gpu| scope.spawn(move || work(gpu))).collect();
        // All are joined before one panics for its thread.
        let results: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        results.into_iter().map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// Runs a suite of tests/conformance on every adapter under test: as many tasks as `count` says, whose errors are printed.
///
/// # Panics
/// Something fails or is out of tolerance; all of it is listed.
pub fn conform(suite: &str, count: impl Fn(&Gpu) -> usize + Sync) {
    let golden = super::golden();
    let failures = on_each(|gpu| {
        let mut failures = Vec::new();
        let adapter = &gpu.summary().name;
        let tasks = conformance::tasks(suite, gpu, golden);
        assert_eq!(tasks.len(), count(gpu), "tasks of {suite}");
        for task in tasks {
            match block_on(task.run(gpu, golden)) {
                Ok(checks) => checks.iter().for_each(|check| {
                    println!("{adapter:<50} {check}");
                    if !check.passed() {
                        failures.push(format!("{adapter}: {check}"));
                    }
                }),
                Err(error) => failures.push(format!("{adapter}: {}: {error}", task.name(golden))),
            }
        }
        failures
    })
    .concat();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
