// What group normalization's kernels over chunks of pixels share: their parameters, and the merging of statistics.
struct Params {
    pixels: u32, // per sample
    c4: u32, // channels / 4, of both sources together
    c4_first: u32, // of the first source
    group_channels: u32,
    chunk: u32, // pixels per chunk
    chunks: u32, // per sample
    samples: u32,
    epsilon: f32,
}

/// (count, mean, sum of squared deviations) of two sets as those of their union: Chan et al.'s update, which does not cancel.
fn merge(a: vec3<f32>, b: vec3<f32>) -> vec3<f32> {
    let total = a.x + b.x;
    let delta = b.y - a.y;
    return vec3<f32>(total, a.y + delta * (b.x / total), a.z + (b.z + delta * delta * (a.x * b.x / total)));
}
