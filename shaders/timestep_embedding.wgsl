// Sinusoidal embedding of timesteps: cosines first, then sines. The frequencies come from the host, which
// computes them as the public code does.
struct Params {
    samples: u32,
    width: u32,
}
#import math
@auto var<uniform> p: Params;
@auto var<storage, read> timesteps: array<f32>;
@auto var<storage, read> frequencies: array<f32>;
@auto var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    if (i >= p.samples * p.width) {
        return;
    }
    let column = i % p.width;
    let half = p.width / 2u;
    if (column >= 2u * half) {
        out[i] = 0.0; // an odd width ends in a zero
        return;
    }
    let turn = cos_sin(timesteps[i / p.width] * frequencies[column % half]);
    out[i] = select(turn.y, turn.x, column < half);
}
