// Appends the low-resolution image, enlarged bilinearly (align_corners false), to x.
struct Params {
    rows: u32, // output pixels over the batch
    height: u32, // of the output
    width: u32,
    low_height: u32,
    low_width: u32,
    channels: u32, // of x and of low_res
    scale_y: f32, // low / high
    scale_x: f32,
}
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<f32>;
@auto var<storage, read> low_res: array<f32>;
@auto var<storage, read_write> out: array<f32>;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.y + id.z * 524280u; // 65535 workgroups of 8
    if (id.x >= 2u * p.channels || row >= p.rows) {
        return;
    }
    let at = row * 2u * p.channels + id.x;
    if (id.x < p.channels) {
        out[at] = x[row * p.channels + id.x];
        return;
    }
    let c = id.x - p.channels;
    let line = row / p.width;
    let n = line / p.height;
    let y = max((f32(line % p.height) + 0.5) * p.scale_y - 0.5, 0.0);
    let column = max((f32(row % p.width) + 0.5) * p.scale_x - 0.5, 0.0);
    let y0 = u32(y);
    let x0 = u32(column);
    let fy = y - f32(y0);
    let fx = column - f32(x0);
    let top = (n * p.low_height + y0) * p.low_width;
    let bottom = (n * p.low_height + min(y0 + 1u, p.low_height - 1u)) * p.low_width;
    let right = min(x0 + 1u, p.low_width - 1u);
    let upper = mix(low_res[(top + x0) * p.channels + c], low_res[(top + right) * p.channels + c], fx);
    let lower = mix(low_res[(bottom + x0) * p.channels + c], low_res[(bottom + right) * p.channels + c], fx);
    out[at] = mix(upper, lower, fy);
}
