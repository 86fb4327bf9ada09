//! The sampling process against the reference's tables, and the steps' coefficients against what they mean.

use std::path::Path;

use guided_diffusion::Error;
use guided_diffusion::config::{DiffusionConfig, NoiseSchedule};
use guided_diffusion::op::sampling::StepCoefficients;
use guided_diffusion::sampler::respace::Respacing;
use guided_diffusion::sampler::schedule::{Method, Schedule, Variance, betas};
use safetensors::SafeTensors;
use serde_json::Value;

fn spec(text: &str) -> Respacing {
    text.parse().expect(text)
}

fn relative_l2(got: &[f64], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let difference = square(&mut got.iter().zip(want).map(|(a, b)| a - f64::from(*b)));
    (difference / square(&mut want.iter().map(|b| f64::from(*b)))).sqrt()
}

#[test]
fn tables_equal_the_reference() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let cases: Value =
        serde_json::from_slice(&std::fs::read(folder.join("cases.json")).expect("cases.json")).expect("valid JSON");
    let bytes = std::fs::read(folder.join("outputs.safetensors")).expect("outputs.safetensors");
    let outputs = SafeTensors::deserialize(&bytes).expect("valid safetensors");
    let (mut count, mut worst) = (0, 0.0f64);
    for case in cases.as_array().expect("a list").iter().filter(|case| case["kind"] == "schedule") {
        let name = case["name"].as_str().expect("a name");
        let schedule = if case["schedule"] == "linear" { NoiseSchedule::Linear } else { NoiseSchedule::Cosine };
        let steps = case["steps"].as_u64().expect("steps") as usize;
        let respacing = spec(case["respacing"].as_str().expect("respacing"));
        let got = Schedule::new(&DiffusionConfig::new(steps, schedule), &respacing).expect(name);
        let want: Vec<usize> = serde_json::from_value(case["timesteps"].clone()).expect("timesteps");
        assert_eq!(got.timesteps, want, "{name}");
        for (table, values) in [
            ("alphas_cumprod", &got.alphas_cumprod),
            ("betas", &got.betas),
            ("posterior_log_variance", &got.posterior_log_variance),
            ("coef1", &got.coef1),
            ("coef2", &got.coef2),
        ] {
            let tensor = outputs.tensor(&format!("schedule/{name}/{table}")).expect(table);
            let want: Vec<f32> =
                tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            let error = relative_l2(values, &want);
            assert!(error <= 1e-6, "{name} {table}: relative L2 error {error:e}");
            worst = worst.max(error);
        }
        count += 1;
    }
    assert_eq!(count, 8, "the fixtures hold eight schedules");
    println!("{count} schedules, worst relative L2 error {worst:e}");
}

#[test]
fn steps_count_down_and_the_last_draws_no_noise() {
    let schedule =
        Schedule::new(&DiffusionConfig::new(1000, NoiseSchedule::Linear), &spec("ddim25")).expect("a schedule");
    for (method, noisy) in
        [(Method::Ancestral, true), (Method::Ddim { eta: 0.0 }, false), (Method::Ddim { eta: 1.0 }, true)]
    {
        let steps = schedule.steps(method, true).expect("steps");
        assert_eq!(steps.iter().map(|s| s.index).collect::<Vec<_>>(), (0..25).rev().collect::<Vec<_>>());
        assert_eq!((steps[0].timestep, steps[0].model_timestep), (960, 960.0));
        for step in &steps {
            assert_eq!(step.draws_noise == 1, noisy && step.index > 0, "{method:?} {}", step.index);
        }
    }
}

/// With the noise known exactly, a deterministic step moves along sqrt(bar) x_0 + sqrt(1 - bar) noise.
#[test]
fn ddim_follows_the_known_noise() {
    for schedule in [NoiseSchedule::Linear, NoiseSchedule::Cosine] {
        let s = Schedule::new(&DiffusionConfig::new(1000, schedule), &spec("ddim25")).expect("a schedule");
        for c in s.steps(Method::Ddim { eta: 0.0 }, true).expect("steps") {
            let (x0, noise) = (0.4f64, -0.7f64);
            let (bar, prev) = (s.alphas_cumprod[c.index as usize], s.alphas_cumprod_prev[c.index as usize]);
            let x = bar.sqrt() * x0 + (1.0 - bar).sqrt() * noise;
            let again = f64::from(c.sqrt_recip_bar) * x - f64::from(c.sqrt_recipm1_bar) * noise;
            assert!((again - x0).abs() < 1e-3 * f64::from(c.sqrt_recip_bar).max(1.0), "{c:?}");
            let next = f64::from(c.sqrt_prev) * x0 + f64::from(c.ddim_direction) * noise;
            assert!((next - (prev.sqrt() * x0 + (1.0 - prev).sqrt() * noise)).abs() < 1e-6, "{c:?}");
        }
    }
}

