//! The browser's device.

use std::sync::Arc;

use guided_diffusion::gpu::Compiling;
use guided_diffusion::{AdapterChoice, Gpu, OpenOptions};
use js_sys::Promise;
use serde_json::json;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use crate::error::{Result, js};

/// An open device.
#[wasm_bindgen]
pub struct Engine {
    pub(crate) gpu: Arc<Gpu>,
    /// What the browser says of its adapter and of itself, which the core does not see.
    browser: String,
}

#[wasm_bindgen]
impl Engine {
    /// Opens the adapter that the browser offers; `subgroups`: its devices are opened with them (worker/subgroups.ts);
    /// `browser`: what distinguishes the adapter, its driver and the browser from others.
    ///
    /// # Errors
    /// It offers none.
    pub async fn open(low_power: bool, subgroups: bool, browser: String) -> Result<Engine> {
        let choice = if low_power { AdapterChoice::LowPower } else { AdapterChoice::Default };
        Ok(Engine {
            gpu: Gpu::open_with(&choice, OpenOptions { subgroups, ..OpenOptions::default() }).await.map_err(js)?,
            browser,
        })
    }

    /// The package's `AdapterInfo` as JSON.
    pub fn adapter(&self) -> String {
        let summary = self.gpu.summary();
        json!({
            "name": summary.name,
            "maxBufferSize": summary.max_buffer_size,
            "maxBindingSize": summary.max_binding_size,
        })
        .to_string()
    }

    /// What a measurement holds for: the adapter, the browser, this version and its kernels.
    pub fn fingerprint(&self) -> String {
        format!("{}; {}", self.gpu.fingerprint(), self.browser)
    }

    /// How many kernels were compiled since the device was opened, and how many were asked for.
    pub fn compiling(&self) -> Vec<usize> {
        let Compiling { done, total } = self.gpu.compiling();
        vec![done, total]
    }

    /// Resolves to the reason when the device is lost.
    pub fn lost(&self) -> Promise {
        let gpu = self.gpu.clone();
        future_to_promise(async move { Ok(gpu.lost().await.into()) })
    }
}
