//! Reading a buffer back without stopping what is submitted next: a copy into a staging buffer, which is mapped once the
//! device has reached it. Staging buffers are kept for the next time.

use std::sync::Arc;

use super::adapter::Gpu;
use super::scope::{self, Pending};
use super::signal::{Signal, lock, signal};
use crate::error::{Error, Result};

/// Staging buffers kept for later, at most; a run never has more pending at once.
const KEPT: usize = 4;

/// Bytes on their way to the host.
#[derive(Debug)]
pub(crate) struct Readback {
    staging: Staging,
    bytes: u64,
    submission: wgpu::SubmissionIndex,
    pending: Pending,
    mapped: Signal<Result<(), wgpu::BufferAsyncError>>,
}

impl Readback {
    /// Submits a copy of the first `bytes` bytes of `buffer`, as everything submitted so far leaves them.
    pub(crate) fn start(gpu: &Arc<Gpu>, buffer: &wgpu::Buffer, bytes: u64) -> Self {
        let ((staging, submission, mapped), pending) = scope::watch(&gpu.device, || {
            let staging = take(gpu, bytes);
            let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, bytes);
            let submission = gpu.queue.submit([encoder.finish()]);
            let (sender, mapped) = signal();
            staging.map_async(wgpu::MapMode::Read, ..bytes, move |result| sender.send(result));
            (staging, submission, mapped)
        });
        Self { staging: Staging { gpu: gpu.clone(), buffer: Some(staging) }, bytes, submission, pending, mapped }
    }

    /// Whether the bytes are there, without waiting.
    pub(crate) fn is_ready(&self) -> bool {
        // Natively, callbacks run while polling. A failure shows when the bytes are asked for.
        let _ = self.staging.gpu.device.poll(wgpu::PollType::Poll);
        self.mapped.is_ready()
    }

    /// The bytes, once they are there.
    pub(crate) async fn bytes(self) -> Result<Vec<u8>> {
        let Self { mut staging, bytes, submission, pending, mapped } = self;
        let gpu = Arc::clone(&staging.gpu);
        if !mapped.is_ready() {
            gpu.wait(Some(submission))?;
        }
        let (result, refused) = (mapped.await, pending.error().await);
        gpu.check()?;
        if let Some(caught) = refused {
            return Err(caught.refusal("read-back", "a smaller batch may fit"));
        }
        let failed = |reason: String| Error::Gpu(format!("read-back: {reason}"));
        result.map_err(|e| failed(e.to_string()))?;
        let Some(buffer) = &staging.buffer else { return Err(failed("its buffer is gone".into())) };
        let data = buffer.get_mapped_range(..bytes).map_err(|e| failed(e.to_string()))?.to_vec();
        buffer.unmap();
        let mut kept = lock(&gpu.staging);
        if kept.len() < KEPT {
            kept.extend(staging.buffer.take());
        }
        Ok(data)
    }
}

/// A staging buffer that is destroyed unless it is kept: a browser would keep the memory until it collects garbage.
#[derive(Debug)]
struct Staging {
    gpu: Arc<Gpu>,
    buffer: Option<wgpu::Buffer>,
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Some(buffer) = &self.buffer {
            buffer.destroy();
        }
    }
}

/// A staging buffer of `bytes` bytes or up to twice as many.
fn take(gpu: &Gpu, bytes: u64) -> wgpu::Buffer {
    let mut kept = lock(&gpu.staging);
    let fits = |buffer: &wgpu::Buffer| (bytes..=2 * bytes).contains(&buffer.size());
    if let Some(i) = kept.iter().position(fits) {
        return kept.swap_remove(i);
    }
    // Buffers of other sizes are destroyed, so that a session's sizes do not outlive it.
    kept.drain(..).for_each(|buffer| buffer.destroy());
    drop(kept);
    gpu.buffer("read-back", bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)
}
