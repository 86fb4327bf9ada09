// The parts of a product that gemm_workgroup.wgsl splits along the inner dimension, added up, with the epilogue.
// One invocation: a vec4 of a row. Parts are [part][row][column / 4].
struct Params {
    m: u32, // rows
    n: u32, // columns
    n4: u32,
    height: u32, // of the output
    width: u32,
    parts: u32,
}
@auto var<uniform> p: Params;
@auto var<storage, read> a: array<vec4<f32>>;
#import epilogue
#import store

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let c = id.x;
    let row = id.y + id.z * 524280u; // 65535 workgroups of 8
    if (c >= p.n4 || row >= p.m) {
        return;
    }
    let stride = p.m * p.n4;
    var at = row * p.n4 + c;
    var sum = a[at];
    for (var part = 1u; part < p.parts; part++) {
        at += stride;
        sum += a[at];
    }
    store(row, c, epilogue(sum, row, c));
}
