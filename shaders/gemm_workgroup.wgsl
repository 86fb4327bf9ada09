// Matrix product as gemm.wgsl, for GPUs: a workgroup's rows and columns pass through workgroup memory, DEPTH4 vec4s of the
// inner dimension at a time; with AHEAD they are read while those before them are multiplied, which takes registers. Each
// invocation keeps a TM x 4*TN tile in registers; its rows are WY apart and its columns WX, so that neighbours read
// neighbours. With SPLIT each workgroup does a part of the inner dimension, for products of too few tiles to keep a GPU
// busy; gemm_sum.wgsl adds the parts.
#import gemm_rows
#import weights
#import epilogue
#import store

#let WORKERS = WX * WY
#let ROWS = TM * WY
#let COLUMNS = TN * WX
// Between the depths of a row, so that invocations that store them meet different banks.
#let A_STRIDE = ROWS + 8 / DEPTH4
#let A_TILE = ROWS * DEPTH4
#let W_TILE = 4 * DEPTH4 * COLUMNS
#let A_READS = (A_TILE + WORKERS - 1) / WORKERS
#let W_READS = (W_TILE + WORKERS - 1) / WORKERS
// Two of each: one is read while the other is written.
var<workgroup> a_tile: array<Factor4, ${2 * A_STRIDE * DEPTH4}>; // [depth][row]
var<workgroup> w_tile: array<Factor4, ${2 * W_TILE}>; // [4 depth][column]

@compute @workgroup_size(${WX}, ${WY})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let line = line_of(group);
    if (line >= p.end_line) {
        return;
    }
    let item = line / p.lines;
    // Copies: compilers read uniforms anew in each iteration of a loop.
    let n4 = p.n4;
    let k4 = p.k4;
#if SPLIT
    let product = item / p.parts;
    let begin = item % p.parts * p.share;
    let end = min(begin + p.share, k4);
#else
    let product = item;
    let begin = 0u;
    let end = k4;
#end
    let worker = local.y * ${WX}u + local.x;
    let column = group.x * ${COLUMNS}u;
    let row = line % p.lines * ${ROWS}u;
#for r in 0..A_READS
    let a_at${r} = worker + ${WORKERS * r}u;
    let row${r} = row_of(product, min(row + a_at${r} / ${DEPTH4}u, p.m - 1u));
    let deep${r} = a_at${r} % ${DEPTH4}u;
#end
#for r in 0..W_READS
    let w_at${r} = worker + ${WORKERS * r}u;
#if W_TILE % WORKERS
    let w_from${r} = min(w_at${r}, ${W_TILE - 1}u);
#else
    let w_from${r} = w_at${r};
#end
    let w_row${r} = w_from${r} / ${COLUMNS}u;
    let w_column${r} = product * 4u * k4 * n4 + min(column + w_from${r} % ${COLUMNS}u, n4 - 1u);
#end
#for i in 0..TM
#for j in 0..TN
    var acc${i}_${j} = vec4<f32>(0.0);
#end
#end
#for r in 0..A_READS
    var a_next${r}: vec4<f32>;
#end
#for r in 0..W_READS
    var w_next${r}: Factor4;
#end
    var a_half = 0u;
    var w_half = 0u;
    var offset = 0u; // of the segment in the inner dimension
#for s in 0..SOURCES
#if IM2COL
    let depth = p.c4;
    offset = begin / depth * depth;
    while (offset < end) {
        let segment = offset / depth;
#else
    {
        let segment = ${s}u;
        let depth = depth_of(segment);
#end
        let to = clamp(end, offset, offset + depth) - offset;
#for r in 0..A_READS
        let start${r} = start_of(row${r}, segment);
#end
        let first = clamp(begin, offset, offset + depth) - offset;
        for (var k = first; ; k += ${DEPTH4}u) {
            let more = k < to;
#for step in 0..2
#if step == !AHEAD
#if AHEAD
            if (more) {
#else
            if (!more) {
                break;
            }
            {
#end
#for r in 0..A_READS
#if RAGGED
                a_next${r} = select(vec4<f32>(0.0), read${s}(start${r}, min(k + deep${r}, to - 1u)), k + deep${r} < to);
#else
                a_next${r} = read${s}(start${r}, k + deep${r});
#end
#end
#for r in 0..W_READS
#if RAGGED
                w_next${r} = weight(w_column${r} + min(4u * (offset + k) + w_row${r}, 4u * k4 - 1u) * n4);
#else
                w_next${r} = weight(w_column${r} + (4u * (offset + k) + w_row${r}) * n4);
#end
#end
            }
#else
            if (k > first) {
#if F16 == 2
#for r in 0..4 * DEPTH4
#for j in 0..TN
                let w${r}_${j} = w_tile[w_half + ${r * COLUMNS + j * WX}u + local.x];
#end
#end
                // A row at a time: with the sums of all, registers would not do.
#for i in 0..TM
                {
#for d in 0..DEPTH4
                    let a${d} = a_tile[a_half + ${d * A_STRIDE + i * WY}u + local.y];
#end
#for j in 0..TN
                    let sum${j} = add4(vec4<f16>(), a0, w0_${j}, w1_${j}, w2_${j}, w3_${j});
                    acc${i}_${j} += vec4<f32>(add4(sum${j}, a1, w4_${j}, w5_${j}, w6_${j}, w7_${j}));
#end
                }
#end
#else
#for d in 0..DEPTH4
#for i in 0..TM
                let a${d}_${i} = a_tile[a_half + ${d * A_STRIDE + i * WY}u + local.y];
#end
#for kk in 0..4
#for j in 0..TN
                let w${d}_${kk}_${j} = w_tile[w_half + ${(4 * d + kk) * COLUMNS + j * WX}u + local.x];
#end
#for i in 0..TM
#for j in 0..TN
                acc${i}_${j} += a${d}_${i}[${kk}] * w${d}_${kk}_${j};
#end
#end
#end
#end
#end
            }
#end
#end
#if AHEAD
            if (!more) {
                break;
            }
#end
            a_half = ${A_STRIDE * DEPTH4}u - a_half;
            w_half = ${W_TILE}u - w_half;
#for r in 0..A_READS
#if A_TILE % WORKERS
            if (a_at${r} < ${A_TILE}u) {
#else
            {
#end
                a_tile[a_half + deep${r} * ${A_STRIDE}u + a_at${r} / ${DEPTH4}u] = Factor4(a_next${r});
            }
#end
#for r in 0..W_READS
#if W_TILE % WORKERS
            if (w_at${r} < ${W_TILE}u) {
#else
            {
#end
                w_tile[w_half + w_at${r}] = w_next${r};
            }
#end
            workgroupBarrier();
        }
        offset += depth;
    }
#end
#for i in 0..TM
#for j in 0..TN
    {
        let y = row + ${i * WY}u + local.y;
        let x = column + ${j * WX}u + local.x;
        if (y < p.m && x < n4) {
            store(item * p.m + y, x, epilogue(acc${i}_${j}, y, x));
        }
    }
#end
#end
}
