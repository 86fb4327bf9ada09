// Attention and its gradient for GPUs, in tiles that pass through workgroup memory (Dao et al. 2022, arXiv 2205.14135).
// A workgroup has a block of rows of one head and goes through 32 columns at a time: the block's scores are a matrix
// product over the head's channels, made into weights, and these times the columns' values are added up. LANES invocations
// share ROWS rows: each has every LANES-th column of their scores, and every LANES-th vec4 of their sums. With SPLIT (MODE 0)
// each workgroup goes through a part of the keys, where blocks are too few to keep a GPU busy; attention_sum.wgsl adds the parts.
//
// | MODE | rows | columns | sums |
// |---|---|---|---|
// | 0 | queries | keys | the result: softmax(q k) v, the softmax online (Milakov & Gimelshein 2018) |
// | 1 | queries | keys | the queries' gradient: dS k; also each query's softmax and forward . incoming, for 2 and 3 |
// | 2 | keys | queries | the values' gradient: P incoming |
// | 3 | keys | queries | the keys' gradient: dS q |
#import math
#import attention
#if MODE == 1
@auto var<storage, read> forward: array<vec4<f32>>;
#end
#if MODE > 0
@auto var<storage, read> incoming: array<vec4<f32>>;
#end
#if SPLIT
@auto var<storage, read_write> softmaxes: array<vec2<f32>>; // [part][sample][head][token]: highest score, sum
#elif MODE == 1
@auto var<storage, read_write> softmaxes: array<vec4<f32>>; // highest score, 1 / sum, forward . incoming
#elif MODE > 1
@auto var<storage, read> softmaxes: array<vec4<f32>>;
#end
@auto var<storage, read_write> out: array<vec4<f32>>;

#let LINES = 64 / LANES
#let BLOCK = LINES * ROWS
#let COLUMNS = 32 / LANES
#let VECTORS = (D4 + LANES - 1) / LANES
#let PRODUCTS = 1 + (MODE == 1 || MODE == 3)
// vec4s of the channels per pass of the product, and columns per pass of the sums.
#let MOST = 4 - 2 * (MODE == 1)
#let DEPTH = MOST - (D4 < MOST) * (MOST - D4)
#let PASS = 32 / (1 + (D4 > 8) + 2 * (D4 > 16) + 4 * (D4 > 32))
// Columns whose values are read together: more would take the registers of the sums.
#let UNROLLED = 4 / (1 + (VECTORS > 2) + 2 * (VECTORS > 3))
#let SUMMANDS = (PASS * D4 + 63) / 64
#let READS = ((BLOCK + 32) * DEPTH + 63) / 64
// Between lines of workgroup memory, so that invocations beside each other meet different banks.
#let T_STRIDE = BLOCK + 32 + 8 / DEPTH
#let W_STRIDE = 32 + (ROWS == 2)
#let T_ELEMENTS = T_STRIDE * DEPTH + (64 * SUMMANDS > T_STRIDE * DEPTH) * (64 * SUMMANDS - T_STRIDE * DEPTH)
var<workgroup> tile: array<vec4<f32>, ${T_ELEMENTS}>; // [depth][row, then column], then [column][vec4]
var<workgroup> weights: array<vec${ROWS}<f32>, ${LINES * W_STRIDE}>; // [y][column]
var<workgroup> folded: array<vec${ROWS}<f32>, 64>; // [y][x]

// Values of token `at`: where its head's query is in qkv, and where the head is in a row of the result.
struct Place {
    query: u32,
    result: u32,
}

fn place_of(sample: u32, head: u32, token: u32) -> Place {
    let at = sample * p.tokens + min(token, p.tokens - 1u);
    return Place(at * p.width4 + head * p.head4, at * p.channels4 + head * ${D4}u);
}

// Factors of the products, 0: scores, 1: gradients of the weights; and what the weights are multiplied by.
fn row_value(product: u32, place: Place, d: u32) -> vec4<f32> {
#if MODE < 2
#if MODE == 1
    if (product == 1u) {
        return incoming[place.result + d];
    }
#end
    return qkv[place.query + d];
#else
    return qkv[place.query + select(p.value4, p.key4, product == 0u) + d];
#end
}

fn column_value(product: u32, place: Place, d: u32) -> vec4<f32> {
#if MODE < 2
    return qkv[place.query + select(p.value4, p.key4, product == 0u) + d];
#else
    if (product == 1u) {
        return incoming[place.result + d];
    }
    return qkv[place.query + d];
#end
}

