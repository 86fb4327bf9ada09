// GroupNorm, second of two: folds the chunks' statistics, the weight and bias, and adaptive group normalization's
// scale and shift into one affine map per (sample, channel); for the gradient, MOMENTS, into a mean and an inverse deviation.
// One workgroup, or where it is SERIAL one invocation: one group of one sample.
// out is [sample][scale, shift][channel], or [sample][group].
#import group_norm
@auto var<uniform> p: Params;
@auto var<storage, read> stats: array<f32>; // [sample][chunk][mean, m2][channel]
#if MOMENTS
@auto var<storage, read_write> out: array<vec2<f32>>;
#else
@auto var<storage, read> weight: array<f32>;
@auto var<storage, read> bias: array<f32>;
#if SCALE_SHIFT
@auto var<storage, read> embedding: array<f32>; // [sample][scale, shift][channel]
#end
@auto var<storage, read_write> out: array<f32>;
#end

#if !SERIAL
var<workgroup> partial: array<vec3<f32>, ${WORKERS}>; // count, mean, m2
#end

#import group_norm_fold
    var all = vec3<f32>(0.0);
    for (var i = worker; i < p.chunks * p.group_channels; i += ${STEP}u) {
        let chunk = i / p.group_channels;
        let at = 2u * (n * p.chunks + chunk) * channels + first + i % p.group_channels;
        let pixels = f32(min(p.chunk, p.pixels - chunk * p.chunk));
        all = merge(all, vec3<f32>(pixels, stats[at], stats[at + channels]));
    }
#if !SERIAL
    partial[worker] = all;
    workgroupBarrier();
    for (var half = ${WORKERS / 2}u; half > 0u; half /= 2u) {
        if (worker < half && partial[worker + half].x > 0.0) {
            partial[worker] = merge(partial[worker], partial[worker + half]);
        }
        workgroupBarrier();
    }
    all = partial[0];
#end
    let mean = all.y;
    let deviation = 1.0 / sqrt(all.z / all.x + p.epsilon);
#if MOMENTS
    if (worker == 0u) {
        out[task] = vec2<f32>(mean, deviation);
    }
#else
    for (var i = worker; i < p.group_channels; i += ${STEP}u) {
        let c = first + i;
        var scale = deviation * weight[c];
        var shift = bias[c] - mean * scale;
#if SCALE_SHIFT
        let factor = 1.0 + embedding[2u * n * channels + c];
        scale *= factor;
        shift = shift * factor + embedding[(2u * n + 1u) * channels + c];
#end
        out[2u * n * channels + c] = scale;
        out[(2u * n + 1u) * channels + c] = shift;
    }
#end
}
