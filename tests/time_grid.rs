//! What a model's file says of few steps: searched time grids, by the library and by the program; the few steps
//! that suit a file; and the class that guides where no classifier does.

mod common;

use std::ops::ControlFlow;

use common::gpu::{gpus, on_each, relative_l2};
use common::runs::{load, options, refusal};
use conformance::tiny;
use guided_diffusion::config::{FewStep, Flags, ModelConfig, ProcessKind, Role, TimeGrids, descends};
use guided_diffusion::run::SampleOptions;
use guided_diffusion::sampler::{Facts, Sampler, Settings};
use guided_diffusion::time_grid::Teacher;
use guided_diffusion::{Checkpoint, Error, Session, SessionOptions};
use pollster::block_on;
use serde_json::{Value, json};

#[test]
fn a_searched_grid_comes_nearer_to_the_teacher_and_is_the_default() {
    let gpu = &gpus()[0];
    let config = tiny(Role::Diffusion);
    let mut session = load(gpu, &config, 2);
    let mut evaluations = Vec::new();
    let teacher = block_on(Teacher::new(&mut session, 3, 5, |done, total| {
        evaluations.push((done, total));
        ControlFlow::Continue(())
    }))
    .unwrap();
    assert_eq!(evaluations, (1..=120).map(|done| (done, 120)).collect::<Vec<_>>());
    let found = block_on(teacher.grid(&mut session, 5, || ControlFlow::Continue(()))).unwrap();
    assert!(found.distance <= found.own_distance && found.own_distance < 1.0, "{found:?}");
    assert!(
        (found.grid.len(), found.grid[0]) == (5, 999.0) && descends(&found.grid, ProcessKind::Discrete),
        "{found:?}"
    );
    for steps in [1, 31] {
        let message = block_on(teacher.grid(&mut session, steps, || ControlFlow::Break(()))).unwrap_err().to_string();
        assert!(message.contains("give 2 to 30"), "{message}");
    }
    let stopped = block_on(teacher.grid(&mut session, 5, || ControlFlow::Break(()))).unwrap_err();
    assert!(matches!(stopped, Error::Io { .. }), "{stopped}");
    let stopped = block_on(Teacher::new(&mut session, 3, 5, |_, _| ControlFlow::Break(()))).unwrap_err();
    assert!(matches!(stopped, Error::Io { .. }), "{stopped}");

    // As a file with this grid has it.
    let config = ModelConfig { grids: [(5, found.grid.clone())].into(), ..config };
    let settle = |settings: Settings, guided| settings.resolve(&Facts::new(&config, guided)).unwrap();
    let named = |name: &str, steps: &str| Settings {
        sampler: Some(name.parse().unwrap()),
        steps: Some(steps.parse().unwrap()),
        ..Settings::default()
    };
    for settings in [Settings::default(), named("dpm++3m", "5"), named("ipndm", "5"), named("heun", "5")] {
        let settled = settle(settings, false);
        assert_eq!((settled.grid.as_ref(), settled.steps), (Some(&found.grid), Some("5".parse().unwrap())));
    }
    for settings in [named("dpm++2m", "6"), named("ddim", "5"), named("ancestral", "5")] {
        assert_eq!(settle(settings, false).grid, None);
    }
    // A grid that is given comes before it.
    assert_eq!(settle(Settings { grid: Some(vec![9.0]), ..named("dpm++2m", "5") }, false).grid, Some(vec![9.0]));
    // Nor is it taken where the sampler's own times are asked for.
    let own = settle(Settings { grid: Some(Vec::new()), ..named("dpm++2m", "5") }, false);
    assert_eq!((own.times(), own.steps.clone()), (None, Some("5".parse().unwrap())));
    assert_eq!(own.resolve(&Facts::new(&config, false)).unwrap(), own);
    // What guides was not there when it was searched.
    assert_eq!(settle(Settings::default(), true).sampler, Some(Sampler::ddim()));
    let guided = |steps: &str| {
        let settled = settle(Settings { steps: Some(steps.parse().unwrap()), ..Settings::default() }, true);
        (settled.sampler.unwrap().name(), settled.steps.unwrap().to_string())
    };
    assert_eq!([guided("30"), guided("250")], [("ddim", "ddim30".into()), ("ancestral", "250".into())]);
    for wrong in [vec![5.0, 9.0], vec![1000.0, 5.0], vec![9.5, 5.0], vec![9.0]] {
        let config = ModelConfig { grids: [(2, wrong)].into(), ..config.clone() };
        let message = ModelConfig::from_metadata(&config.to_metadata().unwrap()).unwrap_err().to_string();
        assert!(message.contains("2 timesteps of its process, descending"), "{message}");
    }
}

