// Sinusoidal embedding of timesteps: cosines first, then sines. The frequencies come from the host, which
// computes them as the public code does.
struct Params {
    samples: u32,
    width: u32,
}
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
    // The argument reaches 1000 radians: reduce it by 2 pi in three parts (Cody & Waite), since drivers' sine and
    // cosine lose digits far from zero.
    let angle = timesteps[i / p.width] * frequencies[column % half];
    let turns = round(angle * 0.15915494);
    let reduced = ((angle - turns * 6.28125) - turns * 1.9350051879882812e-3) - turns * 3.0199159819e-7;
    out[i] = select(sin(reduced), cos(reduced), column < half);
}
