// onehot(label) - softmax(logits): the gradient of log softmax(logits)[label]. What is not finite
// stays. One workgroup: one sample.
struct Params {
    classes: u32,
}
#import finite
#import math
@auto var<uniform> p: Params;
@auto var<storage, read> logits: array<f32>;
@auto var<storage, read> labels: array<u32>;
@auto var<storage, read_write> out: array<f32>;

var<workgroup> partial: array<f32, ${WORKERS}>;

@compute @workgroup_size(${WORKERS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) worker: u32) {
    let first = group.x * p.classes;
    var peak = -3.4e38;
    for (var i = worker; i < p.classes; i += ${WORKERS}u) {
        peak = max(peak, logits[first + i]);
    }
    partial[worker] = peak;
    workgroupBarrier();
    for (var half = ${WORKERS / 2}u; half > 0u; half /= 2u) {
        if (worker < half) {
            partial[worker] = max(partial[worker], partial[worker + half]);
        }
        workgroupBarrier();
    }
    peak = partial[0];
    workgroupBarrier();
    var total = 0.0;
    for (var i = worker; i < p.classes; i += ${WORKERS}u) {
        total += exp_vec4(vec4<f32>(logits[first + i] - peak)).x;
    }
    partial[worker] = total;
    workgroupBarrier();
    for (var half = ${WORKERS / 2}u; half > 0u; half /= 2u) {
        if (worker < half) {
            partial[worker] += partial[worker + half];
        }
        workgroupBarrier();
    }
    for (var i = worker; i < p.classes; i += ${WORKERS}u) {
        let logit = logits[first + i];
        let softmax = exp_vec4(vec4<f32>(logit - peak)).x / partial[0];
        out[first + i] = select(logit, select(0.0, 1.0, labels[group.x] == i) - softmax, is_finite(bitcast<u32>(logit)));
    }
}
