// Winograd F(TxT, 3x3), first of three: V = B^T d B for every tile and four channels (Lavin & Gray 2016,
// arXiv 1509.09308). The prologue (GroupNorm, SiLU, resampling, two sources) is evaluated here, once a value.
// out is [(T+2)^2][tile][channel / 4].
struct Params {
    height: u32, // of the convolution's grid
    width: u32,
    source_height: u32,
    source_width: u32,
    c4: u32,
    c4_first: u32,
    tiles_x: u32,
    tiles_y: u32,
    first_tile: u32, // of this chunk
    tiles: u32, // in this chunk
}
@auto var<uniform> p: Params;
#import prologue
@auto var<storage, read_write> out: array<vec4<f32>>;

#let S = T + 2

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let c = id.x;
    let index = id.y + id.z * 524280u; // 65535 workgroups of 8
    if (c >= p.c4 || index >= p.tiles) {
        return;
    }
    let tile = p.first_tile + index;
    let left = tile % p.tiles_x * ${T}u;
    let line = tile / p.tiles_x;
    let top = line % p.tiles_y * ${T}u;
    let n = line / p.tiles_y;
    let a = affine_of(n, c);
    // One above and left of the tile; wraps below zero, which the unsigned comparison excludes.
#for j in 0..S
    let x${j} = left + ${j}u - 1u;
#end
#for i in 0..S
    let y${i} = top + ${i}u - 1u;
#for j in 0..S
    var d${i}_${j} = vec4<f32>(0.0);
    if (y${i} < p.height && x${j} < p.width) {
        d${i}_${j} = source(n, y${i}, x${j}, c, a);
    }
#end
#end
    // Columns first: t = B^T d.
#for j in 0..S
#if T == 2
    let t0_${j} = d0_${j} - d2_${j};
    let t1_${j} = d1_${j} + d2_${j};
    let t2_${j} = d2_${j} - d1_${j};
    let t3_${j} = d1_${j} - d3_${j};
#else
    let t0_${j} = 4.0 * d0_${j} - 5.0 * d2_${j} + d4_${j};
    let t1_${j} = (d4_${j} - 4.0 * d2_${j}) + (d3_${j} - 4.0 * d1_${j});
    let t2_${j} = (d4_${j} - 4.0 * d2_${j}) - (d3_${j} - 4.0 * d1_${j});
    let t3_${j} = (d4_${j} - d2_${j}) + 2.0 * (d3_${j} - d1_${j});
    let t4_${j} = (d4_${j} - d2_${j}) - 2.0 * (d3_${j} - d1_${j});
    let t5_${j} = 4.0 * d1_${j} - 5.0 * d3_${j} + d5_${j};
#end
#end
    let stride = p.tiles * p.c4;
    let at = index * p.c4 + c;
#for i in 0..S
#if T == 2
    out[at + ${4*i}u * stride] = t${i}_0 - t${i}_2;
    out[at + ${4*i+1}u * stride] = t${i}_1 + t${i}_2;
    out[at + ${4*i+2}u * stride] = t${i}_2 - t${i}_1;
    out[at + ${4*i+3}u * stride] = t${i}_1 - t${i}_3;
#else
    out[at + ${6*i}u * stride] = 4.0 * t${i}_0 - 5.0 * t${i}_2 + t${i}_4;
    out[at + ${6*i+1}u * stride] = (t${i}_4 - 4.0 * t${i}_2) + (t${i}_3 - 4.0 * t${i}_1);
    out[at + ${6*i+2}u * stride] = (t${i}_4 - 4.0 * t${i}_2) - (t${i}_3 - 4.0 * t${i}_1);
    out[at + ${6*i+3}u * stride] = (t${i}_4 - t${i}_2) + 2.0 * (t${i}_3 - t${i}_1);
    out[at + ${6*i+4}u * stride] = (t${i}_4 - t${i}_2) - 2.0 * (t${i}_3 - t${i}_1);
    out[at + ${6*i+5}u * stride] = 4.0 * t${i}_1 - 5.0 * t${i}_3 + t${i}_5;
#end
#end
}
