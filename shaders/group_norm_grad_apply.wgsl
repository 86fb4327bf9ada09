// GroupNorm's gradient, last: g - mean(g) - x' mean(g x'), in place of g. One invocation: four channels of one chunk.
#import group_norm
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<vec4<f32>>;
@auto var<storage, read> moments: array<vec2<f32>>;
@auto var<storage, read> means: array<vec2<f32>>;
@auto var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let c = id.x;
    let index = id.y + id.z * 524280u; // 65535 workgroups of 8
    if (c >= p.c4 || index >= p.chunks * p.samples) {
        return;
    }
    let n = index / p.chunks;
    let groups = 4u * p.c4 / p.group_channels;
#for k in 0..4
    let group${k} = n * groups + (4u * c + ${k}u) / p.group_channels;
    let moment${k} = moments[group${k}];
    let mean${k} = means[group${k}];
#end
    let mean = vec4<f32>(moment0.x, moment1.x, moment2.x, moment3.x);
    let deviation = vec4<f32>(moment0.y, moment1.y, moment2.y, moment3.y);
    let g = vec4<f32>(mean0.x, mean1.x, mean2.x, mean3.x);
    let product = vec4<f32>(mean0.y, mean1.y, mean2.y, mean3.y);
    let first = index % p.chunks * p.chunk;
    let last = min(first + p.chunk, p.pixels);
    for (var i = first; i < last; i++) {
        let at = (n * p.pixels + i) * p.c4 + c;
        out[at] = out[at] - g - (x[at] - mean) * deviation * product;
    }
}
