//! Bits per dimension: the variational bound on an image's negative log likelihood (Nichol & Dhariwal 2021, and the public
//! scripts/image_nll.py), from one network evaluation per index of the process.
//!
//! With q the forward process, p the model's reverse step and D the mean over an image's values:
//!
//! ```text
//! vb_i  = D KL(q(x_{i-1} | x_i, x_0) || p(x_{i-1} | x_i)) / ln 2             for i > 0
//! vb_0  = -D log2 p(x_0's 8-bit values | x_1)
//! prior = D KL(q(x_T | x_0) || N(0, 1)) / ln 2
//! total = sum of vb + prior
//! ```

use std::f64::consts::{LN_2, PI};
use std::ops::ControlFlow;

use crate::error::{Error, Result, go_or_stop};
use crate::model::sampling::ports;
use crate::run::SampleOptions;
use crate::sampler::process::Process;
use crate::sampler::row::{KNOWN, NOISE, Row, X};
use crate::sampler::{Edit, Sampler, Settings};
use crate::session::Session;

/// Bits per dimension of a batch. Lists over steps begin with the noisiest.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Bits {
    /// Per image: all of it.
    pub total: Vec<f64>,
    /// Per image: the part of the process's noisy end.
    pub prior: Vec<f64>,
    /// Per image and step: the bound's terms.
    pub vb: Vec<Vec<f64>>,
    /// Per image and step: the mean squared error of the predicted x_0.
    pub xstart_mse: Vec<Vec<f64>>,
    /// Per image and step: that of the predicted noise.
    pub mse: Vec<Vec<f64>>,
}

impl Bits {
    /// Adds those of another batch.
    pub fn append(&mut self, other: Self) {
        self.total.extend(other.total);
        self.prior.extend(other.prior);
        self.vb.extend(other.vb);
        self.xstart_mse.extend(other.xstart_mse);
        self.mse.extend(other.mse);
    }
}

/// Bits per dimension of the images in `options.edit`, at the steps of an ancestral run of `options`. Draws count down to 1,
/// for the cleanest step. `progress` is called after each step, and may stop the work.
///
/// # Errors
/// [`Error::Options`] without images, or for a model without a discrete process; [`Error::NotFinite`] where the network gives
/// infinities or NaN; a lost device; [`Error::Io`] of the kind `Interrupted` where it was stopped.
pub async fn bits_per_dimension(
    session: &mut Session,
    options: SampleOptions,
    mut progress: impl FnMut() -> ControlFlow<()>,
) -> Result<Bits> {
    let Some(Edit { known, .. }) = options.edit.clone() else {
        return Err(Error::Options("bits per dimension need images".into()));
    };
    let settings = Settings { sampler: Some(Sampler::ancestral()), strength: Some(1.0), ..options.settings.clone() };
    let learned = session.config().diffusion.learn_sigma;
    let mut run = session.sample(SampleOptions { settings, ..options })?;
    let process = run.settings().process(run.config())?;
    let Process::Discrete(schedule) = &process else {
        return Err(Error::Options("bits per dimension need a discrete process; this model has none".into()));
    };
    let clip = run.settings().clips();
    let (count, channels) = (known.count(), known.channels());
    let size = known.data().len() / count.max(1);
    let mut bits = Bits::default();
    let per_image = |values: &dyn Fn(usize) -> f64| -> Vec<f64> {
        (0..count).map(|n| (n * size..(n + 1) * size).map(values).sum::<f64>() / size as f64).collect()
    };
    let x_0 = |k: usize| f64::from(known.data()[k]);
    let mut steps = Vec::with_capacity(schedule.len());
    for i in (0..schedule.len()).rev() {
        let bar = schedule.alphas_cumprod[i];
        run.apply(&Row::of(bar.sqrt() * KNOWN + (1.0 - bar).sqrt() * NOISE), Some(i as u32 + 1)).await?;
        run.apply(&Row::call(schedule.unguided_call(i), clip, X), None).await?;
        let program = run.program();
        let noise = program.read(ports::NOISE).await?;
        let (x, out, x_start) =
            (program.read(ports::X).await?, program.read(ports::OUT).await?, program.read(ports::X_START).await?);
        if [&out, &x_start].iter().any(|values| values.iter().any(|v| !v.is_finite())) {
            return Err(Error::NotFinite(format!(
                "the network's output at step {i} holds infinities or NaN: the file's weights are damaged, its activations exceed \
                 the precision's range (use precision f32), or the driver is broken"
            )));
        }
        let at = |k: usize| f64::from(x_start[k]);
        let log_variance = |k: usize| {
            let [low, high] = schedule.log_variance(i);
            if !learned {
                return low;
            }
            let v = f64::from(out[k / channels * 2 * channels + channels + k % channels]);
            low + (high - low) * (v + 1.0) / 2.0
        };
        let vb = |k: usize| match i {
            0 => {
                let mean = schedule.coef1[0] * at(k) + schedule.coef2[0] * f64::from(x[k]);
                bits_of_byte(x_0(k), mean, log_variance(k) / 2.0)
            }
            _ => {
                let difference = schedule.coef1[i] * (x_0(k) - at(k));
                normal_kl(difference, schedule.posterior_log_variance[i], log_variance(k)) / LN_2
            }
        };
        let noise_error = |k: usize| {
            let implied = ((1.0 / bar).sqrt() * f64::from(x[k]) - at(k)) / (1.0 / bar - 1.0).sqrt();
            (implied - f64::from(noise[k])).powi(2)
        };
        go_or_stop("bits per dimension", progress())?;
        steps.push([per_image(&vb), per_image(&|k| (at(k) - x_0(k)).powi(2)), per_image(&noise_error)]);
    }
    let last = schedule.alphas_cumprod.last().copied().unwrap_or(1.0);
    bits.prior = per_image(&|k| normal_kl(last.sqrt() * x_0(k), (1.0 - last).ln(), 0.0) / LN_2);
    let column = |what: usize| (0..count).map(|n| steps.iter().map(|step| step[what][n]).collect()).collect();
    (bits.vb, bits.xstart_mse, bits.mse) = (column(0), column(1), column(2));
    bits.total = bits.vb.iter().zip(&bits.prior).map(|(vb, prior)| vb.iter().sum::<f64>() + prior).collect();
    Ok(bits)
}

/// KL divergence of two normals whose means differ by so much, in nats.
fn normal_kl(difference: f64, log_variance1: f64, log_variance2: f64) -> f64 {
    let ratio = (log_variance1 - log_variance2).exp();
    0.5 * (log_variance2 - log_variance1 - 1.0 + ratio + difference * difference * (-log_variance2).exp())
}

/// -log2 of a normal's mass in x's 8-bit cell, x +- 1/255 (open at -1 and 1), by the tanh approximation of the normal
/// distribution function; masses are cut at 1e-12.
fn bits_of_byte(x: f64, mean: f64, log_deviation: f64) -> f64 {
    let scale = (-log_deviation).exp();
    let cdf = |z: f64| (1.0 + ((2.0 / PI).sqrt() * (z + 0.044715 * z.powi(3))).tanh()) / 2.0;
    let (above, below) = (cdf((x - mean + 1.0 / 255.0) * scale), cdf((x - mean - 1.0 / 255.0) * scale));
    let mass = match x {
        x if x < -0.999 => above,
        x if x > 0.999 => 1.0 - below,
        _ => above - below,
    };
    -mass.max(1e-12).log2()
}
