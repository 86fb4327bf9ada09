//! tests/conformance in a browser: what there is to run, and one thing after the other. web/tests drives it.

#![cfg(target_arch = "wasm32")]

use std::sync::Arc;

use conformance::solvers::Solvers;
use conformance::{Check, Golden, Kinds, Task, kernels, tasks};
use guided_diffusion::shader::Kernel;
use guided_diffusion::{AdapterChoice, Checkpoint, Gpu, OpenOptions};
use serde_json::json;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console)]
    fn error(text: &str);
}

/// A device, and what it must compute.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Conformance {
    gpu: Arc<Gpu>,
    golden: Golden,
    kernels: Vec<Kernel>,
    tasks: Vec<Task>,
}

#[wasm_bindgen]
impl Conformance {
    /// Opens the browser's adapter, with subgroups where they were asked for; the files are those of tests/fixtures.
    ///
    /// # Errors
    /// There is no adapter.
    pub async fn open(
        subgroups: bool,
        cases: String,
        outputs: Vec<u8>,
        guided: Vec<u8>,
        steps: Vec<u8>,
        solver_cases: String,
        solvers: Vec<u8>,
    ) -> Result<Self, JsError> {
        std::panic::set_hook(Box::new(|info| error(&info.to_string())));
        let file = |stem: &str, bytes| Checkpoint::from_bytes(format!("{stem}.safetensors"), bytes);
        let solvers = Solvers::new(&solver_cases, file("solvers", solvers)?);
        let (outputs, guided) = (file("outputs", outputs)?, file("guided", guided)?);
        let golden = Golden::new(&cases, outputs, guided, file("guided_steps", steps)?, solvers);
        let gpu = Gpu::open_with(&AdapterChoice::Default, OpenOptions { subgroups, ..OpenOptions::default() }).await?;
        Ok(Self { gpu, golden, kernels: Vec::new(), tasks: Vec::new() })
    }

    /// From here on plans are as for a GPU, on a device of their own.
    ///
    /// # Errors
    /// There is no adapter any more.
    pub async fn assume_gpu(&mut self) -> Result<(), JsError> {
        let subgroups = self.gpu.caps().subgroup.is_some();
        let options = OpenOptions { subgroups, assume_gpu: true, ..OpenOptions::default() };
        self.gpu = Gpu::open_with(&AdapterChoice::Default, options).await?;
        Ok(())
    }

    /// Chooses a suite of [`tasks`], or `shaders`, and names what is in it.
    pub fn choose(&mut self, suite: &str) -> Vec<String> {
        (self.kernels, self.tasks) = match suite {
            "shaders" => {
                let mut kernels = kernels(&self.golden, &[self.gpu.caps().clone()], Kinds::InTurns);
                kernels.retain(|kernel| !kernel.uses_f16() || self.gpu.caps().shader_f16);
                (kernels.into_iter().collect(), Vec::new())
            }
            _ => (Vec::new(), tasks(suite, &self.gpu, &self.golden)),
        };
        let kernels = self.kernels.iter().map(ToString::to_string);
        kernels.chain(self.tasks.iter().map(|task| task.name(&self.golden))).collect()
    }

    /// Runs one of the suite's, by its place: a JSON list of `{name, error, tolerance, passed}`, empty for a shader that was
    /// accepted.
    ///
    /// # Errors
    /// A refused shader, a lost device.
    pub async fn run(&self, i: usize) -> Result<String, JsError> {
        let checks = match self.kernels.get(i) {
            Some(kernel) => {
                self.gpu.validate(kernel).await?;
                Vec::new()
            }
            None => self.tasks[i].run(&self.gpu, &self.golden).await?,
        };
        let row = |check: &Check| {
            let Check { name, error, tolerance } = check;
            json!({ "name": name, "error": error, "tolerance": tolerance, "passed": check.passed() })
        };
        Ok(json!(checks.iter().map(row).collect::<Vec<_>>()).to_string())
    }
}
