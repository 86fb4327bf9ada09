// Winograd F(TxT, 3x3), last of three: Y = A^T m A for every tile and four channels, then the epilogue.
// m is [(T+2)^2][tile][channel / 4].
struct Params {
    height: u32, // of the output
    width: u32,
    n: u32,
    n4: u32,
    tiles_x: u32,
    tiles_y: u32,
    first_tile: u32, // of this chunk
    tiles: u32, // in this chunk
}
@auto var<uniform> p: Params;
@auto var<storage, read> m: array<vec4<f32>>;
#import epilogue
#import store

#let S = T + 2

fn put(n: u32, y: u32, column: u32, c: u32, v: vec4<f32>) {
    if (y < p.height && column < p.width) {
        let row = (n * p.height + y) * p.width + column;
        store(row, c, epilogue(v, row, c));
    }
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let c = id.x;
    let index = id.y + id.z * 524280u; // 65535 workgroups of 8
    if (c >= p.n4 || index >= p.tiles) {
        return;
    }
    let tile = p.first_tile + index;
    let left = tile % p.tiles_x * ${T}u;
    let line = tile / p.tiles_x;
    let top = line % p.tiles_y * ${T}u;
    let n = line / p.tiles_y;
    let stride = p.tiles * p.n4;
    let at = index * p.n4 + c;
#for j in 0..S
#for i in 0..S
    let m${i}_${j} = m[at + ${S*i+j}u * stride];
#end
#if T == 2
    let t0_${j} = m0_${j} + m1_${j} + m2_${j};
    let t1_${j} = m1_${j} - m2_${j} - m3_${j};
#else
    let t0_${j} = m0_${j} + (m1_${j} + m2_${j}) + (m3_${j} + m4_${j});
    let t1_${j} = (m1_${j} - m2_${j}) + 2.0 * (m3_${j} - m4_${j});
    let t2_${j} = (m1_${j} + m2_${j}) + 4.0 * (m3_${j} + m4_${j});
    let t3_${j} = (m1_${j} - m2_${j}) + 8.0 * (m3_${j} - m4_${j}) + m5_${j};
#end
#end
#for i in 0..T
#if T == 2
    put(n, top + ${i}u, left, c, t${i}_0 + t${i}_1 + t${i}_2);
    put(n, top + ${i}u, left + 1u, c, t${i}_1 - t${i}_2 - t${i}_3);
#else
    put(n, top + ${i}u, left, c, t${i}_0 + (t${i}_1 + t${i}_2) + (t${i}_3 + t${i}_4));
    put(n, top + ${i}u, left + 1u, c, (t${i}_1 - t${i}_2) + 2.0 * (t${i}_3 - t${i}_4));
    put(n, top + ${i}u, left + 2u, c, (t${i}_1 + t${i}_2) + 4.0 * (t${i}_3 + t${i}_4));
    put(n, top + ${i}u, left + 3u, c, (t${i}_1 - t${i}_2) + 8.0 * (t${i}_3 - t${i}_4) + t${i}_5);
#end
#end
}
