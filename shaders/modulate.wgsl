// Materialises a convolution's input: GroupNorm's affine map, SiLU, resampling and concatenation in one pass.
struct Params {
    rows: u32, // output pixels over the batch
    height: u32, // of the output
    width: u32,
    source_height: u32,
    source_width: u32,
    c4: u32,
    c4_first: u32,
    gain: f32,
}
@auto var<uniform> p: Params;
#import prologue
@auto var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let c = id.x;
    let row = id.y + id.z * 524280u; // 65535 workgroups of 8
    if (c >= p.c4 || row >= p.rows) {
        return;
    }
    let line = row / p.width;
    let n = line / p.height;
    out[row * p.c4 + c] = p.gain * source(n, line % p.height, row % p.width, c, affine_of(n, c));
}
