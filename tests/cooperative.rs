//! The matrix product on tensor cores where there are none: its text with cooperative matrices spelt out as loops, run on a
//! software driver. What wgpu and a driver make of the real ones is left to the self-test; what is checked is all else:
//! tiles, edges, sources, where sums go.

mod common;

use common::gpu::adapters;
use guided_diffusion::device::{Caps, Precision};
use guided_diffusion::gpu::TensorCores;
use guided_diffusion::graph::Graph;
use guided_diffusion::op::variant::{GemmTile, Variant};
use guided_diffusion::op::{Conv2d, Prologue};
use guided_diffusion::plan::tuning::VariantOverrides;
use guided_diffusion::plan::{Plan, PlanOptions};
use guided_diffusion::shader::{Access, Kernel};
use guided_diffusion::tensor::Shape;
use guided_diffusion::{AdapterChoice, Error, Gpu, OpenOptions};
use pollster::block_on;
use wgpu::util::{BufferInitDescriptor, DeviceExt};

/// Whole numbers, whose sums are exact in float32.
fn numbers(count: usize, step: usize) -> Vec<f32> {
    (0..count).map(|i| (i * step % 17) as f32 - 8.0).collect()
}

/// `z` products of `m` rows: `sources` are each's inner dimension, `n` the columns.
struct Product {
    m: usize,
    n: usize,
    z: usize,
    sources: Vec<usize>,
}

impl Product {
    fn columns(&self) -> usize {
        self.n.next_multiple_of(4)
    }

    fn depth(&self) -> usize {
        self.sources.iter().sum()
    }

    fn source(&self, i: usize) -> Vec<f32> {
        numbers(self.z * self.m * self.sources[i], 5 + 2 * i)
    }

    fn weights(&self) -> Vec<f32> {
        numbers(self.z * self.depth() * self.columns(), 3)
    }

    fn bias(&self) -> Vec<f32> {
        numbers(self.columns(), 7)
    }

    fn expected(&self, biased: bool) -> Vec<f32> {
        let (weights, bias, columns) = (self.weights(), self.bias(), self.columns());
        let sources: Vec<Vec<f32>> = (0..self.sources.len()).map(|i| self.source(i)).collect();
        let mut out = Vec::new();
        for (row, x) in (0..self.z * self.m).flat_map(|row| (0..self.n).map(move |x| (row, x))) {
            let values = sources.iter().zip(&self.sources).flat_map(|(data, k)| &data[row * k..(row + 1) * k]);
            let first = row / self.m * self.depth();
            let sum: f32 = values.zip(first..).map(|(value, k)| value * weights[k * columns + x]).sum();
            out.push(sum + if biased { bias[x] } else { 0.0 });
        }
        out
    }

    fn word(&self, name: &str) -> u32 {
        let value = match name {
            "m" => self.m,
            "n" => self.n,
            "n4" => self.columns() / 4,
            "k4" => self.depth() / 4,
            "k4_first" => self.sources[0] / 4,
            // A tile has 64 rows.
            "lines" => self.m.div_ceil(64),
            "first_line" => 0,
            "end_line" => self.z * self.m.div_ceil(64),
            "height" => 1,
            "width" => self.m,
            _ => panic!("{name}"),
        };
        value as u32
    }
}

/// The kernel and its grid as a plan has them.
fn planned(
    conv: Conv2d,
    grid: Shape,
    sources: &[usize],
    n: usize,
    size: usize,
    variant: Variant,
) -> (Kernel, [u32; 3]) {
    let mut graph = Graph::default();
    let inputs: Vec<_> = sources.iter().map(|c| graph.input(&format!("x{c}"), grid.with_channels(*c))).collect();
    let (depth, taps) = (sources.iter().sum(), conv.kernel);
    let params = [graph.param("weight", &[n, depth, taps, taps]), graph.param("bias", &[n])];
    let out = graph.push("product", conv, &inputs, &params).unwrap();
    graph.output("out", out);
    let caps = Caps { shader_f16: true, cooperative: Some(size), ..Caps::webgpu_defaults() };
    let overrides = VariantOverrides::from([("*".to_owned(), variant)]);
    let options = PlanOptions { precision: Precision::F16, overrides, ..PlanOptions::default() };
    let plan = Plan::new(&graph, &caps, &options).unwrap();
    let step = plan.dispatches().iter().find(|step| step.kernel.uses_cooperative_matrices());
    let step = step.unwrap_or_else(|| panic!("{variant:?} is not in\n{plan}"));
    (step.kernel.clone(), step.workgroups)
}