fn summand(place: Place, d: u32) -> vec4<f32> {
#if MODE == 0
    return qkv[place.query + p.value4 + d];
#elif MODE == 1
    return qkv[place.query + p.key4 + d];
#elif MODE == 2
    return incoming[place.result + d];
#else
    return qkv[place.query + d];
#end
}

@compute @workgroup_size(${LANES}, ${LINES})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let line = line_of(group);
    if (line >= p.end_line) {
        return;
    }
    let worker = local.y * ${LANES}u + local.x;
    let tokens = p.tokens;
#if SPLIT
    let item = line / p.lines / p.parts;
    let part = line / p.lines % p.parts;
    let begin = part * p.share;
    let end = min(begin + p.share, tokens);
#else
    let item = line / p.lines;
    let begin = 0u;
    let end = tokens;
#end
    let head = item % p.heads;
    let sample = item / p.heads;
    let block = line % p.lines * ${BLOCK}u;
    let row = block + local.y * ${ROWS}u;
    let softmax = item * tokens;
#for i in 0..ROWS
#for c in 0..VECTORS
    var sum${i}_${c} = vec4<f32>(0.0);
#end
#end
#if MODE < 2
    var highest = vec${ROWS}<f32>(-3.4e38);
    var total = vec${ROWS}<f32>(0.0);
#end
#if MODE == 1
    var part = vec${ROWS}<f32>(0.0);
#for i in 0..ROWS
    let place${i} = place_of(sample, head, row + ${i}u);
    for (var d = local.x; d < ${D4}u; d += ${LANES}u) {
        part[${i}] += dot(incoming[place${i}.result + d], forward[place${i}.result + d]);
    }
#end
    folded[worker] = part;
    workgroupBarrier();
    var correction = folded[local.y * ${LANES}u];
#for x in 1..LANES
    correction += folded[local.y * ${LANES}u + ${x}u];
