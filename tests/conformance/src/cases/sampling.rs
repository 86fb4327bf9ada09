//! The sampling loop's ops, at real coefficients of a schedule's ends.

use guided_diffusion::config::{DiffusionConfig, NoiseSchedule};
use guided_diffusion::op::probe::{Operand, noise, words};
use guided_diffusion::op::sampling::StepCoefficients;
use guided_diffusion::op::{DrawNoise, PredictXStart, SamplerStep, StartFromNoise};
use guided_diffusion::sampler::{Method, Respacing, Schedule};
use guided_diffusion::tensor::Shape;
use guided_diffusion::{Error, Result};

use super::Case;

/// The coefficients of step `step` (0 is the noisiest) of ten.
fn coefficients(method: Method, clip: bool, step: usize) -> Result<Operand> {
    let process = DiffusionConfig::new(1000, NoiseSchedule::Linear);
    let steps = Schedule::new(&process, &Respacing::Sections(vec![10]))?.steps(method, clip)?;
    let found = steps.get(step).ok_or_else(|| Error::Options(format!("ten steps have no step {step}")))?;
    let step = StepCoefficients { guidance: 0.7, ..*found };
    Ok(words(bytemuck::cast_slice(&[step])))
}

pub(super) fn cases() -> Result<Vec<Case>> {
    let x = Shape::new(2, 5, 7, 3);
    let mut cases = vec![Case::new("odd elements", StartFromNoise, vec![noise(x), noise(x)], &[])?];
    for (name, key, shape) in [
        ("seed 0", [0, 0, 0, 0], Shape::new(2, 4, 4, 3)),
        ("blocks with a tail, one pixel", [1, 0, 7, 24], Shape::new(3, 1, 1, 1)),
        ("a seed of 64 bits, a late index", [u32::MAX, 0x9ABC_DEF0, u32::MAX - 4, 999], Shape::new(3, 5, 5, 3)),
    ] {
        cases.push(Case::new(name, DrawNoise { shape }, vec![words(&key)], &[])?);
    }
    let (ancestral, ddim) = (Method::Ancestral, Method::Ddim { eta: 0.5 });
    for (name, channels, predict_xstart, clip, step) in [
        ("first step, clipped", 6, false, true, 0),
        ("last step, unclipped", 3, false, false, 9),
        ("x_0 predicted", 6, true, true, 5),
    ] {
        let operands = vec![noise(x), noise(x.with_channels(channels)), coefficients(ancestral, clip, step)?];
        cases.push(Case::new(name, PredictXStart { predict_xstart }, operands, &[])?);
    }
    for learn_sigma in [true, false] {
        for guided in [true, false] {
            for (method, step) in [(ancestral, 0), (ancestral, 9), (ddim, 3), (ddim, 9)] {
                let kind = if method == ancestral { "ancestral" } else { "DDIM" };
                let name = format!("{kind} step {step}, learned sigma: {learn_sigma}, guided: {guided}");
                let model = x.with_channels(if learn_sigma { 6 } else { 3 });
                let mut operands = vec![noise(x), noise(x), noise(model), noise(x), coefficients(method, true, step)?];
                if guided {
                    operands.push(noise(x));
                }
                cases.push(Case::new(name, SamplerStep { learn_sigma, guided }, operands, &[])?);
            }
        }
    }
    Ok(cases)
}
