// The predicted x_0 from the network's output, clipped to [-1, 1] where the run asks for it.
struct Params {
    elements: u32,
    stride: u32, // elements a row of the dispatch's grid
    channels: u32, // of the image
    model_channels: u32, // of the network's output
}
#import step
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<f32>;
@auto var<storage, read> model: array<f32>;
@auto var<storage, read> coefficients: StepCoefficients;
@auto var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.y * p.stride + id.x;
    if (id.x >= p.stride || i >= p.elements) {
        return;
    }
    let predicted = model[i / p.channels * p.model_channels + i % p.channels];
#if XSTART
    let x0 = predicted;
#else
    let x0 = coefficients.sqrt_recip_bar * x[i] - coefficients.sqrt_recipm1_bar * predicted;
#end
    out[i] = select(x0, clamp(x0, -1.0, 1.0), coefficients.clip == 1u);
}
