//! The sampling process against the reference's tables, and the steps' rows against what they mean.

use std::path::Path;

use guided_diffusion::Error;
use guided_diffusion::config::{DiffusionConfig, NoiseSchedule};
use guided_diffusion::sampler::process::Process;
use guided_diffusion::sampler::respace::Respacing;
use guided_diffusion::sampler::row::{NOISE, Row, X, X0};
use guided_diffusion::sampler::schedule::{Schedule, Variance, betas};
use guided_diffusion::sampler::settings::Settings;
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

fn rows(config: &DiffusionConfig, respacing: &str, sampler: &str, eta: Option<f64>) -> (Schedule, Vec<Row>) {
    let schedule = Schedule::new(config, &spec(respacing)).expect("a schedule");
    let settings = Settings { sampler: Some(sampler.parse().expect("a sampler")), eta, ..Settings::default() };
    let rows = settings.table(&Process::Discrete(schedule.clone()), false).expect("rows");
    (schedule, rows)
}

fn linear() -> DiffusionConfig {
    DiffusionConfig::new(1000, NoiseSchedule::Linear)
}

#[test]
fn steps_count_down_and_the_last_draws_no_noise() {
    for (sampler, eta, noisy) in [("ancestral", None, true), ("ddim", Some(0.0), false), ("ddim", Some(1.0), true)] {
        let (_, rows) = rows(&linear(), "ddim25", sampler, eta);
        let times: Vec<f64> = rows.iter().map(|row| row.call.time).collect();
        assert_eq!(times, (0..25).rev().map(|i| f64::from(40 * i)).collect::<Vec<_>>());
        for (i, row) in rows.iter().enumerate() {
            assert_eq!(row.draws(), noisy && i < 24, "{sampler} {i}");
        }
    }
}

/// With the noise known exactly, a deterministic step moves along sqrt(bar) x_0 + sqrt(1 - bar) noise.
#[test]
fn ddim_follows_the_known_noise() {
    for schedule in [NoiseSchedule::Linear, NoiseSchedule::Cosine] {
        let (s, rows) = rows(&DiffusionConfig::new(1000, schedule), "ddim25", "ddim", Some(0.0));
        for (i, row) in (0..).zip(rows.iter().rev()) {
            let (x0, noise) = (0.4f64, -0.7f64);
            let (bar, prev) = (s.alphas_cumprod[i], s.alphas_cumprod_prev[i]);
            let x = bar.sqrt() * x0 + (1.0 - bar).sqrt() * noise;
            let again = row.call.skip * x + row.call.out * noise;
            assert!((again - x0).abs() < 1e-9 * row.call.skip, "{row:?}");
            let next = row.next.of(X) * x + row.next.of(X0) * x0;
            assert!((next - (prev.sqrt() * x0 + (1.0 - prev).sqrt() * noise)).abs() < 1e-9, "{row:?}");
        }
    }
}

/// With eta 1, DDIM's step is a draw from the posterior: same mean, same variance.
#[test]
fn ddim_with_eta_1_is_the_posterior() {
    let (s, rows) = rows(&DiffusionConfig::new(1000, NoiseSchedule::Cosine), "50", "ddim", Some(1.0));
    for (i, row) in (0..).zip(rows.iter().rev()) {
        assert!((row.next.of(NOISE).powi(2) - s.posterior_variance[i]).abs() < 1e-9, "{row:?}");
        assert!((row.next.of(X0) - s.coef1[i]).abs() < 1e-9 && (row.next.of(X) - s.coef2[i]).abs() < 1e-9, "{row:?}");
    }
}

#[test]
fn fixed_variances() {
    let mut config = linear();
    assert_eq!(rows(&config, "10", "ancestral", None).0.variance, Variance::LearnedRange);
    config.learn_sigma = false;
    for small in [false, true] {
        config.sigma_small = small;
        let (s, rows) = rows(&config, "10", "ancestral", None);
        assert_eq!(s.variance, if small { Variance::FixedSmall } else { Variance::FixedLarge });
        for (i, row) in (0..).zip(rows.iter().rev()) {
            let want = if i == 0 || small { s.posterior_variance[i.max(1)] } else { s.betas[i] };
            assert!(row.log_variance.iter().all(|v| (v - want.ln()).abs() < 1e-12), "{row:?}");
        }
    }
}

#[test]
fn rescaled_time_spans_1000() {
    let mut config = DiffusionConfig::new(500, NoiseSchedule::Linear);
    config.rescale_timesteps = true;
    let (s, rows) = rows(&config, "20", "ancestral", None);
    assert_eq!((s.timesteps[19], rows[0].call.time, rows[19].call.time), (499, 998.0, 0.0));
}

#[test]
fn every_number_of_a_row_is_finite() {
    for (steps, respacing) in [(1000, "1000"), (1000, "2"), (4000, "ddim50"), (21, "21"), (100_000, "ddim100")] {
        for schedule in [NoiseSchedule::Linear, NoiseSchedule::Cosine] {
            for (sampler, eta) in [("ancestral", None), ("ddim", Some(0.5)), ("ddim", Some(1.0))] {
                for row in rows(&DiffusionConfig::new(steps, schedule), respacing, sampler, eta).1 {
                    let numbers = row.numbers();
                    assert!(
                        numbers.as_flattened().iter().all(|v| (*v as f32).is_finite()),
                        "{steps} {respacing} {row:?}"
                    );
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
    for text in ["1", "0,1,0", "ddim60", "2000"] {
        assert!(matches!(Schedule::new(&linear(), &spec(text)), Err(Error::Options(_))), "{text}");
    }
}
