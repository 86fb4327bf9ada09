// What attention's kernels share: their parameters, and the grid of lines (a block of rows of a head), by which they are split.
struct Params {
    tokens: u32,
    width4: u32, // of a row of qkv, / 4
    channels4: u32, // of a row of the forward result, / 4
    head4: u32, // distance of two heads' queries in a row of qkv, / 4
    key4: u32, // distance of a head's query and key
    value4: u32, // distance of a head's query and value
    scale: f32, // 1 / sqrt(head channels)
    heads: u32,
    lines: u32, // blocks per head
    first_line: u32,
    end_line: u32,
    parts: u32, // of the keys
    share: u32, // keys of a part
    distance: u32, // of two parts' results, / 4
}
@auto var<uniform> p: Params;
@auto var<storage, read> qkv: array<vec4<f32>>;

/// The workgroup's line: y, continued in z.
fn line_of(group: vec3<u32>) -> u32 {
    return p.first_line + group.y + group.z * 65535u;
}
