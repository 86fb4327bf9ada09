// GroupNorm's gradient in parts, fourth: the runs' sums folded into means. One invocation: one group of one sample.
// out is [sample][group].
struct Params {
    pixels: u32, // of one sample
    channels: u32,
    group_channels: u32,
    runs: u32,
    tasks: u32, // groups over the samples
}
@auto var<uniform> p: Params;
@auto var<storage, read> sums: array<f32>; // [sample][run][g, g x'][channel]
@auto var<storage, read_write> out: array<vec2<f32>>;

@compute @workgroup_size(32)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= p.tasks) {
        return;
    }
    let groups = p.channels / p.group_channels;
    let first = id.x % groups * p.group_channels;
    let n = id.x / groups;
    var total = vec2<f32>(0.0);
    for (var run = 0u; run < p.runs; run++) {
        // One run first, so that the total does not swallow small ones.
        var part = vec2<f32>(0.0);
        for (var i = 0u; i < p.group_channels; i++) {
            let at = 2u * (n * p.runs + run) * p.channels + first + i;
            part += vec2<f32>(sums[at], sums[at + p.channels]);
        }
        total += part;
    }
    out[id.x] = total / f32(p.pixels * p.group_channels);
}
