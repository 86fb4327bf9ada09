// GroupNorm's gradient in parts, fourth: the chunks' sums folded into means. One invocation: one group of one sample.
// out is [sample][group].
#import group_norm
@auto var<uniform> p: Params;
@auto var<storage, read> sums: array<f32>; // [sample][chunk][g, g x'][channel]
@auto var<storage, read_write> out: array<vec2<f32>>;

@compute @workgroup_size(32)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let channels = 4u * p.c4;
    let groups = channels / p.group_channels;
    if (id.x >= groups * p.samples) {
        return;
    }
    let first = id.x % groups * p.group_channels;
    let n = id.x / groups;
    var total = vec2<f32>(0.0);
    for (var chunk = 0u; chunk < p.chunks; chunk++) {
        // Each chunk is summed before it joins the total, which would round small values away.
        var part = vec2<f32>(0.0);
        for (var i = 0u; i < p.group_channels; i++) {
            let at = 2u * (n * p.chunks + chunk) * channels + first + i;
            part += vec2<f32>(sums[at], sums[at + channels]);
        }
        total += part;
    }
    out[id.x] = total / f32(p.pixels * p.group_channels);
}
