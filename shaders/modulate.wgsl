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
#let WIDTH = 4
#import prologue
@auto var<storage, read_write> out: array<vec4<f32>>;

fn activated(n: u32, y: u32, column: u32, c: u32, a: Affine) -> vec4<f32> {
    let pixel = (n * p.source_height + y) * p.source_width + column;
#if SOURCES == 2
    if (c >= p.c4_first) {
        return activate(skip[pixel * (p.c4 - p.c4_first) + c - p.c4_first], a);
    }
    return activate(x[pixel * p.c4_first + c], a);
#else
    return activate(x[pixel * p.c4 + c], a);
#end
}

/// The result at (y, column) of its own grid.
fn source(n: u32, y: u32, column: u32, c: u32, a: Affine) -> vec4<f32> {
#if RESAMPLE == 1
    return activated(n, y / 2u, column / 2u, c, a);
#elif RESAMPLE == 2
    return 0.25 * (activated(n, 2u * y, 2u * column, c, a) + activated(n, 2u * y, 2u * column + 1u, c, a)
        + activated(n, 2u * y + 1u, 2u * column, c, a) + activated(n, 2u * y + 1u, 2u * column + 1u, c, a));
#else
    return activated(n, y, column, c, a);
#end
}

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
