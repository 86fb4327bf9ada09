//! The network's other ops: norms, attention, elementwise, embeddings, resampling, pooling.

use guided_diffusion::Result;
use guided_diffusion::model::blocks::{group_norm, linear};
use guided_diffusion::op::probe::{Operand, labels, noise, scalars, spread};
use guided_diffusion::op::{
    Add, AddEmbedding, Attention, Concat, ConcatLowRes, GroupNormAffine, LabelEmbedding, Modulate, Pooled, Prologue,
    Resample, Slice, TimestepEmbedding, Unary,
};
use guided_diffusion::tensor::Shape;

use super::Case;

pub(super) fn cases() -> Result<Vec<Case>> {
    let s = Shape::new;
    let x = s(2, 5, 7, 3);
    let mut cases = vec![
        Case::new("odd elements", Add, vec![noise(x), noise(x)], &[])?,
        Case::new("more than a row of the grid", Add, vec![noise(s(1, 1025, 683, 3)), noise(s(1, 1025, 683, 3))], &[])?,
        Case::new("a vector per sample", AddEmbedding, vec![noise(x), noise(Shape::vector(2, 3))], &[])?,
        Case::new("8 and 12 channels", Concat, vec![noise(s(2, 3, 5, 8)), noise(s(2, 3, 5, 12))], &[])?,
        Case::new("enlarged from 3x2", ConcatLowRes, vec![noise(s(2, 7, 6, 3)), noise(s(2, 3, 2, 3))], &[])?,
        Case::new("from one pixel", ConcatLowRes, vec![noise(s(1, 4, 5, 1)), noise(s(1, 1, 1, 1))], &[])?,
        Case::new("from its own size", ConcatLowRes, vec![noise(s(1, 4, 5, 3)), noise(s(1, 4, 5, 3))], &[])?,
        Case::new("timesteps 0 to 3999", TimestepEmbedding { width: 32 }, vec![extremes()], &[])?,
        Case::new("an odd width", TimestepEmbedding { width: 33 }, vec![extremes()], &[])?,
        Case::new(
            "first and last class",
            LabelEmbedding,
            vec![noise(Shape::vector(5, 20)), labels(&[0, 9, 4, 9, 1])],
            &[&[10, 20]],
        )?,
        Case::new("zeros between", Resample::Up, vec![noise(s(2, 3, 5, 20))], &[])?,
        Case::new("means of four", Resample::Down, vec![noise(s(2, 6, 10, 20))], &[])?,
        Case::new("pixels 5x7", Pooled::Mean, vec![noise(s(2, 5, 7, 20))], &[])?,
        Case::new("36 tokens", Pooled::FirstToken, vec![noise(s(2, 1, 36, 20))], &[])?,
        Case::new("pixels 3x5", Pooled::Tokens, vec![noise(s(2, 3, 5, 20))], &[&[20, 16]])?,
    ];
    for n in [1, 2, 11] {
        cases.push(emb_layers(&format!("three layers, {n} samples"), n)?);
    }
    for unary in [Unary::SILU, Unary::RELU] {
        cases.push(Case::new("elements of 67 or more", unary, vec![spread(s(1, 1, 67, 1), 4.0, 0.0)], &[])?);
        // Every value counts by itself here: sigmoid's tail must neither overflow nor turn into NaN.
        let tail = [-1e4, -104.0, -88.8, -87.4, -86.0, -50.0, -20.0, -8.0, -1e-3, 0.0];
        cases.push(Case::new("the negative tail", unary, vec![scalars(&tail)], &[])?);
    }
    cases.extend(attention()?);
    cases.extend(norms()?);
    cases.extend(modulations()?);
    Ok(cases)
}

/// Layers of 8, 8 and 16 channels that read the same 12, for `n` samples.
fn emb_layers(name: &str, n: usize) -> Result<Case> {
    let operands = vec![noise(Shape::new(n, 3, 5, 8)), noise(Shape::vector(n, 12))];
    Case::fused(name, operands, |graph, x| {
        let mut h = x[0];
        for name in ["first", "second"] {
            let e = linear(graph, name, x[1], 8)?;
            h = graph.push(format!("{name} sum"), AddEmbedding, &[h, e], &[])?;
        }
        let e = linear(graph, "third", x[1], 16)?;
        let e = graph.push("half", Slice { first: 4, channels: 8 }, &[e], &[])?;
        graph.push("third sum", AddEmbedding, &[h, e], &[])
    })
}

/// The process's ends, fractions (of rescaled timesteps), and the end of a longer process.
fn extremes() -> Operand {
    scalars(&[0.0, 999.0, 0.25, 998.75, 3999.0])
}

