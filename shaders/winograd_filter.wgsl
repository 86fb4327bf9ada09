// Winograd F(TxT, 3x3), the weights: U = G g G^T for one input channel and four output channels (Lavin & Gray 2016,
// arXiv 1509.09308). Runs each step where keeping U would cost too much memory.
// Weights are [tap][input channel][output channel / 4]; out is [(T+2)^2][input channel][output channel / 4]. It computes in
// float32, whatever they are stored as.
struct Params {
    channels: u32,
    n4: u32,
}
@auto var<uniform> p: Params;
#import weights
@auto var<storage, read_write> out: array<Factor4>;

#let S = T + 2

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= p.n4 || id.y >= p.channels) {
        return;
    }
    let at = id.y * p.n4 + id.x;
    let stride = p.channels * p.n4;
#for j in 0..3
#for i in 0..3
    let g${i}_${j} = vec4<f32>(weight(at + ${3*i+j}u * stride));
#end
#end
    // A row of t = G g at a time, which takes fewer registers than all of it.
#for i in 0..S
#for j in 0..3
#if i == S - 1
    let t${i}_${j} = g2_${j};
#elif T == 2 && i == 0
    let t${i}_${j} = g0_${j};
#elif T == 2
    let t${i}_${j} = 0.5 * (g0_${j} + ${3 - 2*i}.0 * g1_${j} + g2_${j});
#elif i == 0
    let t${i}_${j} = 0.25 * g0_${j};
#elif i < 3
    let t${i}_${j} = (g0_${j} + ${3 - 2*i}.0 * g1_${j} + g2_${j}) * (-1.0 / 6.0);
#else
    let t${i}_${j} = (g0_${j} + ${2 * (7 - 2*i)}.0 * g1_${j} + 4.0 * g2_${j}) * (1.0 / 24.0);
#end
#end
#if T == 2
    out[at + ${4*i}u * stride] = Factor4(t${i}_0);
    out[at + ${4*i+1}u * stride] = Factor4(0.5 * (t${i}_0 + t${i}_1 + t${i}_2));
    out[at + ${4*i+2}u * stride] = Factor4(0.5 * (t${i}_0 - t${i}_1 + t${i}_2));
    out[at + ${4*i+3}u * stride] = Factor4(t${i}_2);
#else
    out[at + ${6*i}u * stride] = 0.25 * t${i}_0;
    out[at + ${6*i+1}u * stride] = (t${i}_0 + t${i}_1 + t${i}_2) * (-1.0 / 6.0);
    out[at + ${6*i+2}u * stride] = (t${i}_0 - t${i}_1 + t${i}_2) * (-1.0 / 6.0);
    out[at + ${6*i+3}u * stride] = (t${i}_0 + 2.0 * t${i}_1 + 4.0 * t${i}_2) * (1.0 / 24.0);
    out[at + ${6*i+4}u * stride] = (t${i}_0 - 2.0 * t${i}_1 + 4.0 * t${i}_2) * (1.0 / 24.0);
    out[at + ${6*i+5}u * stride] = t${i}_2;
#end
#end
}
