//! The noise shader against its host specification, on the adapter that this machine offers.
//!
//! Runs on bare wgpu, so that a failure here means the shader and nothing around it.

use guided_diffusion::sampler::philox;

const SOURCE: &str = concat!(include_str!("../shaders/shared/philox.wgsl"), include_str!("../shaders/noise.wgsl"));

#[test]
fn the_shader_is_plain_wgsl() {
    let module = naga::front::wgsl::parse_str(SOURCE).unwrap_or_else(|e| panic!("{}", e.emit_to_string(SOURCE)));
    naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::empty())
        .validate(&module)
        .expect("valid under WebGPU's base capabilities");
}

struct Device {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipeline: wgpu::ComputePipeline,
}

impl Device {
    async fn open() -> Self {
        let instance = wgpu::Instance::default();
        let adapter = instance.request_adapter(&Default::default()).await.expect("a GPU adapter (mesa-vulkan-drivers)");
        println!("adapter: {}", adapter.get_info().name);
        let (device, queue) = adapter.request_device(&Default::default()).await.expect("a device");
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(SOURCE.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: Default::default(),
            cache: None,
        });
        Self { device, queue, pipeline }
    }

    fn noise(&self, seed: u64, first: u32, samples: u32, step: u32, elements: u32) -> Vec<f32> {
        let size = u64::from(samples * elements) * 4;
        let buffer = |size, usage| {
            self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        };
        let output = buffer(size, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
        let back = buffer(size, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        let params = buffer(32, wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST);
        let words = [elements, samples, first, step, seed as u32, (seed >> 32) as u32, 0, 0];
        self.queue.write_buffer(&params, 0, bytemuck::cast_slice(&words));
        let bind_group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &self.pipeline.get_bind_group_layout(0),
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: params.as_entire_binding() },
                wgpu::BindGroupEntry { binding: 1, resource: output.as_entire_binding() },
            ],
        });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &bind_group, &[]);
            pass.dispatch_workgroups(elements.div_ceil(4).div_ceil(64), samples, 1);
        }
        encoder.copy_buffer_to_buffer(&output, 0, &back, 0, size);
        self.queue.submit([encoder.finish()]);
        back.slice(..).map_async(wgpu::MapMode::Read, |result| result.expect("mapped"));
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("the work ends");
        bytemuck::pod_collect_to_vec(&back.slice(..).get_mapped_range().expect("mapped"))
    }
}

#[test]
fn the_shader_equals_the_host() {
    let device = pollster::block_on(Device::open());
    let mut worst = 0.0f32;
    // Sizes that do not fill a block of four, large indices, both words of the seed.
    for (seed, first, samples, step, elements) in [
        (0, 0, 1, 0, 1),
        (1, 7, 3, 24, 75),
        (u64::MAX, u32::MAX - 4, 4, 999, 1026),
        (0x1234_5678_9ABC_DEF0, 40_000, 2, 3, 1 << 18),
    ] {
        let got = device.noise(seed, first, samples, step, elements);
        for sample in 0..samples {
            let want = philox::normals(seed, first + sample, step, elements as usize);
            let got = &got[(sample * elements) as usize..][..elements as usize];
            for (i, (a, b)) in got.iter().zip(&want).enumerate() {
                let error = (a - b).abs();
                assert!(error <= 2e-6, "sample {sample} element {i}: {a} instead of {b}");
                worst = worst.max(error);
            }
        }
    }
    println!("worst absolute error {worst:e}");
}
