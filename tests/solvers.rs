//! Samplers, edits and bits per dimension against the float64 reference's fixtures: tables on the host, the rest on every
//! adapter under test. Browsers run the latter too.

mod common;

use common::gpu::conform;
use common::{check_parameters, golden, unet_config};
use conformance::sizes;
use conformance::solvers::{config, edits, settings, whole};
use guided_diffusion::config::{ProcessKind, presets};
use guided_diffusion::sampler::dpm_solver::dpm_indices;
use guided_diffusion::sampler::process::{Process, jumps};
use guided_diffusion::sampler::{Facts, Respacing, Settings};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn cases(kind: &str) -> impl Iterator<Item = (usize, &'static Value)> {
    let kind = kind.to_owned();
    golden().solvers.cases().iter().enumerate().filter(move |(_, case)| case["kind"] == kind.as_str())
}

/// The fixtures hold float64 rounded once to float32, so that equal tables differ by half an ulp of it.
#[test]
fn tables_equal_the_reference() {
    let (mut count, mut failures) = (0, Vec::new());
    for (i, case) in cases("sampler") {
        let (settings, config) = (settings(case), config(case));
        let process = settings.process(&config).unwrap();
        let table = settings.table(&process, edits(case)).unwrap();
        let expected = golden().solvers.expected(i, "table");
        let numbers: Vec<f64> = table.iter().flat_map(|row| row.numbers().into_iter().flatten()).collect();
        let name = golden().solvers.name(i);
        if numbers.len() != expected.len() {
            failures.push(format!("{name}: {} numbers, {} expected", numbers.len(), expected.len()));
            continue;
        }
        // Coefficients that cancel are exact to their largest term, which is about 1.
        let wrong = numbers.iter().zip(&expected).enumerate().find(|(_, (a, e))| {
            (**a - f64::from(**e)).abs() > f64::from(f32::EPSILON) / 2.0 * f64::from(e.abs()) * 1.001 + 1e-12
        });
        if let Some((at, (a, e))) = wrong {
            failures.push(format!("{name}: row {}, number {}: {a} is not {e}", at / 32, at % 32));
        }
        let calls = table.iter().filter(|row| row.calls()).count() as u64;
        let draws = table.iter().filter(|row| row.draws()).count() as u64;
        assert_eq!(
            [calls, table.len() as u64, draws].map(Some),
            ["calls", "rows", "draws"].map(|key| case[key].as_u64())
        );
        // A draw has a place in `next` or in `proj`, and the latter's is of unit variance.
        assert!(table.iter().all(|row| row.proj.0[5] == 0.0 || (row.next.0[5] == 0.0 && row.log_variance == [0.0; 2])));
        count += 1;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    println!("{count} tables");
}

#[test]
fn networks_are_called_as_the_reference_does() {
    for (_, case) in cases("denoise") {
        let config = config(case);
        let process = match config.diffusion.process == ProcessKind::Discrete {
            true => Process::Sigma(whole(&config).unwrap()),
            false => {
                let euler = Settings { sampler: Some("euler".parse().unwrap()), ..Settings::default() };
                euler.process(&config).unwrap()
            }
        };
        for (sigma, want) in case["sigmas"].as_array().unwrap().iter().zip(case["calls"].as_array().unwrap()) {
            let call = process.call(sigma.as_f64().unwrap());
            for (got, want) in [call.time, call.c_in, call.skip, call.out].iter().zip(want.as_array().unwrap()) {
                let want = want.as_f64().unwrap();
                assert!((got - want).abs() <= 1e-12 * want.abs().max(1.0), "{}: {got} is not {want}", case["name"]);
            }
        }
    }
}

#[test]
fn walks_and_indices_equal_the_reference() {
    for (_, case) in cases("walk") {
        let [steps, length, repeats] = ["steps", "length", "repeats"].map(|key| case[key].as_u64().unwrap() as usize);
        let walk: Vec<i64> = jumps(steps, length, repeats).iter().map(|t| t.map_or(-1, |t| t as i64)).collect();
        let text = walk.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        let hash: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(case["sha256"], hash.as_str(), "{}: {text}", case["name"]);
    }
    for (_, case) in cases("dpm_indices") {
        let [steps, n] = ["steps", "n"].map(|key| case[key].as_u64().unwrap() as usize);
        assert_eq!(dpm_indices(steps, n), sizes(&case["indices"]), "{}", case["name"]);
    }
}

/// Tensors cannot tell EDM from consistency models, so that the file's name decides.
#[test]
fn public_consistency_files_are_the_references() {
    for (_, case) in cases("preset") {
        let name = case["name"].as_str().unwrap();
        let config = presets::by_name(name).unwrap().config();
        assert_eq!(config.unet, unet_config(&case["config"]), "{name}");
        let kind = if case["consistency"] == true { ProcessKind::Consistency } else { ProcessKind::Edm };
        assert_eq!(config.diffusion.process, kind, "{name}");
        check_parameters(&config, case);
    }
}

/// scripts/launch.sh of openai/consistency_models.
#[test]
fn public_consistency_models_take_their_published_two_steps() {
    for (name, levels, at) in [
        ("cd_imagenet64_l2", 40, None),
        ("ct_imagenet64", 201, Some(vec![0, 106, 200])),
        ("cd_bedroom256_lpips", 40, Some(vec![0, 17, 39])),
        ("ct_cat256", 151, Some(vec![0, 62, 150])),
    ] {
        let config = presets::by_name(name).unwrap().config();
        let facts = Facts { public: Some(name), ..Facts::new(&config, false) };
        let settled = Settings::default().resolve(&facts).unwrap();
        assert_eq!(
            (settled.steps.clone(), settled.at.clone()),
            (Some(Respacing::Sections(vec![levels])), at),
            "{name}"
        );
        assert_eq!(settled.resolve(&facts).unwrap(), settled);
        // Places of another grid are its own.
        let other = Settings { steps: Some("30".parse().unwrap()), ..Settings::default() }.resolve(&facts).unwrap();
        assert_eq!(other.at, None, "{name}");
    }
}

/// Each case is of a kind that some test here compares.
#[test]
fn no_case_is_left_out() {
    // Of this project's own folder; others have as many as they have.
    if std::env::var_os("SOLVER_FIXTURES").is_none() {
        assert_eq!(golden().solvers.cases().len(), 71);
    }
    let compared = ["sampler", "denoise", "walk", "dpm_indices", "preset", "unet", "bits", "projection"];
    for case in golden().solvers.cases() {
        assert!(compared.iter().any(|kind| case["kind"] == *kind), "{case}");
    }
}

#[test]
fn samples_edits_and_bits_equal_the_reference() {
    conform("solvers", |_| golden().solvers.on_device().len());
}
