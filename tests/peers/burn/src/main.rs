//! Times burn's wgpu backend on single operations and prints one JSON object a line: {"op": name, "gflops": median rate}.
//!
//! The names are those of `guided-diffusion bench --op`. Warm-up runs come first: burn tunes its kernels in them.

use std::hint::black_box;
use std::time::{Duration, Instant};

use burn::tensor::module::{attention, conv2d};
use burn::tensor::ops::{AttentionModuleOptions, ConvOptions};
use burn::tensor::{Device, DeviceKind, Distribution, Tensor};

const WARM_UPS: usize = 3;
/// Runs are repeated for this long, five times at least.
const TIME: Duration = Duration::from_secs(3);

fn main() {
    let device = Device::wgpu(DeviceKind::DefaultDevice);
    let random = |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device);

    for (channels, side) in [(192, 64), (384, 32), (768, 8)] {
        let (x, weight) = (random([1, channels, side, side]), random([channels, channels, 3, 3]));
        let flops = 2.0 * 9.0 * (channels * channels * side * side) as f64;
        report(&format!("conv{channels}@{side}"), flops, &device, || {
            conv2d(x.clone(), weight.clone(), None, ConvOptions::new([1, 1], [1, 1], [1, 1], 1))
        });
    }

    let n = 1024;
    let (a, b) = (random([1, 1, n, n]), random([1, 1, n, n]));
    report("matmul1024", 2.0 * (n as f64).powi(3), &device, || a.clone().matmul(b.clone()));

    let (heads, tokens, width) = (6, 1024, 64);
    let [q, k, v] = [0; 3].map(|_| random([1, heads, tokens, width]));
    let flops = 4.0 * (heads * tokens * tokens * width) as f64;
    report("attention1024", flops, &device, || {
        attention(q.clone(), k.clone(), v.clone(), None, None, AttentionModuleOptions::default())
    });
}

/// Runs `op` until enough time has passed and prints the rate of the median run.
fn report(name: &str, flops: f64, device: &Device, op: impl Fn() -> Tensor<4>) {
    let run = || {
        let start = Instant::now();
        let result = black_box(op());
        device.sync().expect("the device works");
        drop(result);
        start.elapsed().as_secs_f64()
    };
    for _ in 0..WARM_UPS {
        run();
    }
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < 5 || start.elapsed() < TIME {
        times.push(run());
    }
    times.sort_by(f64::total_cmp);
    println!("{{\"op\": \"{name}\", \"gflops\": {:.3}}}", flops / times[times.len() / 2] / 1e9);
}
