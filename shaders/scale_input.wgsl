// The network's input: x times the row's c_in.
struct Params {
    elements: u32,
    stride: u32, // elements a row of the dispatch's grid
}
#import row
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<f32>;
@auto var<storage, read> row: Row;
@auto var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.y * p.stride + id.x;
    if (id.x >= p.stride || i >= p.elements) {
        return;
    }
    out[i] = row.c_in * x[i];
}
