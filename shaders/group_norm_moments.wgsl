// GroupNorm's gradient in parts, second: the chunks' statistics folded into a mean and an inverse deviation. One invocation:
// one group of one sample. out is [sample][group].
#import group_norm
@auto var<uniform> p: Params;
@auto var<storage, read> stats: array<f32>; // [sample][chunk][mean, m2][channel]
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
    var all = vec3<f32>(0.0);
    for (var chunk = 0u; chunk < p.chunks; chunk++) {
        let pixels = f32(min(p.chunk, p.pixels - chunk * p.chunk));
        for (var i = 0u; i < p.group_channels; i++) {
            let at = 2u * (n * p.chunks + chunk) * channels + first + i;
            all = merge(all, vec3<f32>(pixels, stats[at], stats[at + channels]));
        }
    }
    out[id.x] = vec2<f32>(all.y, 1.0 / sqrt(all.z / all.x + p.epsilon));
}
