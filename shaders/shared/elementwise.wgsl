// The entry point of kernels with one invocation per element i of the result, for which they declare `element(i)`.
// Needs p.elements and p.stride, the elements per row of the dispatch's grid.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.y * p.stride + id.x;
    if (id.x < p.stride && i < p.elements) {
        element(i);
    }
}
