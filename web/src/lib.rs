//! Guided diffusion in a browser: the core's types as the package's worker (web/package) sees them.
//!
//! It translates and keeps no state of its own: plain data crosses as JSON in the names of the package's TypeScript
//! types, bytes as typed arrays. Loading is driven from outside, since only JavaScript can read a network stream.

#![cfg(target_arch = "wasm32")]

mod engine;
mod error;
mod file;
mod loader;
mod model;
mod picture;
mod request;
mod tuner;

use wasm_bindgen::prelude::*;

/// Turns a panic, which is a defect, into an exception with its message, which the worker reports as an internal error.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|info| wasm_bindgen::throw_str(&info.to_string())));
}
