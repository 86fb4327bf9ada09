// Storing vec4 channels of a pixel row, also where the channel count is not a multiple of four.
// Needs p.n4 and, with a tail, p.n (output channels).
#if TAIL
@auto var<storage, read_write> out: array<f32>;

fn store(row: u32, c: u32, v: vec4<f32>) {
    let at = row * p.n + 4u * c;
#for i in 0..4
    if (4u * c + ${i}u < p.n) {
        out[at + ${i}u] = v[${i}];
    }
#end
}
#else
@auto var<storage, read_write> out: array<vec4<f32>>;

fn store(row: u32, c: u32, v: vec4<f32>) {
    out[row * p.n4 + c] = v;
}
#end
