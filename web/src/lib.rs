//! Guided diffusion in a browser: the core's types as JavaScript sees them.

#![cfg(target_arch = "wasm32")]

use guided_diffusion::{AdapterChoice, Gpu};
use wasm_bindgen::prelude::*;

/// The adapter's name.
///
/// # Errors
/// There is none.
#[wasm_bindgen]
pub async fn adapter() -> Result<String, JsError> {
    Ok(Gpu::open(&AdapterChoice::Default).await?.summary().name.clone())
}
