// Winograd F(TxT, 3x3), first of three: V = B^T d B for every tile and WIDTH channels (Lavin & Gray 2016,
// arXiv 1509.09308). The prologue (GroupNorm, SiLU, 2x nearest upsampling, two sources) is evaluated here, once per value.
// WIDTH is 4 for drivers that compute on the CPU, and 2 where 36 vec4s would take a GPU's registers.
// out is [(T+2)^2][tile][channel / WIDTH].
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
@auto var<storage, read_write> out: array<Channels>;

#let S = T + 2

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let c = id.x;
    let all = ${4 / WIDTH}u * p.c4;
    let index = id.y + id.z * 524280u; // 65535 workgroups of 8
    if (c >= all || index >= p.tiles) {
        return;
    }
    let tile = p.first_tile + index;
    let left = tile % p.tiles_x * ${T}u;
    let line = tile / p.tiles_x;
    let top = line % p.tiles_y * ${T}u;
    let n = line / p.tiles_y;
#if SOURCES == 2
    let first = ${4 / WIDTH}u * p.c4_first;
    let in_first = c < first;
    let channels = select(all - first, first, in_first); // of the source
    let base = select(c - first, c, in_first) + n * p.source_height * p.source_width * channels;
#else
    let channels = all;
    let base = c + n * p.source_height * p.source_width * channels;
#end
    // One above and left of the tile; wraps below zero, which the unsigned comparison excludes. What is outside is read at
    // the edge and counts for nothing: guarded reads would be branches, whose waits do not overlap.
#for i in 0..S
    let y${i} = top + ${i}u - 1u;
    let row${i} = base + min(y${i}, p.height - 1u) / ${1 + (RESAMPLE == 1)}u * p.source_width * channels;
    let x${i} = left + ${i}u - 1u;
    let column${i} = min(x${i}, p.width - 1u) / ${1 + (RESAMPLE == 1)}u * channels;
#end
    let a = affine_of(n, c);
#for i in 0..S
#if SOURCES == 2
#for j in 0..S
    var v${i}_${j}: Channels;
#end
    if (in_first) {
#for j in 0..S
        v${i}_${j} = x[row${i} + column${j}];
#end
    } else {
#for j in 0..S
        v${i}_${j} = skip[row${i} + column${j}];
#end
    }
#else
#for j in 0..S
    let v${i}_${j} = x[row${i} + column${j}];
#end
#end
#for j in 0..S
    let d${i}_${j} = select(Channels(0.0), activate(v${i}_${j}, a), (y${i} < p.height) & (x${j} < p.width));
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
    let stride = p.tiles * all;
    let at = index * all + c;
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
