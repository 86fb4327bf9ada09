// GroupNorm's gradient, fourth: the chunks' sums folded into means. One workgroup, or where it is SERIAL one invocation: one
// group of one sample. out is [sample][group].
#import group_norm
@auto var<uniform> p: Params;
@auto var<storage, read> sums: array<f32>; // [sample][chunk][g, g x'][channel]
@auto var<storage, read_write> out: array<vec2<f32>>;

#if !SERIAL
var<workgroup> partial: array<vec2<f32>, ${WORKERS}>;
#end

#import group_norm_fold
    var total = vec2<f32>(0.0);
    for (var chunk = worker; chunk < p.chunks; chunk += ${STEP}u) {
        // Each chunk is summed before it joins the total, which would round small values away.
        var part = vec2<f32>(0.0);
        for (var i = 0u; i < p.group_channels; i++) {
            let at = 2u * (n * p.chunks + chunk) * channels + first + i;
            part += vec2<f32>(sums[at], sums[at + channels]);
        }
        total += part;
    }
#if !SERIAL
    partial[worker] = total;
    workgroupBarrier();
    for (var half = ${WORKERS / 2}u; half > 0u; half /= 2u) {
        if (worker < half) {
            partial[worker] += partial[worker + half];
        }
        workgroupBarrier();
    }
    total = partial[0];
    if (worker != 0u) {
        return;
    }
#end
    out[task] = total / f32(p.pixels * p.group_channels);
}