#end
#end
    for (var first = begin; first < end; first += 32u) {
#for product in 0..PRODUCTS
#for i in 0..ROWS
#for j in 0..COLUMNS
        var s${product}_${i}_${j} = 0.0;
#end
#end
        for (var d = 0u; d < ${D4}u; d += ${DEPTH}u) {
            workgroupBarrier();
#for r in 0..READS
            {
                let at = worker + ${64 * r}u;
                let deep = at % ${DEPTH}u;
                let which = at / ${DEPTH}u;
#if (BLOCK + 32) * DEPTH % 64 > 0
                if (which < ${BLOCK + 32}u) {
#else
                {
#end
#if D4 % DEPTH
                    let channel = min(d + deep, ${D4 - 1}u);
#else
                    let channel = d + deep;
#end
                    var value: vec4<f32>;
                    if (which < ${BLOCK}u) {
                        value = row_value(${product}u, place_of(sample, head, block + which), channel);
                    } else {
                        value = column_value(${product}u, place_of(sample, head, first + which - ${BLOCK}u), channel);
                    }
#if D4 % DEPTH
                    value = select(vec4<f32>(0.0), value, d + deep < ${D4}u);
#end
                    tile[deep * ${T_STRIDE}u + which] = value;
                }
            }
#end
            workgroupBarrier();
#for d in 0..DEPTH
            {
#for i in 0..ROWS
                let a${i} = tile[${d * T_STRIDE + i}u + local.y * ${ROWS}u];
#end
#for j in 0..COLUMNS
                let b${j} = tile[${d * T_STRIDE + BLOCK + LANES * j}u + local.x];
#for i in 0..ROWS
                s${product}_${i}_${j} += a${i}.x * b${j}.x;
                s${product}_${i}_${j} += a${i}.y * b${j}.y;
                s${product}_${i}_${j} += a${i}.z * b${j}.z;
                s${product}_${i}_${j} += a${i}.w * b${j}.w;
#end
#end
            }
#end
        }
#end
#for product in 0..PRODUCTS
#for j in 0..COLUMNS
#if ROWS == 4
        let v${product}_${j} = vec4<f32>(s${product}_0_${j}, s${product}_1_${j}, s${product}_2_${j}, s${product}_3_${j});
#else
        let v${product}_${j} = vec2<f32>(s${product}_0_${j}, s${product}_1_${j});
#end
#end
#end
#if MODE < 2
#for j in 0..COLUMNS
        let score${j} = select(vec${ROWS}<f32>(-3.4e38), p.scale * v0_${j}, first + ${LANES * j}u + local.x < tokens);
#end
        var most = score0;
#for j in 1..COLUMNS
        most = max(most, score${j});
#end
        folded[worker] = most;
        workgroupBarrier();
        var peak = highest;
#for x in 0..LANES
        peak = max(peak, folded[local.y * ${LANES}u + ${x}u]);
#end
        let fade = exp_vec${ROWS}(highest - peak);
        highest = peak;
        total *= fade;
#for i in 0..ROWS
#for c in 0..VECTORS
        sum${i}_${c} *= fade[${i}];
#end
#end
#for j in 0..COLUMNS
        let e${j} = exp_vec${ROWS}(score${j} - peak);
        total += e${j};
#if MODE == 0
        weights[local.y * ${W_STRIDE}u + ${LANES * j}u + local.x] = e${j};
#else
        weights[local.y * ${W_STRIDE}u + ${LANES * j}u + local.x] = e${j} * (v1_${j} - correction);
#end
#end
#else
#for j in 0..COLUMNS
        {
            let column = first + ${LANES * j}u + local.x;
            let known = softmaxes[softmax + min(column, tokens - 1u)];
            var weight = exp_vec${ROWS}(p.scale * v0_${j} - known.x) * known.y;
#if MODE == 3
            weight *= v1_${j} - known.z;
#end
            weights[local.y * ${W_STRIDE}u + ${LANES * j}u + local.x] = select(vec${ROWS}<f32>(0.0), weight, column < tokens);
        }
#end
#end
        for (var pass_first = 0u; pass_first < 32u; pass_first += ${PASS}u) {
            workgroupBarrier();
#if PRODUCTS == 2
            for (var at = worker; at < ${PASS * D4}u; at += 64u) {
                tile[at] = summand(place_of(sample, head, first + pass_first + at / ${D4}u), at % ${D4}u);
            }
#else
            // All reads before the first is stored, where registers allow: compilers do not do so with a loop's. What is read
            // beyond the pass, of small heads, is not used.
#for r in 0..SUMMANDS
            let at${r} = worker + ${64 * r}u;
            let summand${r} = summand(place_of(sample, head, first + pass_first + at${r} / ${D4}u), at${r} % ${D4}u);
#end
#for r in 0..SUMMANDS
            tile[at${r}] = summand${r};
#end
#end
            workgroupBarrier();
            for (var column = 0u; column < ${PASS}u; column += ${UNROLLED}u) {
#for j in 0..UNROLLED
                let w${j} = weights[local.y * ${W_STRIDE}u + pass_first + column + ${j}u];
#for c in 0..VECTORS
#if D4 % LANES
                let u${j}_${c} = tile[(column + ${j}u) * ${D4}u + min(local.x + ${LANES * c}u, ${D4 - 1}u)];
#else
                let u${j}_${c} = tile[(column + ${j}u) * ${D4}u + local.x + ${LANES * c}u];
#end
#for i in 0..ROWS
                sum${i}_${c} += w${j}[${i}] * u${j}_${c};
#end
#end
#end
            }
        }
    }
#if MODE < 2
    workgroupBarrier();
    folded[worker] = total;
    workgroupBarrier();
    var all = folded[local.y * ${LANES}u];
#for x in 1..LANES
    all += folded[local.y * ${LANES}u + ${x}u];
#end
#end
#for i in 0..ROWS
    if (row + ${i}u < tokens) {
        let to = place_of(sample, head, row + ${i}u);
#if SPLIT
        if (local.x == 0u) {
            let distance = p.distance / ${D4}u * part;
            softmaxes[distance + softmax + row + ${i}u] = vec2<f32>(highest[${i}], all[${i}]);
        }
#elif MODE == 1
        if (local.x == 0u) {
            softmaxes[softmax + row + ${i}u] = vec4<f32>(highest[${i}], 1.0 / all[${i}], correction[${i}], 0.0);
        }
#end
#for c in 0..VECTORS
        if (local.x + ${LANES * c}u < ${D4}u) {
            let d = local.x + ${LANES * c}u;
#if SPLIT
            out[part * p.distance + to.result + d] = sum${i}_${c};
#elif MODE == 0
            out[to.result + d] = sum${i}_${c} / all[${i}];
#elif MODE == 1
            out[to.query + d] = sum${i}_${c} * (p.scale / all[${i}]);
#elif MODE == 2
            out[to.query + p.value4 + d] = sum${i}_${c};
#else
            out[to.query + p.key4 + d] = sum${i}_${c} * p.scale;
#end
        }
#end
    }
#end
}
