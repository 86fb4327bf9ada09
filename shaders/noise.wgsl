// Fills a batch with standard normal noise: the first draw of a sampling run, and the noise of a step.
// Needs shared/philox.wgsl. One invocation writes the four values of one Philox block.

struct Noise {
    elements: u32,     // values of one sample
    samples: u32,      // samples in the batch
    first_sample: u32, // index of the batch's first sample in the whole run
    step: u32,         // 0 for the first draw
    seed: vec2<u32>,   // low, high
    padding: vec2<u32>,
}

@group(0) @binding(0) var<uniform> noise: Noise;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let block = id.x;
    let sample = id.y;
    let element = block * 4u;
    if (element >= noise.elements || sample >= noise.samples) {
        return;
    }
    let counter = vec4<u32>(block, noise.first_sample + sample, noise.step, 0u);
    let values = normal4(philox4x32_10(counter, noise.seed));
    let start = sample * noise.elements + element;
    let left = noise.elements - element;
    output[start] = values.x;
    if (left > 1u) {
        output[start + 1u] = values.y;
    }
    if (left > 2u) {
        output[start + 2u] = values.z;
    }
    if (left > 3u) {
        output[start + 3u] = values.w;
    }
}