/// The program searches and keeps grids, and samples by them.
#[cfg(feature = "cli")]
#[test]
fn the_program_keeps_grids_in_the_file() {
    let folder = common::tiny::models("grids");
    common::tiny::write_of_noise_levels(&folder, "edm.safetensors", ProcessKind::Edm);
    let json = |words: &[&str]| -> Value { serde_json::from_str(&folder.ok(words)).unwrap() };
    for (file, process, sampler) in
        [("base.safetensors", ProcessKind::Discrete, "dpm++2m"), ("edm.safetensors", ProcessKind::Edm, "ipndm")]
    {
        // Whatever is wrong is said before the search, which would be lost.
        for wrong in ["3,99", "1"] {
            let message = folder.refused(2, &["grid", file, "--steps", wrong]);
            assert!(message.contains("2..=30"), "{message}");
        }
        let search =
            ["grid", file, "--steps", "3,4", "--images", "3", "--batch", "2", "--out", "out.safetensors", "--json"];
        let report = json(&search);
        let kept = Checkpoint::open(folder.join("out.safetensors")).unwrap().config(&Flags::default()).unwrap().config;
        for (k, steps) in [3, 4].into_iter().enumerate() {
            let found = &report["grids"][k]["found"];
            let grid: Vec<f64> = serde_json::from_value(found["grid"].clone()).unwrap();
            assert!(grid.len() == steps && descends(&grid, process), "{found}");
            assert!(found["distance"].as_f64() <= found["own_distance"].as_f64(), "{found}");
            assert_eq!(kept.grids.get(&steps), Some(&grid));
        }
        let line = ["sample", "--model", "out.safetensors", "--class", "3", "--count", "1", "--sampler", sampler];
        let made = json(&[&line[..], &["--steps", "3", "--out", "a.png", "--json"]].concat());
        assert_eq!((&made["evaluations"], &made["grid"]), (&json!(3), &report["grids"][0]["found"]["grid"]), "{made}");
        std::fs::remove_file(folder.join("out.safetensors")).unwrap();
    }
}