/// The kernel with cooperative matrices spelt out: a factor is a place in workgroup memory, of a sum each of 32 invocations
/// has its share. Subgroups are known by number, and float16, which not every software driver has, is float32.
fn emulated(kernel: &Kernel) -> String {
    let (size, share) = (kernel.defines["COOPERATIVE"], kernel.defines["COOPERATIVE"].pow(2) / 32);
    let mut text = kernel.expand().unwrap().text;
    for (from, to) in [
        ("enable f16;\n", String::new()),
        ("enable wgpu_cooperative_matrix;\n", String::new()),
        ("f16", "f32".into()),
        (&format!("coop_mat{size}x{size}<f32, A>"), "vec2<u32>".into()),
        (&format!("coop_mat{size}x{size}<f32, B>"), "vec2<u32>".into()),
        (&format!("coop_mat{size}x{size}<f32, C>"), format!("array<f32, {share}>")),
        ("    @builtin(subgroup_id) subgroup: u32,\n", String::new()),
        (") {\n    // Not by", ") {\n    let subgroup = worker / 32u;\n    lane = worker % 32u;\n    // Not by".into()),
        ("coopLoadT<Left>(&a_tile[", "vec2((".into()),
        ("coopLoadT<Right>(&w_tile[", "vec2((".into()),
        ("coopLoadT<Sum>(&sums[0]", "load(0u".into()),
        ("coopMultiplyAdd(", "multiply_add(".into()),
        ("coopStoreT(", "store_sums(".into()),
        ("&sums[", "(".into()),
        // The end of an index; no other is followed by a comma at once but in vectors' elements.
        ("u], ", "u), ".into()),
    ] {
        assert!(text.contains(from), "no `{from}` in\n{text}");
        text = text.replace(from, &to);
    }
    text = text.replace("sums[4u * at + 1u)", "sums[4u * at + 1u]").replace("sums[4u * at + 2u)", "sums[4u * at + 2u]");
    let each =
        format!("for (var e = 0u; e < {share}u; e++) {{ let y = (32u * e + lane) / {size}u; let x = lane % {size}u;");
    text + &format!(
        "var<private> lane: u32;
        fn load(at: u32, stride: u32) -> Sum {{
            var sum: Sum;
            {each} sum[e] = sums[at + y * stride + x]; }}
            return sum;
        }}
        fn store_sums(given: Sum, at: u32, stride: u32) {{
            var sum = given;
            {each} sums[at + y * stride + x] = sum[e]; }}
        }}
        fn multiply_add(a: Left, b: Right, given: Sum) -> Sum {{
            var sum = given;
            {each} for (var k = 0u; k < {size}u; k++) {{
                sum[e] += a_tile[a.x + y * a.y + k] * w_tile[b.x + k * b.y + x];
            }} }}
            return sum;
        }}
        "
    )
}

fn device() -> (wgpu::Device, wgpu::Queue) {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    let found = block_on(wgpu::Instance::new(descriptor).enumerate_adapters(wgpu::Backends::PRIMARY));
    let wanted = adapters()[0].to_lowercase();
    let adapter = found.into_iter().find(|adapter| adapter.get_info().name.to_lowercase().contains(&wanted)).unwrap();
    block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap()
}

