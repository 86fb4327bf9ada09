//! The gradient of attention with respect to its queries, keys and values (Dao et al. 2022, backward pass): the
//! softmax is recomputed, nothing of size T x T is stored.

use super::attention::Attention;
use super::dispatch::DispatchBuilder;
use super::legal;
use super::lowering::Lowering;
use super::operator::{Operator, ensure, operands};
use super::probe::{Probe, noise};
use super::variant::{AttentionTile, Variant};
use crate::device::Caps;
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// Inputs: qkv `[N, H, W, 3C]`, the forward result, the incoming gradient `[N, H, W, C]`.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionGrad {
    /// The forward op.
    pub attention: Attention,
}

impl Operator for AttentionGrad {
    fn name(&self) -> &'static str {
        "attention_grad"
    }

    fn shape(&self, inputs: &[Shape], params: &[&[usize]]) -> Result<Shape, String> {
        let [qkv, out, incoming] = operands(inputs)?;
        let expected = self.attention.shape(&[qkv], params)?;
        ensure(out == expected && incoming == expected, || format!("gradient {incoming} of {out} for {qkv}"))?;
        Ok(qkv)
    }

    fn variants(&self, inputs: &[Shape], _: Shape, caps: &Caps) -> Vec<Variant> {
        inputs.get(1).map_or_else(Vec::new, |out| legal::attention(*out, self.attention.heads, true, caps))
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let s = lowering.input_shape(1);
        let (heads, size) = (self.attention.heads, s.c / self.attention.heads);
        // Its kernels have no parts, which a variant that is asked for everywhere may have.
        let tile = AttentionTile { parts: 1, ..AttentionTile::of(lowering.variant()) };
        // Per (sample, head, query): the largest score, the softmax's inverse denominator, out . incoming, nothing.
        let softmaxes = lowering.temporary("softmaxes", 4 * s.n * heads * s.pixels());
        let kernels: Vec<Kernel> = match tile.workgroup {
            true => [1, 2, 3].map(|mode| self.attention.tile(s, tile, mode)).into(),
            false => ["attention_grad_query", "attention_grad_key"]
                .map(|stem| tile.define(Kernel::new(stem).with("D4", (size / 4) as i64)))
                .into(),
        };
        for (i, kernel) in kernels.into_iter().enumerate() {
            let mut dispatch = DispatchBuilder::new(kernel);
            dispatch.bind("qkv", lowering.input(0));
            if i == 0 {
                dispatch.bind("forward", lowering.input(1));
            }
            dispatch.bind("incoming", lowering.input(2)).bind("softmaxes", softmaxes).bind("out", lowering.output());
            let work = 2 * self.attention.flops(&[], s);
            self.attention.describe(&mut dispatch, s, tile, work);
            lowering.emit(dispatch)?;
        }
        Ok(())
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let (qkv, forward, incoming) = (inputs[0], inputs[1], inputs[2]);
        let (s, heads) = (forward.shape, self.attention.heads);
        let (tokens, size) = (s.pixels(), s.c / heads);
        let (head, key, value) = self.attention.strides(s.c);
        let scale = 1.0 / (size as f64).sqrt();
        let mut result = vec![0.0f64; output.elements()];
        for n in 0..s.n {
            for h in 0..heads {
                let at = |t: usize, part: usize| (n * tokens + t) * output.c + h * head + part;
                let read = |t: usize, part: usize, d: usize| f64::from(qkv.data[at(t, part) + d]);
                let row = |x: &Tensor, t: usize, d: usize| f64::from(x.data[(n * tokens + t) * s.c + h * size + d]);
                for i in 0..tokens {
                    let score = |j: usize| (0..size).map(|d| read(i, 0, d) * read(j, key, d)).sum::<f64>() * scale;
                    let scores: Vec<f64> = (0..tokens).map(score).collect();
                    let peak = scores.iter().copied().fold(f64::MIN, f64::max);
                    let total: f64 = scores.iter().map(|v| (v - peak).exp()).sum();
                    let correction: f64 = (0..size).map(|d| row(forward, i, d) * row(incoming, i, d)).sum();
                    for (j, score) in scores.iter().enumerate() {
                        let p = (score - peak).exp() / total;
                        let dp: f64 = (0..size).map(|d| row(incoming, i, d) * read(j, value, d)).sum();
                        let ds = p * (dp - correction) * scale;
                        for d in 0..size {
                            result[at(i, 0) + d] += ds * read(j, key, d);
                            result[at(j, key) + d] += ds * read(i, 0, d);
                            result[at(j, value) + d] += p * row(incoming, i, d);
                        }
                    }
                }
            }
        }
        Tensor { shape: output, data: result.into_iter().map(|v| v as f32).collect() }
    }

    fn probe(&self, inputs: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        let (attention, out) = self.attention.few_heads(*inputs.get(1)?);
        let operands = vec![noise(out.with_channels(3 * out.c)), noise(out), noise(out)];
        Some(Probe::new(Self { attention }, operands))
    }

    fn flops(&self, inputs: &[Shape], _: Shape) -> u64 {
        10 * inputs[1].elements() as u64 * inputs[1].pixels() as u64
    }
}