#[test]
fn the_few_steps_that_a_file_names_are_its_default() {
    let few =
        |sampler: &str, timesteps: &[u32]| Some(FewStep { sampler: sampler.into(), timesteps: timesteps.to_vec() });
    let config = ModelConfig { few_step: few("ddim", &[960, 640, 320]), ..tiny(Role::Diffusion) };
    let again = ModelConfig::from_metadata(&config.to_metadata().unwrap()).unwrap();
    assert_eq!(again, config);
    let facts = Facts::new(&config, false);
    let resolved = Settings::default().resolve(&facts).unwrap();
    assert_eq!((resolved.sampler, resolved.grid.clone()), (Some(Sampler::ddim()), Some(vec![960.0, 640.0, 320.0])));
    assert_eq!(resolved.resolve(&facts).unwrap(), resolved);
    for own in [
        r#"{"steps": 10, "seed": 0}"#,
        r#"{"sampler": "dpm++2m", "seed": 0}"#,
        r#"{"grid": [500], "sampler": "ddim", "seed": 0}"#,
        r#"{"grid": [], "seed": 0}"#,
    ] {
        let own: Settings = serde_json::from_str(own).unwrap();
        assert_ne!(own.resolve(&facts).unwrap().grid, resolved.grid, "what is asked for comes first");
    }
    // The shortest grid is the default only of a file without `few_step`; otherwise a grid is used where its number of steps is asked for.
    let grids = TimeGrids::from([(2, vec![960.0, 640.0])]);
    let [with, without] = [config.few_step.clone(), None].map(|few_step| ModelConfig {
        few_step,
        grids: grids.clone(),
        ..config.clone()
    });
    let steps = |config: &ModelConfig, asked: &str| {
        let asked: Settings = serde_json::from_str(asked).unwrap();
        let resolved = asked.resolve(&Facts::new(config, false)).unwrap();
        (resolved.steps.unwrap().count(), resolved.grid)
    };
    let two = (2, Some(vec![960.0, 640.0]));
    let (asked, unasked) = (r#"{"sampler": "dpm++2m", "steps": 2, "seed": 0}"#, r#"{"sampler": "dpm++2m", "seed": 0}"#);
    assert_eq!(
        [steps(&with, asked), steps(&without, asked), steps(&without, unasked)],
        [two.clone(), two.clone(), two]
    );
    assert!(steps(&with, unasked).0 > 2);
    for (wrong, null) in
        [(few("ddim", &[320, 640]), None), (few("ddim", &[1000]), None), (few("ddim", &[]), None), (None, Some(10))]
    {
        assert!(ModelConfig { few_step: wrong, null_class: null, ..config.clone() }.validate().is_err());
    }
    let unknown = ModelConfig { few_step: few("dimm", &[960]), ..config.clone() };
    let message = Settings::default().resolve(&Facts::new(&unknown, false)).unwrap_err().to_string();
    assert!(message.contains("few_step") && message.contains("dimm"), "{message}");
    // A session is refused, whatever its runs would ask for.
    let unfit = ModelConfig { few_step: few("onestep", &[960]), ..config.clone() };
    for config in [unknown, unfit] {
        let made = block_on(Session::prepare(&gpus()[0], &config, None, &SessionOptions::default())).map(|_| ());
        let message = made.unwrap_err().to_string();
        assert!(message.contains("few_step: sampler"), "{message}");
    }
}

/// Classifier-free guidance on one ddim step to x_0, so that the image is what is predicted: u + S (c - u).
#[test]
fn a_null_class_guides_without_a_classifier() {
    on_each(|gpu| {
        let config = ModelConfig { null_class: Some(9), ..tiny(Role::Diffusion) };
        let mut session = load(gpu, &config, 2);
        let mut make = |label: u32, guidance: Option<f64>, grid: &[f64]| {
            let settings = Settings {
                sampler: Some(Sampler::ddim()),
                grid: Some(grid.to_vec()),
                clip_denoised: Some(false),
                guidance,
                guidance_interval: guidance.map(|_| [300, 999]),
                seed: 77,
                ..Settings::default()
            };
            let run = session.sample(SampleOptions { labels: vec![label; 2], settings, ..options(0, 2) }).unwrap();
            (run.evaluations(), block_on(run.finish()).unwrap())
        };
        let (one, conditional) = make(4, None, &[500.0]);
        let (plain, same) = make(4, Some(1.0), &[500.0]);
        let (two, guided) = make(4, Some(3.0), &[500.0]);
        let (_, unconditional) = make(9, None, &[500.0]);
        assert_eq!((one, plain, two), (1, 1, 2));
        assert_eq!(conditional, same);
        let pairs = conditional.data().iter().zip(unconditional.data());
        let expected: Vec<f32> = pairs.map(|(c, u)| u + 3.0 * (c - u)).collect();
        // Rounding of three terms of the same size.
        assert!(relative_l2(guided.data(), &expected) < 1e-5);
        assert!(relative_l2(guided.data(), conditional.data()) > 1e-3, "it changes the image");
        // Below the interval a step is evaluated once.
        assert_eq!(make(4, Some(3.0), &[500.0, 200.0]).0, 3);
    });
    let gpu = &gpus()[0];
    let mut session = load(gpu, &tiny(Role::Diffusion), 2);
    let settings = Settings { guidance: Some(2.0), ..options(0, 2).settings };
    let message = refusal(&mut session, SampleOptions { settings, ..options(0, 2) });
    assert!(message.contains("null class"), "{message}");
}
