// Matrix product as gemm_workgroup.wgsl, by tensor cores: products of cooperative matrices of COOPERATIVE x COOPERATIVE,
// float16 factors with float32 sums. A workgroup has WX x WY subgroups of 32; each keeps the sums of TM x TN matrices. Both
// factors pass through workgroup memory, where rows become float16 and what is beyond an edge is clamped or 0; those of
// the next step are read before the products of this one, which hide the wait. So do the sums, a few matrices at a time,
// for cooperative matrices have no elements that an epilogue could name.
#import gemm_rows
#import weights
#import epilogue
#import store

#let SIZE = COOPERATIVE
#let WORKERS = 32 * WX * WY
#let ROWS = TM * SIZE * WY
#let COLUMNS4 = TN * SIZE * WX / 4
#let A_READS = ROWS * DEPTH4 / WORKERS
#let W_READS = 4 * DEPTH4 * COLUMNS4 / WORKERS
// Rows in workgroup memory are 16 bytes apart from each other, so that they begin in different banks.
#let A_STRIDE4 = DEPTH4 + 2
#let W_STRIDE4 = COLUMNS4 + 2
// A subgroup's sums pass so many matrices of a row at a time.
#let BESIDE = 2
#let SUM4 = BESIDE * SIZE / 4
#let SUM_STRIDE4 = SUM4 + 1
#let SUMS4 = SIZE * SUM_STRIDE4
// Elements of workgroup memory, which a cooperative matrix is loaded through a pointer to: vec4s, or scalars for Metal, whose
// matrices have 8 x 8.
#if SIZE == 8
#let EACH = 4
alias Factors = Factor;
alias Sums = f32;
#else
#let EACH = 1
alias Factors = Factor4;
alias Sums = vec4<f32>;
#end
alias Left = coop_mat${SIZE}x${SIZE}<f16, A>;
alias Right = coop_mat${SIZE}x${SIZE}<f16, B>;
alias Sum = coop_mat${SIZE}x${SIZE}<f32, C>;
var<workgroup> a_tile: array<Factors, ${EACH * ROWS * A_STRIDE4}>; // [row][depth]
var<workgroup> w_tile: array<Factors, ${EACH * 4 * DEPTH4 * W_STRIDE4}>; // [depth][column]
var<workgroup> sums: array<Sums, ${EACH * WX * WY * SUMS4}>; // [subgroup][row][column]

// What an invocation has read for the next step: a vec4 of some rows, and of some depths.
#for r in 0..A_READS
var<private> a${r}: vec4<f32>;
#end
#for r in 0..W_READS
var<private> w${r}: Factor4;
#end
// The step that is read next: where it begins in the inner dimension, and where the segment does and ends.
var<private> at: u32;
var<private> segment: u32;
var<private> offset: u32;
var<private> to: u32;
#for r in 0..A_READS
#if IM2COL
var<private> row${r}: Row;
var<private> start${r}: Start;
#else
var<private> row${r}: u32;
var<private> start${r}: u32;
#end
#end

fn begin_segment(end: u32) {
#if IM2COL
    to = min(offset + p.c4, end);
#else
    to = min(offset + depth_of(segment), end);
#end
#for r in 0..A_READS
    start${r} = start_of(row${r}, segment);
#end
}

