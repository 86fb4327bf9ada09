// The network's input: x times the row's c_in.
struct Params {
    elements: u32,
    stride: u32,
}
#import row
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<f32>;
@auto var<storage, read> row: Row;
@auto var<storage, read_write> out: array<f32>;

#import elementwise
fn element(i: u32) {
    out[i] = row.c_in * x[i];
}
