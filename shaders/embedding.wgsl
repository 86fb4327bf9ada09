// Adds row label[n] of an embedding table to row n of x.
struct Params {
    samples: u32,
    width4: u32,
    classes: u32,
}
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<vec4<f32>>;
@auto var<storage, read> labels: array<u32>;
#import weights
@auto var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    if (i >= p.samples * p.width4) {
        return;
    }
    let label = min(labels[i / p.width4], p.classes - 1u);
    out[i] = x[i] + weight(label * p.width4 + i % p.width4);
}