/// With eta 1, DDIM's step is a draw from the posterior: same mean, same variance.
#[test]
fn ddim_with_eta_1_is_the_posterior() {
    let s = Schedule::new(&DiffusionConfig::new(1000, NoiseSchedule::Cosine), &spec("50")).expect("a schedule");
    for c in s.steps(Method::Ddim { eta: 1.0 }, true).expect("steps") {
        let i = c.index as usize;
        assert!((f64::from(c.sigma).powi(2) - s.posterior_variance[i]).abs() < 1e-6, "{c:?}");
        let eps = |x0: f64, x: f64| (f64::from(c.sqrt_recip_bar) * x - x0) / f64::from(c.sqrt_recipm1_bar);
        for (x0, x) in [(1.0, 0.0), (0.0, 1.0)] {
            let ddim = f64::from(c.sqrt_prev) * x0 + f64::from(c.ddim_direction) * eps(x0, x);
            assert!((ddim - (s.coef1[i] * x0 + s.coef2[i] * x)).abs() < 1e-5, "{c:?}");
        }
    }
}

#[test]
fn fixed_variances() {
    let steps = |config: &DiffusionConfig| -> (Schedule, Vec<StepCoefficients>) {
        let s = Schedule::new(config, &spec("10")).expect("a schedule");
        let steps = s.steps(Method::Ancestral, true).expect("steps");
        (s, steps)
    };
    let mut config = DiffusionConfig::new(1000, NoiseSchedule::Linear);
    assert_eq!(steps(&config).0.variance, Variance::LearnedRange);
    config.learn_sigma = false;
    let (s, large) = steps(&config);
    assert_eq!(s.variance, Variance::FixedLarge);
    for c in &large {
        let i = c.index as usize;
        let want = if i == 0 { s.posterior_variance[1] } else { s.betas[i] };
        assert!((f64::from(c.fixed_log_variance) - want.ln()).abs() < 1e-6);
    }
    config.sigma_small = true;
    let (s, small) = steps(&config);
    assert_eq!(s.variance, Variance::FixedSmall);
    for c in &small {
        let i = c.index as usize;
        assert!((f64::from(c.fixed_log_variance) - s.posterior_variance[i.max(1)].ln()).abs() < 1e-6);
        assert_eq!(c.fixed_log_variance, c.min_log_variance);
    }
}

#[test]
fn rescaled_time_spans_1000() {
    let mut config = DiffusionConfig::new(500, NoiseSchedule::Linear);
    config.rescale_timesteps = true;
    let steps = Schedule::new(&config, &spec("20")).expect("a schedule").steps(Method::Ancestral, true).expect("steps");
    assert_eq!((steps[0].timestep, steps[0].model_timestep), (499, 998.0));
    assert_eq!(steps[19].model_timestep, 0.0);
}

#[test]
fn every_coefficient_is_finite() {
    for (steps, respacing) in [(1000, "1000"), (1000, "2"), (4000, "ddim50"), (21, "21"), (100_000, "ddim100")] {
        for schedule in [NoiseSchedule::Linear, NoiseSchedule::Cosine] {
            let s = Schedule::new(&DiffusionConfig::new(steps, schedule), &spec(respacing)).expect("a schedule");
            for method in [Method::Ancestral, Method::Ddim { eta: 0.5 }, Method::Ddim { eta: 1.0 }] {
                for c in s.steps(method, true).expect("steps") {
                    let floats: &[f32] = bytemuck::cast_slice(&bytemuck::bytes_of(&c)[..48]);
                    assert!(floats.iter().all(|v| v.is_finite()), "{steps} {respacing} {schedule:?} {method:?} {c:?}");
                }
            }
        }
    }
}

#[test]
fn impossible_processes_are_errors() {
    assert!(matches!(betas(NoiseSchedule::Linear, 20), Err(Error::Config(_))));
    assert!(matches!(betas(NoiseSchedule::Cosine, 0), Err(Error::Config(_))));
    assert!(matches!(betas(NoiseSchedule::Cosine, usize::MAX), Err(Error::Config(_))));
    let config = DiffusionConfig::new(1000, NoiseSchedule::Linear);
    for text in ["1", "0,1,0", "ddim60", "2000"] {
        assert!(matches!(Schedule::new(&config, &spec(text)), Err(Error::Options(_))), "{text}");
    }
    let s = Schedule::new(&config, &spec("25")).expect("a schedule");
    for eta in [-0.1, 1.5, f64::NAN, f64::INFINITY] {
        assert!(matches!(s.steps(Method::Ddim { eta }, true), Err(Error::Options(_))), "{eta}");
    }
}
