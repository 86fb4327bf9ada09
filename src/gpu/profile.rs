//! Times each dispatch of a plan on the device.

use super::program::Program;
use super::readback::Readback;
use crate::error::{Error, Result};

impl Program {
    /// Nanoseconds of each dispatch, the median of `rounds` runs of the whole plan, each dispatch in a pass of its own.
    ///
    /// # Errors
    /// The adapter has no timestamp queries; a lost device.
    pub async fn profile(&mut self, rounds: usize) -> Result<Vec<f64>> {
        let gpu = self.gpu().clone();
        if !gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Err(Error::Options(format!(
                "{} has no timestamp queries, which times per op need; whole-network times do not",
                gpu.summary().name
            )));
        }
        let dispatches = self.plan().dispatches.len();
        let mut samples = vec![Vec::with_capacity(rounds); dispatches];
        // WebGPU allows 4096 queries per set.
        let sets = (0..dispatches).collect::<Vec<_>>();
        for _ in 0..rounds {
            for chunk in sets.chunks(2048) {
                for (dispatch, time) in chunk.iter().zip(self.time(chunk).await?) {
                    samples[*dispatch].push(time);
                }
            }
        }
        Ok(samples.into_iter().map(median).collect())
    }

    async fn time(&self, dispatches: &[usize]) -> Result<Vec<f64>> {
        let gpu = self.gpu();
        let count = 2 * dispatches.len() as u32;
        let queries = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("profile"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let bytes = u64::from(count) * 8;
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved = gpu.buffer("timestamps", bytes, usage);
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for (i, dispatch) in dispatches.iter().enumerate() {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &queries,
                    beginning_of_pass_write_index: Some(2 * i as u32),
                    end_of_pass_write_index: Some(2 * i as u32 + 1),
                }),
            });
            self.encode(*dispatch, &mut pass);
        }
        encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
        gpu.queue.submit([encoder.finish()]);
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&Readback::start(gpu, &resolved, bytes).bytes().await?);
        let period = f64::from(gpu.queue.get_timestamp_period());
        Ok(ticks.chunks_exact(2).map(|pair| pair[1].wrapping_sub(pair[0]) as f64 * period).collect())
    }
}

/// The median; 0 where there are no values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
