//! The ops that only gradients use, each with an incoming gradient that is noise.

use guided_diffusion::Result;
use guided_diffusion::op::probe::{labels, noise, spread};
use guided_diffusion::op::{
    Attention, AttentionGrad, Dilate, GroupNorm, GroupNormGrad, LogSoftmaxGrad, Modulate, Pooled, Pooling, Resample,
    Slice, Unary,
};
use guided_diffusion::tensor::Shape;

use super::Case;

pub(super) fn cases() -> Result<Vec<Case>> {
    let s = Shape::new;
    let mut cases = vec![
        Case::new("to odd sizes", Dilate { height: 5, width: 7 }, vec![noise(s(2, 3, 4, 5))], &[])?,
        Case::new("to even sizes", Dilate { height: 6, width: 8 }, vec![noise(s(2, 3, 4, 5))], &[])?,
        Case::new("inner channels", Slice { first: 3, channels: 6 }, vec![noise(s(2, 3, 5, 11))], &[])?,
        Case::new("all channels", Slice { first: 0, channels: 5 }, vec![noise(s(1, 3, 5, 5))], &[])?,
        Case::new("pixels 5x7", adjoint(Pooled::Mean, s(2, 5, 7, 20)), vec![noise(Shape::vector(2, 20))], &[])?,
        Case::new("36 tokens", adjoint(Pooled::FirstToken, s(2, 1, 36, 20)), vec![noise(Shape::vector(2, 20))], &[])?,
        Case::new("pixels 3x5", adjoint(Pooled::Tokens, s(2, 3, 5, 20)), vec![noise(s(2, 1, 16, 20))], &[])?,
        Case::new("of 2x upsampling", Modulate::resample_grad(Resample::Up), vec![noise(s(2, 6, 10, 20))], &[])?,
        Case::new("of 2x2 pooling", Modulate::resample_grad(Resample::Down), vec![noise(s(2, 3, 5, 20))], &[])?,
        Case::new("10 classes", LogSoftmaxGrad, vec![noise(Shape::vector(3, 10)), labels(&[0, 9, 4])], &[])?,
        Case::new(
            "1000 classes",
            LogSoftmaxGrad,
            vec![spread(Shape::vector(2, 1000), 3.0, 50.0), labels(&[999, 65])],
            &[],
        )?,
    ];
    for unary in [Unary::SILU, Unary::RELU] {
        let operands = vec![spread(s(1, 5, 27, 1), 6.0, 0.0), noise(s(1, 5, 27, 1))];
        cases.push(Case::new(
            format!("slopes of {:?}", unary.function),
            Unary { adjoint: true, ..unary },
            operands,
            &[],
        )?);
    }
    // One wide head is enough, for SwiftShader compiles each for seconds.
    for (name, heads, new_order, tokens, channels) in [
        ("three heads of 4", 3, false, [7, 5], 12),
        ("two heads of 32, new order", 2, true, [7, 10], 64),
        ("one token", 1, true, [1, 1], 8),
    ] {
        cases.push(attention(name, Attention { heads, new_order }, s(2, tokens[0], tokens[1], channels))?);
    }
    for (scale_shift, silu) in [(false, false), (true, false), (false, true), (true, true)] {
        let x = s(2, 7, 5, 64);
        let mut operands = vec![noise(x), noise(x)];
        if scale_shift {
            operands.push(spread(Shape::vector(x.n, 2 * x.c), 0.5, 0.0));
        }
        let name = format!("modulated: {scale_shift}, SiLU: {silu}");
        cases.push(Case::new(name, GroupNormGrad { scale_shift, silu }, operands, &[&[64], &[64]])?);
    }
    cases.push(chain()?);
    Ok(cases)
}

/// The forward result is an operand of the backward kernel: computed in the same graph.
fn attention(name: &str, attention: Attention, out: Shape) -> Result<Case> {
    Case::fused(name, vec![noise(out.with_channels(3 * out.c)), noise(out)], |graph, x| {
        let forward = graph.push("forward", attention.clone(), &[x[0]], &[])?;
        graph.push("node", AttentionGrad { attention }, &[x[0], forward, x[1]], &[])
    })
}

/// The gradient of SiLU, absorbed by that of the norm.
fn chain() -> Result<Case> {
    let x = Shape::new(2, 5, 7, 32);
    let operands = vec![noise(x), noise(x), spread(Shape::vector(x.n, 2 * x.c), 0.5, 0.0)];
    Case::fused("of adaptive norm and SiLU", operands, |graph, x| {
        let params = [graph.param("0.weight", &[32]), graph.param("1.bias", &[32])];
        let z = graph.push("norm", GroupNorm { scale_shift: true }, &[x[0], x[2]], &params)?;
        let g = graph.push("silu", Unary { adjoint: true, ..Unary::SILU }, &[z, x[1]], &[])?;
        graph.push("node", GroupNormGrad { scale_shift: true, silu: false }, &[x[0], g, x[2]], &params)
    })
}

fn adjoint(pooled: Pooled, shape: Shape) -> Pooling {
    Pooling { pooled, adjoint: Some(shape) }
}
