// What is added to a convolution's or linear layer's result before it is stored: bias, an embedding per
// (sample, channel), a residual that may need resampling.
// Needs p.n4 (output channels / 4, rounded up), p.height, p.width (of the output).
#if BIAS
@auto var<storage, read> bias: array<vec4<f32>>;
#end
#if EMBEDDING
@auto var<storage, read> embedding: array<vec4<f32>>;
#end
#if RESIDUAL
@auto var<storage, read> residual: array<vec4<f32>>;
#end

/// `row` counts output pixels over the batch, `c` vec4 channels.
fn epilogue(value: vec4<f32>, row: u32, c: u32) -> vec4<f32> {
    var v = value;
#if BIAS
    v += bias[c];
#end
#if EMBEDDING
    v += embedding[row / (p.height * p.width) * p.n4 + c];
#end
#if RESIDUAL == 1
    v += residual[row * p.n4 + c];
#elif RESIDUAL == 2
    let column = row % p.width;
    let line = row / p.width; // over the batch: the height is even
    v += residual[(line / 2u * (p.width / 2u) + column / 2u) * p.n4 + c];
#elif RESIDUAL == 3
    let column = row % p.width;
    let line = row / p.width;
    let first = (4u * line * p.width + 2u * column) * p.n4 + c;
    let below = first + 2u * p.width * p.n4;
    v += 0.25 * (residual[first] + residual[first + p.n4] + residual[below] + residual[below + p.n4]);
#end
    return v;
}
