// Linear layers that read the same vector per sample, all of them in one dispatch. One invocation: four output channels of
// one layer, ROWS samples.
struct Params {
    count: u32, // vec4s of output channels in all layers
    samples: u32,
    k4: u32, // input channels / 4
}
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<vec4<f32>>; // [sample][input channel / 4]
// Of each vec4 of output channels: its first weight, its layer's vec4s, its place in the first sample's result.
@auto var<storage, read> columns: array<vec4<u32>>;
// Of one layer after the other, [input channel][output channel / 4].
#import weights
@auto var<storage, read> bias: array<vec4<f32>>;
@auto var<storage, read_write> out: array<vec4<f32>>; // of one layer after the other, [sample][output channel / 4]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= p.count) {
        return;
    }
    let column = columns[id.x];
    let sample = id.y * ${ROWS}u;
#for r in 0..ROWS
    let row${r} = min(sample + ${r}u, p.samples - 1u) * p.k4;
    var acc${r} = vec4<f32>(0.0);
#end
    var at = column.x;
    for (var k = 0u; k < p.k4; k++) {
#for r in 0..ROWS
        let x${r} = x[row${r} + k];
#end
#for kk in 0..4
        let w${kk} = weight(at);
        at += column.y;
#for r in 0..ROWS
        acc${r} += x${r}[${kk}] * w${kk};
#end
#end
    }
#for r in 0..ROWS
    if (sample + ${r}u < p.samples) {
        out[column.z + (sample + ${r}u) * column.y] = acc${r} + bias[id.x];
    }
#end
}
