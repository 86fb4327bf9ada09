// Matrix product as gemm.wgsl, for GPUs: a workgroup's rows and columns pass through workgroup memory, DEPTH4 vec4s of the
// inner dimension at a time. Each invocation keeps a TM x 4*TN tile in registers; its rows are WY apart and its columns
// WX, so that neighbours read neighbours.
struct Params {
    m: u32,
    n: u32,
    n4: u32,
    k4: u32, // of a; with two sources, both together
    k4_first: u32,
    height: u32,
    width: u32,
}
@auto var<uniform> p: Params;
@auto var<storage, read> a: array<vec4<f32>>;
#if SOURCES == 2
@auto var<storage, read> skip: array<vec4<f32>>;
#end
#import weights
#import epilogue
#import store

#let WORKERS = WX * WY
#let ROWS = TM * WY
#let COLUMNS = TN * WX
#let DEPTH4 = 2
#let A_READS = ROWS * DEPTH4 / WORKERS
#let W_READS = 4 * DEPTH4 * COLUMNS / WORKERS
var<workgroup> a_tile: array<Factor4, ${ROWS * DEPTH4}>; // [depth][row]
var<workgroup> w_tile: array<Factor4, ${4 * DEPTH4 * COLUMNS}>; // [4 depth][column]

@compute @workgroup_size(${WX}, ${WY})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let worker = local.y * ${WX}u + local.x;
    let column = group.x * ${COLUMNS}u;
    let row = group.y * ${ROWS}u;
#for i in 0..TM
#for j in 0..TN
    var acc${i}_${j} = vec4<f32>(0.0);
#end
#end
    var done = group.z * 4u * p.k4; // rows of w
#for s in 0..SOURCES
    {
#if SOURCES == 1
        let depth = p.k4;
#elif s == 0
        let depth = p.k4_first;
#else
        let depth = p.k4 - p.k4_first;
#end
        for (var k = 0u; k < depth; k += ${DEPTH4}u) {
#for r in 0..A_READS
            {
                let at = worker + ${WORKERS * r}u;
                let deep = k + at % ${DEPTH4}u;
                let start = (group.z * p.m + min(row + at / ${DEPTH4}u, p.m - 1u)) * depth;
#if s == 0
                let value = a[start + min(deep, depth - 1u)];
#else
                let value = skip[start + min(deep, depth - 1u)];
#end
                a_tile[at % ${DEPTH4}u * ${ROWS}u + at / ${DEPTH4}u] = Factor4(select(vec4<f32>(0.0), value, deep < depth));
            }
#end
#for r in 0..W_READS
            {
                let at = worker + ${WORKERS * r}u;
                let deep = min(4u * k + at / ${COLUMNS}u, 4u * depth - 1u);
                w_tile[at] = weight((done + deep) * p.n4 + min(column + at % ${COLUMNS}u, p.n4 - 1u));
            }
#end
            workgroupBarrier();
#for d in 0..DEPTH4
#for i in 0..TM
            let a${d}_${i} = a_tile[${d * ROWS + i * WY}u + local.y];
#end
#for kk in 0..4
#for j in 0..TN
            let w${d}_${kk}_${j} = w_tile[${(4 * d + kk) * COLUMNS + j * WX}u + local.x];
#end
#for i in 0..TM
#for j in 0..TN
#if F16 != 2
            acc${i}_${j} += a${d}_${i}[${kk}] * w${d}_${kk}_${j};
#elif kk == 3
            acc${i}_${j} += run4(a${d}_${i}, w${d}_0_${j}, w${d}_1_${j}, w${d}_2_${j}, w${d}_3_${j});
#end
#end
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
    {
        let y = row + ${i * WY}u + local.y;
        let x = column + ${j * WX}u + local.x;
        if (y < p.m && x < p.n4) {
            store(group.z * p.m + y, x, epilogue(acc${i}_${j}, y, x));
        }
    }
#end
#end
}
