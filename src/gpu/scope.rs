//! What the device reports of a group of calls, apart from all other work: every allocation and every pipeline is made
//! under such a scope, so that what fails is an error with its name.

use std::fmt;
use std::pin::Pin;

use super::adapter::Gpu;
use crate::error::Error;

#[cfg(not(target_arch = "wasm32"))]
type Pending = Pin<Box<dyn Future<Output = Option<wgpu::Error>> + Send>>;
/// A browser's device stays on its thread.
#[cfg(target_arch = "wasm32")]
type Pending = Pin<Box<dyn Future<Output = Option<wgpu::Error>>>>;

/// Calls whose errors are caught, of all kinds that WebGPU has.
pub(crate) struct Scope {
    memory: wgpu::ErrorScopeGuard,
    internal: wgpu::ErrorScopeGuard,
    validation: wgpu::ErrorScopeGuard,
}

impl Scope {
    pub(crate) fn open(gpu: &Gpu) -> Self {
        let push = |filter| gpu.device.push_error_scope(filter);
        Self {
            memory: push(wgpu::ErrorFilter::OutOfMemory),
            internal: push(wgpu::ErrorFilter::Internal),
            validation: push(wgpu::ErrorFilter::Validation),
        }
    }

    /// Ends the scope at once; what it caught is told later.
    pub(crate) fn close(self) -> Outcome {
        // The last one pushed is the first to go.
        let (validation, internal, memory) = (self.validation.pop(), self.internal.pop(), self.memory.pop());
        Outcome(Box::pin(async move {
            let (validation, internal, memory) = (validation.await, internal.await, memory.await);
            // Whatever uses a buffer that found no memory is invalid too: the cause comes first.
            memory.or(internal).or(validation)
        }))
    }
}

/// What a scope will have caught.
pub(crate) struct Outcome(Pending);

impl Outcome {
    /// The error, if there was one.
    pub(crate) async fn error(self) -> Option<wgpu::Error> {
        self.0.await
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outcome")
    }
}

/// An allocation's error: of `what`, with what may fit where memory was too small.
pub(crate) fn refused(what: &str, error: &wgpu::Error, advice: &str) -> Error {
    match error {
        wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory(format!("{what}: {error}; {advice}")),
        _ => Error::Gpu(format!("{what}: {error}")),
    }
}
