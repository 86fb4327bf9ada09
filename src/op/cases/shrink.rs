//! A node of a real network as a problem that takes no time: the same op, flags and kernels, tiny shapes.

use super::convolution::Problem;
use super::sampling::coefficients;
use super::{Case, Operand, labels, noise, scalars, spread, words};
use crate::error::Result;
use crate::graph::{Graph, Node};
use crate::op::{
    Attention, AttentionGrad, Conv2d, Dilate, DrawNoise, EmbLayers, FirstTokenGrad, GlobalMeanGrad, Op, PoolTokensGrad,
    Prologue, Resample, Slice, TimestepEmbedding,
};
use crate::sampler::Method;
use crate::tensor::Shape;

/// The shrunken copy of `node`; `None` for inputs, and for what fusing leaves nothing of.
///
/// # Errors
/// None for a node that its op's shape rule accepted.
pub fn shrunken(graph: &Graph, node: &Node) -> Result<Option<Case>> {
    let shapes: Vec<Shape> = node.inputs.iter().map(|id| graph.shape(*id)).collect();
    let input = |i: usize| shapes.get(i).copied().unwrap_or(node.shape);
    let (tiny, vector) = (Shape::new(2, 3, 3, 5), Shape::vector(2, 8));
    let (image, tokens) = (Shape::new(2, 3, 3, 8), Shape::new(2, 1, 10, 8));
    let case = |op: Op, operands: Vec<Operand>| Case::new(node.op.operator().name(), op, operands, &[]);
    let with = |op: Op, operands: Vec<Operand>, params: &[&[usize]]| {
        Case::new(node.op.operator().name(), op, operands, params)
    };
    let same = node.op.clone();
    let case = match &node.op {
        Op::Input | Op::EmbLayer(_) | Op::GroupNorm(_) | Op::ScaleShift(_) | Op::ScaleShiftGrad(_) => return Ok(None),
        Op::Add(_) | Op::UnaryGrad(_) => case(same, vec![noise(tiny), noise(tiny)]),
        Op::AddEmbedding(_) => case(same, vec![noise(tiny), noise(Shape::vector(2, 5))]),
        Op::Unary(_) => case(same, vec![spread(tiny, 4.0, 0.0)]),
        Op::Attention(attention) => {
            let (attention, out) = few_heads(attention, node.shape);
            case(attention.into(), vec![noise(out.with_channels(3 * out.c))])
        }
        Op::AttentionGrad(grad) => {
            let (attention, out) = few_heads(&grad.attention, input(1));
            Case::fused("attention_grad", vec![noise(out.with_channels(3 * out.c)), noise(out)], |graph, x| {
                let forward = graph.push("forward", attention.clone(), &[x[0]], &[])?;
                graph.push("node", AttentionGrad { attention }, &[x[0], forward, x[1]], &[])
            })
        }
        Op::Concat(_) => case(same, vec![noise(image), noise(image)]),
        Op::ConcatLowRes(_) => {
            let c = input(0).c;
            case(same, vec![noise(Shape::new(2, 6, 6, c)), noise(Shape::new(2, 3, 3, c))])
        }
        Op::Conv2d(conv) => convolution(conv, &shapes, node, graph).case(),
        Op::Dilate(_) => case(Dilate { height: 5, width: 6 }.into(), vec![noise(tiny)]),
        Op::DrawNoise(_) => case(DrawNoise { shape: tiny }.into(), vec![words(&[1, 2, 3, 4])]),
        Op::EmbLayers(_) => {
            // As many samples as an invocation takes, and layers that leave no gap between their results.
            let (n, channels) = (input(0).n.min(EmbLayers::ROWS), vec![64, 128]);
            let params: [&[usize]; 4] = [&[64, 12], &[64], &[128, 12], &[128]];
            with(EmbLayers { channels }.into(), vec![noise(Shape::vector(n, 12))], &params)
        }
        Op::FirstToken(_) => case(same, vec![noise(tokens)]),
        Op::FirstTokenGrad(_) => case(FirstTokenGrad { shape: tokens }.into(), vec![noise(vector)]),
        Op::GlobalMean(_) => case(same, vec![noise(image)]),
        Op::GlobalMeanGrad(_) => case(GlobalMeanGrad { shape: image }.into(), vec![noise(vector)]),
        Op::GroupNormAffine(affine) => {
            let x = Shape::new(2, 5, 5, 32);
            let mut operands = vec![noise(x)];
            if affine.two_sources {
                operands.push(noise(x));
            }
            let c = x.c * operands.len();
            if affine.scale_shift {
                operands.push(spread(Shape::vector(x.n, 2 * c), 0.5, 0.0));
            }
            with(same, operands, &[&[c], &[c]])
        }
        Op::GroupNormGrad(grad) => {
            let x = Shape::new(2, 5, 5, 64);
            let mut operands = vec![noise(x), noise(x)];
            if grad.scale_shift {
                operands.push(spread(Shape::vector(x.n, 2 * x.c), 0.5, 0.0));
            }
            with(same, operands, &[&[x.c], &[x.c]])
        }
        Op::LabelEmbedding(_) => with(same, vec![noise(vector), labels(&[9, 4])], &[&[10, 8]]),
        Op::LogSoftmaxGrad(_) => case(same, vec![noise(Shape::vector(2, 100)), labels(&[99, 4])]),
        Op::Modulate(modulate) => case(same, sources(&modulate.prologue, 6)),
        Op::PoolTokens(_) => with(same, vec![noise(image)], &[&[8, 10]]),
        Op::PoolTokensGrad(_) => case(PoolTokensGrad { shape: image }.into(), vec![noise(tokens)]),
        Op::PredictXStart(_) | Op::SamplerStep(_) => {
            let model = Shape::new(2, 3, 3, 6);
            let x = model.with_channels(if is_doubled(&node.op, &shapes) { 3 } else { 6 });
            let step = coefficients(Method::Ancestral, true, 4)?;
            let mut operands = vec![noise(x), noise(model), step];
            if let Op::SamplerStep(sampler) = &node.op {
                operands.splice(1..1, [noise(x)]);
                operands.insert(3, noise(x));
                operands.extend(sampler.guided.then(|| noise(x)));
            }
            case(same, operands)
        }
        Op::Resample(resample) => case(same, vec![noise(before(Some(*resample), 6, 8))]),
        Op::ResampleGrad(_) => case(same, vec![noise(Shape::new(2, 6, 6, 8))]),
        Op::Slice(_) => case(Slice { first: 2, channels: 2 }.into(), vec![noise(tiny)]),
        Op::StartFromNoise(_) => case(same, vec![noise(tiny), noise(tiny)]),
        Op::TimestepEmbedding(_) => case(TimestepEmbedding { width: 8 }.into(), vec![scalars(&[3.0, 977.5])]),
    };
    case.map(Some)
}