fn attention() -> Result<Vec<Case>> {
    let qkv = |n, h, w, channels: usize| Shape::new(n, h, w, 3 * channels);
    // On GPUs the keys of 130 tokens are in parts, the last of which is shorter.
    let list = [
        ("three heads of 4", 3, false, qkv(2, 13, 10, 12), 1.0),
        ("three heads of 4, new order", 3, true, qkv(2, 7, 5, 12), 1.0),
        ("two heads of 32", 2, false, qkv(1, 9, 9, 64), 1.0),
        ("two heads of 32, new order", 2, true, qkv(2, 7, 5, 64), 1.0),
        ("one token", 1, true, qkv(3, 1, 1, 32), 1.0),
        ("peaked scores", 2, false, qkv(1, 7, 5, 64), 6.0),
        ("a head of 64", 1, true, qkv(1, 1, 130, 64), 1.0),
        ("a head of 144", 1, false, qkv(1, 1, 130, 144), 1.0),
    ];
    let case = |(name, heads, new_order, shape, scale)| {
        Case::new(name, Attention { heads, new_order }, vec![spread(shape, scale, 0.0)], &[])
    };
    list.into_iter().map(case).collect()
}

fn norms() -> Result<Vec<Case>> {
    let s = Shape::new;
    let affine = |two_sources, scale_shift| GroupNormAffine { two_sources, scale_shift };
    let maps = |n, c: usize| spread(Shape::vector(n, 2 * c), 0.5, 0.0);
    Ok(vec![
        Case::new("32 channels, 5x7", affine(false, false), vec![noise(s(3, 5, 7, 32))], &[&[32], &[32]])?,
        Case::new("96 channels, 13x13", affine(false, false), vec![noise(s(2, 13, 13, 96))], &[&[96], &[96]])?,
        Case::new("many chunks", affine(false, false), vec![noise(s(1, 41, 40, 32))], &[&[32], &[32]])?,
        // Two groups hold channels of both sources.
        Case::new(
            "36 and 28 channels",
            affine(true, false),
            vec![noise(s(2, 7, 5, 36)), noise(s(2, 7, 5, 28))],
            &[&[64], &[64]],
        )?,
        Case::new("modulated", affine(false, true), vec![noise(s(2, 7, 5, 64)), maps(2, 64)], &[&[64], &[64]])?,
        Case::new(
            "two sources, modulated",
            affine(true, true),
            vec![noise(s(2, 7, 5, 32)), noise(s(2, 7, 5, 64)), maps(2, 96)],
            &[&[96], &[96]],
        )?,
        Case::new("one pixel, 64 channels", affine(false, false), vec![noise(s(2, 1, 1, 64))], &[&[64], &[64]])?,
        Case::new("no variance", affine(false, false), vec![spread(s(1, 5, 5, 32), 0.0, 3.0)], &[&[32], &[32]])?,
        // The reference reads the same rounded inputs: only the kernel's own cancellation would show.
        Case::new("a mean of 100", affine(false, false), vec![spread(s(2, 9, 9, 64), 1.0, 100.0)], &[&[64], &[64]])?,
        Case::fused("a norm alone", vec![noise(s(2, 7, 5, 64))], |graph, x| group_norm(graph, "norm", x[0], None))?,
        Case::fused("adaptive norm, SiLU, 2x2 pooled", vec![noise(s(2, 6, 4, 32)), maps(2, 32)], |graph, x| {
            let h = group_norm(graph, "norm", x[0], Some(x[1]))?;
            let h = graph.push("silu", Unary::SILU, &[h], &[])?;
            graph.push("pooled", Resample::Down, &[h], &[])
        })?,
    ])
}

fn modulations() -> Result<Vec<Case>> {
    use Resample::{Down, Up};
    let (a, b) = (Shape::new(2, 4, 6, 8), Shape::new(2, 4, 6, 12));
    let list = [
        ("affine", false, true, false, None),
        ("affine, SiLU", false, true, true, None),
        ("two sources, affine, SiLU", true, true, true, None),
        ("affine, SiLU, 2x upsampled", false, true, true, Some(Up)),
        ("affine, SiLU, 2x2 pooled", false, true, true, Some(Down)),
        ("two sources, affine, SiLU, 2x2 pooled", true, true, true, Some(Down)),
    ];
    let case = |(name, two_sources, affine, silu, resample)| {
        let prologue = Prologue { two_sources, affine, silu, resample };
        let mut operands = vec![noise(a)];
        if two_sources {
            operands.push(noise(b));
        }
        let channels = if two_sources { a.c + b.c } else { a.c };
        operands.push(spread(Shape::vector(a.n, 2 * channels), 0.5, 0.5));
        Case::new(name, Modulate { prologue, gain: 1.0 }, operands, &[])
    };
    list.into_iter().map(case).collect()
}
