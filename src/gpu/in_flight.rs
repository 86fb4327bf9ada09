//! Submissions that the device may not have finished, natively and in the browser.

use super::adapter::Gpu;
#[cfg(target_arch = "wasm32")]
use super::signal::{Signal, signal};
use crate::error::Result;

/// A submission that the device may not have finished.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug)]
pub(super) struct InFlight(wgpu::SubmissionIndex);

#[cfg(not(target_arch = "wasm32"))]
impl InFlight {
    pub(super) fn submit(gpu: &Gpu, commands: wgpu::CommandBuffer) -> Self {
        Self(gpu.queue.submit([commands]))
    }

    /// Waits until the device has finished it: by its number and not by a callback, because wgpu ties a callback to the last
    /// submission of all threads, and two threads that share a device would each wait for one that only the other's polling
    /// could run.
    pub(super) async fn done(self, gpu: &Gpu) -> Result<()> {
        gpu.wait(Some(self.0))
    }
}

/// A submission that the device may not have finished. A browser cannot be waited for, but calls back by itself.
#[cfg(target_arch = "wasm32")]
#[derive(Debug)]
pub(super) struct InFlight(Signal<()>);

#[cfg(target_arch = "wasm32")]
impl InFlight {
    pub(super) fn submit(gpu: &Gpu, commands: wgpu::CommandBuffer) -> Self {
        gpu.queue.submit([commands]);
        let (sender, done) = signal();
        gpu.queue.on_submitted_work_done(move || sender.send(()));
        Self(done)
    }

    /// Waits until the device has finished it.
    pub(super) async fn done(self, _: &Gpu) -> Result<()> {
        self.0.await;
        Ok(())
    }
}