/// Reads this invocation's part of a step, and goes on to the next one.
fn read_step(worker: u32, w_column: u32, end: u32) {
    let deep = at + worker % ${DEPTH4}u;
    let k = min(deep, to - 1u) - offset;
#if SOURCES == 2
    if (segment == 1u) {
#for r in 0..A_READS
        a${r} = select(vec4<f32>(0.0), read1(start${r}, k), deep < to);
#end
    } else {
#else
    {
#end
#for r in 0..A_READS
        a${r} = select(vec4<f32>(0.0), read0(start${r}, k), deep < to);
#end
    }
    let w_row = 4u * at + worker / ${COLUMNS4}u;
#for r in 0..W_READS
    w${r} = weight(w_column + min(w_row + ${WORKERS / COLUMNS4 * r}u, 4u * p.k4 - 1u) * p.n4);
#end
    at += ${DEPTH4}u;
    if (at >= to && to < end) {
        at = to;
        segment++;
        offset = to;
        begin_segment(end);
    }
}

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
    let item = number / p.lines;
    let n4 = p.n4;
#if SPLIT
    let product = item / p.parts;
    let begin = item % p.parts * p.share;
    let end = min(begin + p.share, p.k4);
#else
    let product = item;
    let begin = 0u;
    let end = p.k4;
#end
    let row = number % p.lines * ${ROWS}u;
    let column4 = group.x * ${COLUMNS4}u;
    let lane = worker % 32u;
    let a_line = subgroup / ${WX}u * ${EACH * TM * SIZE * A_STRIDE4}u;
    let w_line = subgroup % ${WX}u * ${EACH * TN * SIZE / 4}u;
    let sums_line = subgroup * ${EACH * SUMS4}u;
    // Loaded zeros: MSL does not say what a cooperative matrix without a value holds.
    for (var i = lane; i < ${EACH * SUMS4}u; i += 32u) {
        sums[sums_line + i] = Sums(0.0);
    }
    workgroupBarrier();
#for i in 0..TM
#for j in 0..TN
    var acc${i}_${j} = coopLoadT<Sum>(&sums[sums_line], ${EACH * SUM_STRIDE4}u);
#end
#end
#for r in 0..A_READS
    row${r} = row_of(product, min(row + worker / ${DEPTH4}u + ${WORKERS / DEPTH4 * r}u, p.m - 1u));
#end
    let w_column = product * 4u * p.k4 * n4 + min(column4 + worker % ${COLUMNS4}u, n4 - 1u);
    at = begin;
#if IM2COL
    segment = begin / p.c4;
    offset = segment * p.c4;
#elif SOURCES == 2
    segment = select(0u, 1u, begin >= p.k4_first);
    offset = segment * p.k4_first;
#else
    segment = 0u;
    offset = 0u;
#end
    begin_segment(end);
    read_step(worker, w_column, end);
    loop {
#for r in 0..A_READS
        {
            let place = (worker / ${DEPTH4}u + ${WORKERS / DEPTH4 * r}u) * ${EACH * A_STRIDE4}u + worker % ${DEPTH4}u * ${EACH}u;
            let value = Factor4(a${r});
#if EACH == 1
            a_tile[place] = value;
#else
#for c in 0..4
            a_tile[place + ${c}u] = value[${c}];
#end
#end
        }
#end
#for r in 0..W_READS
        {
            let place = (worker / ${COLUMNS4}u + ${WORKERS / COLUMNS4 * r}u) * ${EACH * W_STRIDE4}u + worker % ${COLUMNS4}u * ${EACH}u;
            let value = w${r};
#if EACH == 1
            w_tile[place] = value;
#else
#for c in 0..4
            w_tile[place + ${c}u] = value[${c}];
#end
#end
        }
#end
        workgroupBarrier();
        let more = at < end;
        if (more) {
            read_step(worker, w_column, end);
        }
#for d in 0..4 * DEPTH4 / SIZE
#for i in 0..TM
        let a${d}_${i} = coopLoadT<Left>(&a_tile[a_line + ${EACH * (i * SIZE * A_STRIDE4 + d * SIZE / 4)}u], ${EACH * A_STRIDE4}u);
#end
#for j in 0..TN
        let w${d}_${j} = coopLoadT<Right>(&w_tile[w_line + ${EACH * (d * SIZE * W_STRIDE4 + j * SIZE / 4)}u], ${EACH * W_STRIDE4}u);
#for i in 0..TM
        acc${i}_${j} = coopMultiplyAdd(a${d}_${i}, w${d}_${j}, acc${i}_${j});
#end
#end
#end
        workgroupBarrier();
        if (!more) {
            break;
        }
    }
#for i in 0..TM
#for b in 0..TN / BESIDE
#for j in 0..BESIDE
    coopStoreT(acc${i}_${b * BESIDE + j}, &sums[sums_line + ${EACH * j * SIZE / 4}u], ${EACH * SUM_STRIDE4}u);
#end
    workgroupBarrier();
#for r in 0..SIZE * SUM4 / 32
    {
        let line = (lane + ${32 * r}u) / ${SUM4}u;
        let place = sums_line + line * ${EACH * SUM_STRIDE4}u + lane % ${SUM4}u * ${EACH}u;
        let y = row + subgroup / ${WX}u * ${TM * SIZE}u + ${i * SIZE}u + line;
        let x = column4 + subgroup % ${WX}u * ${TN * SIZE / 4}u + ${b * SUM4}u + lane % ${SUM4}u;
        if (y < p.m && x < n4) {
#if EACH == 1
            let sum = sums[place];
#else
            let sum = vec4<f32>(sums[place], sums[place + 1u], sums[place + 2u], sums[place + 3u]);
#end
            store(item * p.m + y, x, epilogue(sum, y, x));
        }
    }
#end
    workgroupBarrier();
#end
#end
}
