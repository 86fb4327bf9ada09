// The rows of a matrix product's left factor, in vec4s: those of a tensor, or of two side by side (SOURCES), or, with
// IM2COL, what a convolution's kernel covers at each output pixel. A segment is a source, or a tap of the kernel.
struct Params {
    m: u32, // rows: output pixels over the batch
    n: u32, // columns
    n4: u32,
    k4: u32, // inner dimension of all segments / 4
    height: u32, // of the output
    width: u32,
    lines: u32, // lines of workgroups per product and part
    first_line: u32,
    end_line: u32,
#if SPLIT
    parts: u32, // of the inner dimension, each a product of its own
    share: u32, // of the inner dimension, of one part
#end
#if IM2COL
    source_height: u32,
    source_width: u32,
    c4: u32, // input channels / 4
#else
    k4_first: u32, // of the first source
#end
}
@auto var<uniform> p: Params;
@auto var<storage, read> a: array<vec4<f32>>;
#if SOURCES == 2
@auto var<storage, read> skip: array<vec4<f32>>;
#end

/// The workgroup's line: y, continued in z.
fn line_of(group: vec3<u32>) -> u32 {
    return p.first_line + group.y + group.z * 65535u;
}

#if IM2COL
struct Row {
    left: u32, // in the padded source
    top: u32,
    sample: u32, // its first line
}

struct Start {
    at: u32,
    inside: bool,
}

fn row_of(product: u32, row: u32) -> Row {
    let line = row / p.width;
    return Row(row % p.width * ${STRIDE}u, line % p.height * ${STRIDE}u, line / p.height * p.source_height);
}

/// Where a row's values under a tap begin. In the padding that is pixel 0, which counts for nothing.
fn start_of(row: Row, tap: u32) -> Start {
    let y = row.top + tap / ${KERNEL}u;
    let x = row.left + tap % ${KERNEL}u;
    // `&` and not `&&`: short circuits are branches, and SwiftShader takes seconds to compile many of them.
    let inside = (y >= ${PADDING}u) & (y < p.source_height + ${PADDING}u)
        & (x >= ${PADDING}u) & (x < p.source_width + ${PADDING}u);
    return Start(select(0u, ((row.sample + y - ${PADDING}u) * p.source_width + x - ${PADDING}u) * p.c4, inside), inside);
}

fn read0(start: Start, k: u32) -> vec4<f32> {
    return select(vec4<f32>(0.0), a[start.at + k], start.inside);
}
#else
fn row_of(product: u32, row: u32) -> u32 {
    return product * p.m + row;
}

fn depth_of(source: u32) -> u32 {
#if SOURCES == 1
    return p.k4;
#else
    return select(p.k4 - p.k4_first, p.k4_first, source == 0u);
#end
}

fn start_of(row: u32, source: u32) -> u32 {
    return row * depth_of(source);
}

fn read0(start: u32, k: u32) -> vec4<f32> {
    return a[start + k];
}
#if SOURCES == 2

fn read1(start: u32, k: u32) -> vec4<f32> {
    return skip[start + k];
}
#end
#end
