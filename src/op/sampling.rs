//! The sampling loop's own ops: the draw of the noise, the predicted x_0, and the step of either sampler.
//!
//! Which sampler, clipping and every coefficient come from a small buffer that the host rewrites each step, so that a
//! planned graph serves every schedule. `sampler::schedule::StepCoefficients` is that buffer and has the formulas.

use super::{Operator, ensure};
use crate::error::Result;
use crate::graph::{Shape, Tensor};
use crate::plan::lowering::Lowering;
use crate::sampler::philox;
use crate::sampler::schedule::StepCoefficients;
use crate::shader::Kernel;

/// 32-bit words of the coefficients' buffer.
pub const COEFFICIENTS: usize = size_of::<StepCoefficients>() / 4;
/// 32-bit words of the noise key: seed (low, high), index of the first sample, step.
pub const NOISE_KEY: usize = 4;

/// Standard normal noise. Inputs: the key `[1, 1, 1, 4]`.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawNoise {
    /// Shape of the noise.
    pub shape: Shape,
}

impl Operator for DrawNoise {
    fn name(&self) -> &'static str {
        "noise"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        ensure(inputs == [Shape::vector(1, NOISE_KEY)], || "a noise key is needed".into())?;
        Ok(self.shape)
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let elements = self.shape.elements() / self.shape.n.max(1);
        let mut step = lowering.step(Kernel::new("noise"));
        step.bind("key", lowering.input(0))
            .bind("out", lowering.output())
            .word("elements", elements)
            .word("samples", self.shape.n)
            .groups([elements.div_ceil(4).div_ceil(64), self.shape.n, 1]);
        lowering.emit(step)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let [low, high, first, step] = [0, 1, 2, 3].map(|i| inputs[0].data[i].to_bits());
        let seed = u64::from(high) << 32 | u64::from(low);
        let elements = output.elements() / output.n.max(1);
        let data = (0..output.n as u32).flat_map(|i| philox::normals(seed, first + i, step, elements)).collect();
        Tensor { shape: output, data }
    }
}

/// The first x is the first draw. Inputs: x (overwritten in place), noise.
#[derive(Debug, Clone, PartialEq)]
pub struct StartFromNoise;

impl Operator for StartFromNoise {
    fn name(&self) -> &'static str {
        "start"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [x, noise] = super::operands(inputs)?;
        ensure(x == noise, || format!("noise {noise} for {x}"))?;
        Ok(x)
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        lowering.in_place(0);
        let mut step = lowering.step(Kernel::new("unary").with("SILU", 0).with("RELU", 0));
        step.bind("x", lowering.input(1)).bind("out", lowering.output()).elements(lowering.output_shape().elements());
        lowering.emit(step)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], _: Shape) -> Tensor {
        inputs[1].clone()
    }
}

/// The predicted x_0, clipped where the run asks for it. Inputs: x, the network's output, coefficients.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictXStart {
    /// The network predicts x_0 instead of the noise.
    pub predict_xstart: bool,
}

impl Operator for PredictXStart {
    fn name(&self) -> &'static str {
        "predict_xstart"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        let [x, out, coefficients] = super::operands(inputs)?;
        check(x, out, coefficients)?;
        Ok(x)
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let (out, model) = (lowering.output_shape(), lowering.input_shape(1));
        let mut step = lowering.step(Kernel::new("predict_xstart").with("XSTART", self.predict_xstart));
        step.bind("x", lowering.input(0))
            .bind("model", lowering.input(1))
            .bind("coefficients", lowering.input(2))
            .bind("out", lowering.output())
            .word("channels", out.c)
            .word("model_channels", model.c)
            .elements(out.elements());
        lowering.emit(step)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let k = coefficients(inputs[2]);
        Tensor::from_fn(output, |n, y, x, c| {
            let model = inputs[1].at(n, y, x, c);
            let x = inputs[0].at(n, y, x, c);
            let x0 = if self.predict_xstart { model } else { k.sqrt_recip_bar * x - k.sqrt_recipm1_bar * model };
            if k.clip == 1 { x0.clamp(-1.0, 1.0) } else { x0 }
        })
    }
}

/// x_i to x_{i-1}. Inputs: x (overwritten in place), x_0, the network's output, noise, coefficients, and the
/// gradient of log p(y | x) where guided.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerStep {
    /// The output's second half interpolates the variance.
    pub learn_sigma: bool,
    /// A gradient is given.
    pub guided: bool,
}

impl Operator for SamplerStep {
    fn name(&self) -> &'static str {
        "sampler_step"
    }

    fn shape(&self, inputs: &[Shape], _: &[&[usize]]) -> Result<Shape, String> {
        ensure(inputs.len() == 5 + self.guided as usize, || format!("{} operands given", inputs.len()))?;
        let x = inputs[0];
        check(x, inputs[2], inputs[4])?;
        ensure(inputs[2].c == x.c * (1 + self.learn_sigma as usize), || format!("output {} for {x}", inputs[2]))?;
        ensure(inputs[1] == x && inputs[3] == x && inputs.get(5).is_none_or(|g| *g == x), || "shapes differ".into())?;
        Ok(x)
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        lowering.in_place(0);
        let (out, model) = (lowering.output_shape(), lowering.input_shape(2));
        let kernel = Kernel::new("sampler_step").with("LEARNED", self.learn_sigma).with("GUIDED", self.guided);
        let mut step = lowering.step(kernel);
        step.bind("x0", lowering.input(1));
        if self.learn_sigma {
            step.bind("model", lowering.input(2));
        }
        step.bind("noise", lowering.input(3)).bind("coefficients", lowering.input(4));
        if self.guided {
            step.bind("gradient", lowering.input(5));
        }
        step.bind("x", lowering.output())
            .word("channels", out.c)
            .word("model_channels", model.c)
            .elements(out.elements());
        lowering.emit(step)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], output: Shape) -> Tensor {
        let k = coefficients(inputs[4]);
        Tensor::from_fn(output, |n, y, column, c| {
            let x = inputs[0].at(n, y, column, c);
            let mut x0 = inputs[1].at(n, y, column, c);
            let noise = if k.draws_noise == 1 { inputs[3].at(n, y, column, c) } else { 0.0 };
            let gradient = inputs.get(5).map_or(0.0, |g| g.at(n, y, column, c)) * k.guidance;
            if k.ddim == 1 {
                let mut eps = (k.sqrt_recip_bar * x - x0) / k.sqrt_recipm1_bar;
                if self.guided {
                    eps -= k.sqrt_one_minus_bar * gradient;
                    x0 = k.sqrt_recip_bar * x - k.sqrt_recipm1_bar * eps;
                }
                return k.sqrt_prev * x0 + k.ddim_direction * eps + k.sigma * noise;
            }
            let log_variance = if self.learn_sigma {
                let share = (inputs[2].at(n, y, column, output.c + c) + 1.0) / 2.0;
                share * k.max_log_variance + (1.0 - share) * k.min_log_variance
            } else {
                k.fixed_log_variance
            };
            k.coef1 * x0 + k.coef2 * x + log_variance.exp() * gradient + (0.5 * log_variance).exp() * noise
        })
    }
}

fn check(x: Shape, out: Shape, coefficients: Shape) -> Result<(), String> {
    ensure(out.with_channels(x.c) == x && out.c >= x.c, || format!("output {out} for {x}"))?;
    ensure(coefficients == Shape::vector(1, COEFFICIENTS), || format!("coefficients {coefficients}"))
}

fn coefficients(tensor: &Tensor) -> StepCoefficients {
    bytemuck::pod_read_unaligned(bytemuck::cast_slice(&tensor.data))
}