fn run(
    (device, queue): &(wgpu::Device, wgpu::Queue),
    kernel: &Kernel,
    groups: [u32; 3],
    product: &Product,
) -> Vec<f32> {
    let shader = kernel.expand().unwrap();
    let source = wgpu::ShaderSource::Wgsl(emulated(kernel).into());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let words: Vec<u32> = shader.parameters.iter().map(|name| product.word(name)).collect();
    let elements = product.z * product.m * product.n;
    let buffers: Vec<wgpu::Buffer> = (shader.bindings.iter())
        .map(|binding| {
            let contents: Vec<u8> = match (binding.access, binding.name.as_str()) {
                (Access::Uniform, _) => bytemuck::cast_slice(&words).to_vec(),
                (_, "a") => bytemuck::cast_slice(&product.source(0)).to_vec(),
                (_, "skip") => bytemuck::cast_slice(&product.source(1)).to_vec(),
                (_, "w") => bytemuck::cast_slice(&product.weights()).to_vec(),
                (_, "bias") => bytemuck::cast_slice(&product.bias()).to_vec(),
                (_, "out") => vec![0; 4 * elements],
                (_, name) => panic!("{name}"),
            };
            let usage = match binding.access {
                Access::Uniform => wgpu::BufferUsages::UNIFORM,
                _ => wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
            };
            device.create_buffer_init(&BufferInitDescriptor { label: None, contents: &contents, usage })
        })
        .collect();
    let entries: Vec<wgpu::BindGroupEntry<'_>> = (0..)
        .zip(&buffers)
        .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
        .collect();
    let layout = &pipeline.get_bind_group_layout(0);
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries });
    let staging = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 4 * elements as u64,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    pass.set_pipeline(&pipeline);
    pass.set_bind_group(0, &bind_group, &[]);
    pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
    drop(pass);
    encoder.copy_buffer_to_buffer(buffers.last().unwrap(), 0, &staging, 0, 4 * elements as u64);
    queue.submit([encoder.finish()]);
    staging.map_async(wgpu::MapMode::Read, .., Result::unwrap);
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let view = staging.get_mapped_range(..).unwrap();
    bytemuck::cast_slice(&view).to_vec()
}

#[test]
fn tiles_edges_and_sources_are_right() {
    let device = device();
    let two = Conv2d { prologue: Prologue { two_sources: true, ..Prologue::default() }, ..Conv2d::linear() };
    for (size, conv, height, width, sources, n) in [
        (16, Conv2d::linear(), 8, 8, vec![16], 64),
        (16, Conv2d::linear(), 3, 7, vec![4], 6),
        // A row and a column beyond whole tiles; depths that fill no step.
        (16, two.clone(), 10, 13, vec![8, 28], 73),
        (8, two, 10, 13, vec![8, 28], 73),
    ] {
        let (grid, variant) = (Shape::new(1, height, width, 0), Variant::Gemm(GemmTile::cooperative(size)));
        let (kernel, groups) = planned(conv, grid, &sources, n, size, variant);
        let product = Product { m: height * width, n, z: 1, sources };
        assert_eq!(run(&device, &kernel, groups, &product), product.expected(true), "{kernel}");
    }
    // Winograd's 16 products.
    let variant = Variant::Winograd(2, GemmTile::cooperative(16));
    let (kernel, groups) = planned(Conv2d::new(3, 1), Shape::new(1, 6, 10, 0), &[24], 20, 16, variant);
    let product = Product { m: 15, n: 20, z: 16, sources: vec![24] };
    assert_eq!(run(&device, &kernel, groups, &product), product.expected(false), "{kernel}");
}

#[test]
fn an_adapter_without_them_is_told() {
    for name in adapters() {
        // SAFETY: the device is not opened.
        let tensor_cores = Some(unsafe { TensorCores::enabled() });
        let options = OpenOptions { tensor_cores, ..OpenOptions::default() };
        let error = block_on(Gpu::open_with(&AdapterChoice::Named(name), options)).unwrap_err();
        assert!(matches!(&error, Error::Feature { name: "wgpu-cooperative-matrix", .. }), "{error}");
        assert!(error.to_string().contains("without --tensor-cores"), "{error}");
    }
}
