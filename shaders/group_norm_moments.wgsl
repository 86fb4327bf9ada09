// GroupNorm's gradient in parts, second: the runs' statistics folded into a mean and an inverse deviation. One invocation:
// one group of one sample. out is [sample][group].
struct Params {
    pixels: u32, // of one sample
    channels: u32,
    group_channels: u32,
    run: u32,
    runs: u32,
    epsilon: f32,
    tasks: u32, // groups over the samples
}
@auto var<uniform> p: Params;
@auto var<storage, read> stats: array<f32>; // [sample][run][mean, m2][channel]
@auto var<storage, read_write> out: array<vec2<f32>>;

@compute @workgroup_size(32)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= p.tasks) {
        return;
    }
    let groups = p.channels / p.group_channels;
    let first = id.x % groups * p.group_channels;
    let n = id.x / groups;
    // Chan et al.'s update merges (count, mean, m2) pairs without cancellation.
    var count = 0.0;
    var mean = 0.0;
    var m2 = 0.0;
    for (var run = 0u; run < p.runs; run++) {
        let pixels = f32(min(p.run, p.pixels - run * p.run));
        for (var i = 0u; i < p.group_channels; i++) {
            let at = 2u * (n * p.runs + run) * p.channels + first + i;
            let delta = stats[at] - mean;
            let total = count + pixels;
            mean += delta * (pixels / total);
            m2 += stats[at + p.channels] + delta * delta * (count * pixels / total);
            count = total;
        }
    }
    out[id.x] = vec2<f32>(mean, 1.0 / sqrt(m2 / count + p.epsilon));
}
