//! Errors that the device reports: those of a group of calls, and all others. Every allocation and every pipeline is made
//! under such an error scope, so that a failure is an error with its name.
//!
//! In a browser this uses the browser's own device: wgpu panics at errors that WebGPU calls internal, such as a crash of the
//! driver's compiler.

use std::fmt;
use std::pin::Pin;

use crate::error::Error;

/// An error of the device.
#[derive(Debug, Clone)]
pub(crate) struct Caught {
    /// Whether memory was exhausted.
    pub exhausted: bool,
    /// What the driver or the browser says.
    pub reason: String,
}

impl Caught {
    /// The error of an allocation: of `what`, with advice for the case that memory was exhausted.
    pub(crate) fn refusal(&self, what: &str, advice: &str) -> Error {
        match self.exhausted {
            true => Error::OutOfMemory(format!("{what}: {}; {advice}", self.reason)),
            false => Error::Gpu(format!("{what}: {}", self.reason)),
        }
    }
}

/// The errors of calls in a scope, which the device reports later.
pub(crate) struct Pending(platform::Pending);

impl Pending {
    /// The error, if there was one. Of several it is the cause: what uses a buffer that could
    /// not be allocated is invalid, too.
    pub(crate) async fn error(self) -> Option<Caught> {
        self.0.await
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending")
    }
}

/// Does `work` in an error scope for all errors of its calls.
pub(crate) fn watch<R>(device: &wgpu::Device, work: impl FnOnce() -> R) -> (R, Pending) {
    let (result, pending) = platform::watch(device, work);
    (result, Pending(pending))
}

/// Calls `handler` with errors outside every scope.
pub(crate) use platform::on_uncaught;

#[cfg(not(target_arch = "wasm32"))]
mod platform {
    use std::sync::Arc;

    use super::{Caught, Pin};

    pub(super) type Pending = Pin<Box<dyn Future<Output = Option<Caught>> + Send>>;

    /// Scopes are popped in reverse order.
    const FILTERS: [wgpu::ErrorFilter; 3] =
        [wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::OutOfMemory];

    impl From<wgpu::Error> for Caught {
        fn from(error: wgpu::Error) -> Self {
            let exhausted = matches!(error, wgpu::Error::OutOfMemory { .. });
            Self { exhausted, reason: error.to_string() }
        }
    }

    pub(super) fn watch<R>(device: &wgpu::Device, work: impl FnOnce() -> R) -> (R, Pending) {
        let scopes = FILTERS.map(|filter| device.push_error_scope(filter));
        let result = work();
        let caught: Vec<_> = scopes.into_iter().rev().map(wgpu::ErrorScopeGuard::pop).collect();
        let pending = async move {
            for error in caught {
                if let Some(error) = error.await {
                    return Some(error.into());
                }
            }
            None
        };
        (result, Box::pin(pending))
    }

    pub(crate) fn on_uncaught(device: &wgpu::Device, handler: impl Fn(Caught) + Send + Sync + 'static) {
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| handler(error.into())));
    }
}

#[cfg(target_arch = "wasm32")]
mod platform {
    use js_sys::{Function, Object, Promise, Reflect};
    use wasm_bindgen::prelude::*;
    use wasm_bindgen_futures::JsFuture;

    use super::{Caught, Pin};

    /// A browser's device stays on its thread.
    pub(super) type Pending = Pin<Box<dyn Future<Output = Option<Caught>>>>;

    /// Scopes are popped in reverse order.
    const FILTERS: [&str; 3] = ["validation", "internal", MEMORY];
    const MEMORY: &str = "out-of-memory";

    pub(super) fn watch<R>(device: &wgpu::Device, work: impl FnOnce() -> R) -> (R, Pending) {
        for filter in FILTERS {
            call(device, "pushErrorScope", &[filter.into()]);
        }
        let result = work();
        let caught: Vec<_> =
            FILTERS.into_iter().rev().map(|filter| (filter, call(device, "popErrorScope", &[]))).collect();
        let pending = async move {
            for (filter, answer) in caught {
                // A lost device gives no answer; `Gpu::check` reports it.
                let answer = match answer.and_then(|answer| answer.dyn_into::<Promise>().ok()) {
                    Some(promise) => JsFuture::from(promise).await.ok(),
                    None => None,
                };
                if let Some(error) = answer.filter(|error| error.is_object()) {
                    return Some(Caught { exhausted: filter == MEMORY, reason: text(&error, "message") });
                }
            }
            None
        };
        (result, Box::pin(pending))
    }

    pub(crate) fn on_uncaught(device: &wgpu::Device, handler: impl Fn(Caught) + 'static) {
        let Some(device) = device.as_webgpu() else { return };
        let listen = move |event: JsValue| {
            let error = Reflect::get(&event, &"error".into()).unwrap_or_default();
            let kind = Object::from(error.clone()).constructor().name();
            let exhausted = kind == "GPUOutOfMemoryError";
            handler(Caught { exhausted, reason: text(&error, "message") });
        };
        let listen = Closure::<dyn Fn(JsValue)>::new(listen).into_js_value();
        // Setting a property that every device has cannot fail.
        let _ = Reflect::set(device, &"onuncapturederror".into(), &listen);
    }

    /// Calls a method of the browser's device; `None` where it threw.
    fn call(device: &wgpu::Device, method: &str, arguments: &[JsValue]) -> Option<JsValue> {
        let device: &JsValue = device.as_webgpu()?.as_ref();
        let method = Reflect::get(device, &method.into()).ok()?.dyn_into::<Function>().ok()?;
        Reflect::apply(&method, device, &arguments.iter().collect()).ok()
    }

    fn text(object: &JsValue, property: &str) -> String {
        Reflect::get(object, &property.into()).ok().and_then(|value| value.as_string()).unwrap_or_default()
    }
}
