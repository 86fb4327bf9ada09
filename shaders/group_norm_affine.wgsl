// GroupNorm, second of two: folds the runs' statistics, the weight and bias, and adaptive group normalization's
// scale and shift into one affine map per (sample, channel). One workgroup, or where it is SERIAL one invocation: one
// group of one sample.
// out is [sample][scale, shift][channel].
struct Params {
    pixels: u32, // of one sample
    channels: u32,
    group_channels: u32,
    run: u32,
    runs: u32,
    epsilon: f32,
    tasks: u32, // groups over the samples
}
@auto var<uniform> p: Params;
@auto var<storage, read> stats: array<f32>;
@auto var<storage, read> weight: array<f32>;
@auto var<storage, read> bias: array<f32>;
#if SCALE_SHIFT
@auto var<storage, read> embedding: array<f32>; // [sample][scale, shift][channel]
#end
@auto var<storage, read_write> out: array<f32>;

#if !SERIAL
var<workgroup> means: array<f32, ${WORKERS}>;
var<workgroup> m2s: array<f32, ${WORKERS}>;
var<workgroup> counts: array<f32, ${WORKERS}>;
#end

@compute @workgroup_size(${WORKERS})
#if SERIAL
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= p.tasks) {
        return;
    }
    let worker = 0u;
    let task = id.x;
#else
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) worker: u32) {
    let task = group.x;
#end
#let STEP = SERIAL + !SERIAL * WORKERS
    let groups = p.channels / p.group_channels;
    let first = task % groups * p.group_channels;
    let n = task / groups;
    // Chan et al.'s update merges (count, mean, m2) pairs without cancellation.
    var count = 0.0;
    var mean = 0.0;
    var m2 = 0.0;
    let parts = p.runs * p.group_channels;
    for (var i = worker; i < parts; i += ${STEP}u) {
        let run = i / p.group_channels;
        let at = 2u * (n * p.runs + run) * p.channels + first + i % p.group_channels;
        let pixels = f32(min(p.run, p.pixels - run * p.run));
        let delta = stats[at] - mean;
        let total = count + pixels;
        mean += delta * (pixels / total);
        m2 += stats[at + p.channels] + delta * delta * (count * pixels / total);
        count = total;
    }
#if !SERIAL
    means[worker] = mean;
    m2s[worker] = m2;
    counts[worker] = count;
    workgroupBarrier();
    for (var half = ${WORKERS / 2}u; half > 0u; half /= 2u) {
        if (worker < half) {
            let other = counts[worker + half];
            let total = counts[worker] + other;
            if (other > 0.0) {
                let delta = means[worker + half] - means[worker];
                means[worker] += delta * (other / total);
                m2s[worker] += m2s[worker + half] + delta * delta * (counts[worker] * other / total);
                counts[worker] = total;
            }
        }
        workgroupBarrier();
    }
    mean = means[0];
    m2 = m2s[0];
    count = counts[0];
#end
    let deviation = 1.0 / sqrt(m2 / count + p.epsilon);
    for (var i = worker; i < p.group_channels; i += ${STEP}u) {
        let c = first + i;
        var scale = deviation * weight[c];
        var shift = bias[c] - mean * scale;
#if SCALE_SHIFT
        let factor = 1.0 + embedding[2u * n * p.channels + c];
        scale *= factor;
        shift = shift * factor + embedding[(2u * n + 1u) * p.channels + c];
#end
        out[2u * n * p.channels + c] = scale;
        out[(2u * n + 1u) * p.channels + c] = shift;
    }
}
