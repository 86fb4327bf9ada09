// How the kernels begin that fold group normalization's chunks. One workgroup, or where it is SERIAL one invocation: group
// `task` of all samples, whose channels begin at `first` of sample `n`. The kernel continues from here, every STEP-th value.
@compute @workgroup_size(${WORKERS})
#if SERIAL
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let worker = 0u;
    let task = id.x;
#else
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) worker: u32) {
    let task = group.x;
#end
#let STEP = SERIAL + !SERIAL * WORKERS
    let channels = 4u * p.c4;
    let groups = channels / p.group_channels;
#if SERIAL
    if (task >= groups * p.samples) {
        return;
    }
#end
    let first = task % groups * p.group_channels;
    let n = task / groups;
