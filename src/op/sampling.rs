//! The sampling loop's own ops: the draw of the noise, the predicted x_0, and the step of either sampler.
//!
//! Which sampler, clipping and every coefficient come from a small buffer that the host rewrites each step, so that a
//! planned graph serves every schedule: [`StepCoefficients`], which `sampler::schedule` fills.

use bytemuck::{Pod, Zeroable};

use super::dispatch::DispatchBuilder;
use super::lowering::Lowering;
use super::operator::{Operator, ensure, operands};
use super::philox;
use super::probe::{Operand, Probe, TINY, noise, words};
use crate::error::Result;
use crate::shader::Kernel;
use crate::tensor::{Shape, Tensor};

/// What one sampling step needs, rounded to float32 once; laid out as `shaders/shared/step.wgsl` reads it.
///
/// With `model` the network's first half and `v` its second:
///
/// ```text
/// x0      = predict_xstart ? model : sqrt_recip_bar * x - sqrt_recipm1_bar * model      (then clamped to [-1, 1])
/// log_var = learned range  ? mix(min_log_variance, max_log_variance, (v + 1) / 2) : fixed_log_variance
/// ancestral: x' = coef1 * x0 + coef2 * x + (draws_noise ? exp(0.5 * log_var) * noise : 0)
/// eps     = (sqrt_recip_bar * x - x0) / sqrt_recipm1_bar
/// DDIM:      x' = sqrt_prev * x0 + ddim_direction * eps + (draws_noise ? sigma * noise : 0)
/// ```
///
/// Guidance adds `exp(log_var) * gradient` to the ancestral mean; in DDIM it subtracts `sqrt_one_minus_bar * gradient`
/// from eps and takes x0 again from it (unclamped).
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct StepCoefficients {
    /// The timestep as the network takes it (an original one, rescaled where it was trained so).
    pub model_timestep: f32,
    /// 1 / sqrt(alpha-bar).
    pub sqrt_recip_bar: f32,
    /// sqrt(1 / alpha-bar - 1).
    pub sqrt_recipm1_bar: f32,
    /// Weight of x_0 in the posterior's mean.
    pub coef1: f32,
    /// Weight of x_i in the posterior's mean.
    pub coef2: f32,
    /// The learned range's upper end: log beta.
    pub max_log_variance: f32,
    /// The learned range's lower end: the posterior's clipped log variance.
    pub min_log_variance: f32,
    /// The log variance where it is not learned.
    pub fixed_log_variance: f32,
    /// sqrt(alpha-bar of the step before).
    pub sqrt_prev: f32,
    /// sqrt(1 - alpha-bar of the step before - sigma^2).
    pub ddim_direction: f32,
    /// Standard deviation of DDIM's noise; 0 where eta is 0 or the sampler is ancestral.
    pub sigma: f32,
    /// sqrt(1 - alpha-bar).
    pub sqrt_one_minus_bar: f32,
    /// The respaced step, counting down to 0; also the step that keys the noise.
    pub index: u32,
    /// 1 where this step draws noise: not the last one, and not DDIM with eta 0.
    pub draws_noise: u32,
    /// The kept step of the full process.
    pub timestep: u32,
    /// 1 for DDIM.
    pub ddim: u32,
    /// 1 where the predicted x_0 is clipped to `[-1, 1]` (`clip_denoised`).
    pub clip: u32,
    /// The guidance scale; 0 where this step is not guided.
    pub guidance: f32,
}

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

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let elements = self.shape.elements() / self.shape.n.max(1);
        let mut step = DispatchBuilder::new(Kernel::new("noise"));
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

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        Some(Probe::new(Self { shape: TINY }, vec![words(&[1, 2, 3, 4])]))
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
        let [x, noise] = operands(inputs)?;
        ensure(x == noise, || format!("noise {noise} for {x}"))?;
        Ok(x)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        lowering.in_place(0);
        let mut step = DispatchBuilder::new(Kernel::new("unary").with("SILU", 0).with("RELU", 0).with("ADJOINT", 0));
        step.bind("x", lowering.input(1)).bind("out", lowering.output()).elements(lowering.output_shape().elements());
        lowering.emit(step)
    }

    fn reference(&self, inputs: &[&Tensor], _: &[&[f32]], _: Shape) -> Tensor {
        inputs[1].clone()
    }

    fn probe(&self, _: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        Some(Probe::new(Self, vec![noise(TINY), noise(TINY)]))
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
        let [x, out, coefficients] = operands(inputs)?;
        check(x, out, coefficients)?;
        Ok(x)
    }

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        let (out, model) = (lowering.output_shape(), lowering.input_shape(1));
        let mut step = DispatchBuilder::new(Kernel::new("predict_xstart").with("XSTART", self.predict_xstart));
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

    fn probe(&self, inputs: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        let [x, model] = tiny(inputs.first()?, inputs.get(1)?);
        Some(Probe::new(self.clone(), vec![noise(x), noise(model), step()]))
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

    fn lower(&self, lowering: &mut dyn Lowering) -> Result<()> {
        lowering.in_place(0);
        let (out, model) = (lowering.output_shape(), lowering.input_shape(2));
        let kernel = Kernel::new("sampler_step").with("LEARNED", self.learn_sigma).with("GUIDED", self.guided);
        let mut step = DispatchBuilder::new(kernel);
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

    fn probe(&self, inputs: &[Shape], _: &[&[usize]], _: Shape) -> Option<Probe<Self>> {
        let [x, model] = tiny(inputs.first()?, inputs.get(2)?);
        let mut operands = vec![noise(x), noise(x), noise(model), noise(x), step()];
        operands.extend(self.guided.then(|| noise(x)));
        Some(Probe::new(self.clone(), operands))
    }
}

fn check(x: Shape, out: Shape, coefficients: Shape) -> Result<(), String> {
    ensure(out.with_channels(x.c) == x && out.c >= x.c, || format!("output {out} for {x}"))?;
    ensure(coefficients == Shape::vector(1, COEFFICIENTS), || format!("coefficients {coefficients}"))
}

fn coefficients(tensor: &Tensor) -> StepCoefficients {
    bytemuck::pod_read_unaligned(bytemuck::cast_slice(&tensor.data))
}

/// A small image and a network's output for it, with as many channels or twice as many, as in the real one.
fn tiny(x: &Shape, model: &Shape) -> [Shape; 2] {
    let output = Shape::new(2, 3, 3, 6);
    [output.with_channels(if model.c == 2 * x.c { 3 } else { 6 }), output]
}

/// Coefficients of an ancestral step in the middle of a schedule, clipped and guided.
fn step() -> Operand {
    let coefficients = StepCoefficients {
        model_timestep: 500.0,
        sqrt_recip_bar: 3.6,
        sqrt_recipm1_bar: 3.4,
        coef1: 0.09,
        coef2: 0.85,
        max_log_variance: -1.2,
        min_log_variance: -1.4,
        fixed_log_variance: -1.3,
        sqrt_prev: 0.4,
        ddim_direction: 0.9,
        sigma: 0.0,
        sqrt_one_minus_bar: 0.95,
        index: 5,
        draws_noise: 1,
        timestep: 500,
        ddim: 0,
        clip: 1,
        guidance: 0.7,
    };
    words(bytemuck::cast_slice(&[coefficients]))
}
