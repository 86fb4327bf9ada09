// Matrix product as gemm.wgsl, for GPUs with tensor cores: products of cooperative matrices of COOPERATIVE x COOPERATIVE,
// float16 factors with float32 sums. A workgroup has WX x WY subgroups of 32; each keeps the sums of TM x TN matrices.
// Both factors pass through workgroup memory, where rows become float16 and what is beyond an edge is clamped or 0; so do
// the sums, a row of matrices at a time, for cooperative matrices have no elements that an epilogue could name.
#let SPLIT = 0
#import gemm_rows
#import weights
#import epilogue
#import store

#let SIZE = COOPERATIVE
#let WORKERS = 32 * WX * WY
#let ROWS = TM * SIZE * WY
#let COLUMNS = TN * SIZE * WX
#let COLUMNS4 = COLUMNS / 4
#let DEPTH = 16
#let DEPTH4 = DEPTH / 4
alias Left = coop_mat${SIZE}x${SIZE}<f16, A>;
alias Right = coop_mat${SIZE}x${SIZE}<f16, B>;
alias Sum = coop_mat${SIZE}x${SIZE}<f32, C>;
// Scalars: a cooperative matrix is loaded through a pointer to one.
var<workgroup> a_tile: array<f16, ${ROWS * DEPTH}>; // [row][depth]
var<workgroup> w_tile: array<f16, ${DEPTH * COLUMNS}>; // [depth][column]
var<workgroup> sums: array<f32, ${WY * SIZE * COLUMNS}>; // [row][column]

@compute @workgroup_size(${WORKERS})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) worker: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    // Not by line_of: of a call naga does not see that all invocations have the same.
    let number = p.first_line + group.y + group.z * 65535u;
    if (number >= p.end_line) {
        return;
    }
    let product = number / p.lines;
    let row = number % p.lines * ${ROWS}u;
    let column4 = group.x * ${COLUMNS4}u;
    let line = subgroup / ${WX}u; // of subgroups
    let left = subgroup % ${WX}u * ${TN * SIZE}u;
    // Loaded zeros: MSL does not say what a cooperative matrix without a value holds.
#for r in 0..(SIZE * SIZE + WORKERS - 1) / WORKERS
    sums[worker + ${WORKERS * r}u] = 0.0;
#end
    workgroupBarrier();
#for i in 0..TM
#for j in 0..TN
    var acc${i}_${j} = coopLoadT<Sum>(&sums[0], ${SIZE}u);
#end
#end
#for r in 0..ROWS * DEPTH4 / WORKERS
    let row${r} = row_of(product, min(row + (worker + ${WORKERS * r}u) / ${DEPTH4}u, p.m - 1u));
#end
    var done = product * 4u * p.k4; // rows of w
#for s in 0..SOURCES
    {
        let segment = ${s}u;
        let depth = depth_of(segment);
#for r in 0..ROWS * DEPTH4 / WORKERS
        let start${r} = start_of(row${r}, segment);
#end
        for (var k = 0u; k < depth; k += ${DEPTH4}u) {
#for r in 0..ROWS * DEPTH4 / WORKERS
            {
                let at = worker + ${WORKERS * r}u;
                let deep = k + at % ${DEPTH4}u;
                let value = read${s}(start${r}, min(deep, depth - 1u));
                let factors = Factor4(select(vec4<f32>(0.0), value, deep < depth));
#for c in 0..4
                a_tile[4u * at + ${c}u] = factors[${c}];
#end
            }
#end
#for r in 0..DEPTH * COLUMNS4 / WORKERS
            {
                let at = worker + ${WORKERS * r}u;
                let deep = min(4u * k + at / ${COLUMNS4}u, 4u * depth - 1u);
                let factors = weight((done + deep) * p.n4 + min(column4 + at % ${COLUMNS4}u, p.n4 - 1u));
#for c in 0..4
                w_tile[4u * at + ${c}u] = factors[${c}];
#end
            }
#end
            workgroupBarrier();
#for d in 0..DEPTH / SIZE
#for i in 0..TM
            let a${d}_${i} = coopLoadT<Left>(&a_tile[line * ${TM * SIZE * DEPTH}u + ${i * SIZE * DEPTH + d * SIZE}u], ${DEPTH}u);
#end
#for j in 0..TN
            let w${d}_${j} = coopLoadT<Right>(&w_tile[left + ${d * SIZE * COLUMNS + j * SIZE}u], ${COLUMNS}u);
#end
#for i in 0..TM
#for j in 0..TN
            acc${i}_${j} = coopMultiplyAdd(a${d}_${i}, w${d}_${j}, acc${i}_${j});
#end
#end
#end
            workgroupBarrier();
        }
        done += 4u * depth;
    }
#end
#for i in 0..TM
#for j in 0..TN
    coopStoreT(acc${i}_${j}, &sums[line * ${SIZE * COLUMNS}u + left + ${j * SIZE}u], ${COLUMNS}u);
#end
    workgroupBarrier();
#for r in 0..WY * SIZE * COLUMNS4 / WORKERS
    {
        let at = worker + ${WORKERS * r}u;
        let y = row + at / ${SIZE * COLUMNS4}u * ${TM * SIZE}u + ${i * SIZE}u + at / ${COLUMNS4}u % ${SIZE}u;
        let x = column4 + at % ${COLUMNS4}u;
        if (y < p.m && x < p.n4) {
            let sum = vec4<f32>(sums[4u * at], sums[4u * at + 1u], sums[4u * at + 2u], sums[4u * at + 3u]);
            store(product * p.m + y, x, epilogue(sum, y, x));
        }
    }
#end
    workgroupBarrier();
#end
}