/// Whether the network's output has twice the image's channels.
fn is_doubled(op: &Op, shapes: &[Shape]) -> bool {
    let model = if matches!(op, Op::SamplerStep(_)) { shapes.get(2) } else { shapes.get(1) };
    matches!((shapes.first(), model), (Some(x), Some(model)) if model.c == 2 * x.c)
}

/// At most two heads, of the same channels, since kernels are specialised for those.
fn few_heads(attention: &Attention, out: Shape) -> (Attention, Shape) {
    let heads = attention.heads.clamp(1, 2);
    let channels = out.c / attention.heads.max(1) * heads;
    (Attention { heads, ..attention.clone() }, Shape::new(2, 3, 5, channels))
}

/// What becomes `size` x `size` by `resample`.
fn before(resample: Option<Resample>, size: usize, c: usize) -> Shape {
    let size = match resample {
        None => size,
        Some(Resample::Up) => size / 2,
        Some(Resample::Down) => 2 * size,
    };
    Shape::new(2, size, size, c)
}

/// Operands of a prologue that yield `size` x `size`.
fn sources(prologue: &Prologue, size: usize) -> Vec<Operand> {
    let x = before(prologue.resample, size, 8);
    let mut operands = vec![noise(x)];
    if prologue.two_sources {
        operands.push(noise(x));
    }
    if prologue.affine {
        operands.push(spread(Shape::vector(x.n, 2 * x.c * operands.len()), 0.5, 0.5));
    }
    operands
}

/// The same kernels need the same channels modulo 4, the same count of columns where there are few, and rows that fill
/// more than a workgroup's tile.
fn convolution(conv: &Conv2d, shapes: &[Shape], node: &Node, graph: &Graph) -> Problem {
    let first = shapes.first().copied().unwrap_or(node.shape);
    let channels = |c: usize, least: usize| if c <= least { c } else { least + 4 + c % 4 };
    let grid = if node.shape.pixels() == 1 && conv.kernel == 1 { 1 } else { 4 * conv.stride.max(2) };
    let x = before(conv.prologue.resample, grid, channels(first.c, 4));
    let x = if grid == 1 { Shape { h: 1, w: 1, ..x } } else { x };
    let count = 1 + conv.prologue.two_sources as usize;
    let weight = node.params.first().map_or(0, |id| graph.params[id.0].shape.len());
    Problem {
        name: node.op.operator().name().into(),
        conv: conv.clone(),
        sources: vec![x; count],
        out: channels(node.shape.c, 8),
        bias: node.params.len() > 1,
        matrix: weight == 2,
    }
}
