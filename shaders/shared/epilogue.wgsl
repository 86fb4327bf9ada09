// What is added to a convolution's or linear layer's result before it is stored: bias, an embedding per
// (sample, channel), a residual that may need resampling.
// Needs p.n4 (output channels / 4, rounded up), p.height, p.width (of the output) and, with a tail, p.n (output
// channels): tensors are not padded, so that rows of such a one do not begin at a vec4.
#if BIAS
@auto var<storage, read> bias: array<vec4<f32>>;
#end
#if EMBEDDING
#if TAIL
@auto var<storage, read> embedding: array<f32>;

fn embedding_at(n: u32, c: u32) -> vec4<f32> {
    let at = n * p.n;
    let last = p.n - 1u;
    return vec4<f32>(
#for i in 0..4
        embedding[at + min(4u * c + ${i}u, last)],
#end
    );
}
#else
@auto var<storage, read> embedding: array<vec4<f32>>;

fn embedding_at(n: u32, c: u32) -> vec4<f32> {
    return embedding[n * p.n4 + c];
}
#end
#end
#if RESIDUAL
#if TAIL
@auto var<storage, read> residual: array<f32>;

fn residual_at(row: u32, c: u32) -> vec4<f32> {
    let at = row * p.n;
    let last = p.n - 1u;
    return vec4<f32>(
#for i in 0..4
        residual[at + min(4u * c + ${i}u, last)],
#end
    );
}
#else
@auto var<storage, read> residual: array<vec4<f32>>;

fn residual_at(row: u32, c: u32) -> vec4<f32> {
    return residual[row * p.n4 + c];
}
#end
#end

/// `row` counts output pixels over the batch, `c` vec4 channels.
fn epilogue(value: vec4<f32>, row: u32, c: u32) -> vec4<f32> {
    var v = value;
#if BIAS
    v += bias[c];
#end
#if EMBEDDING
    v += embedding_at(row / (p.height * p.width), c);
#end
#if RESIDUAL == 1
    v += residual_at(row, c);
#elif RESIDUAL == 2
    let column = row % p.width;
    let line = row / p.width; // over the batch: the height is even
    v += residual_at(line / 2u * (p.width / 2u) + column / 2u, c);
#elif RESIDUAL == 3
    let column = row % p.width;
    let line = row / p.width;
    let first = 4u * line * p.width + 2u * column;
    let below = first + 2u * p.width;
    v += 0.25 * (residual_at(first, c) + residual_at(first + 1u, c) + residual_at(below, c) + residual_at(below + 1u, c));
#end
    return v;
}
