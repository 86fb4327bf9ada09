//! The sampling loop through the public API: what a run promises about seeds, batches, shards, pipelines, cancelling, lost
//! devices and wrong options. On every adapter under test; tests/golden.rs has the golden samples.

mod common;

use std::ops::ControlFlow;
use std::sync::Arc;

use common::gpu::{adapters, gpus, on_each, open, relative_l2};
use common::{cases_of, model_config, synth};
use guided_diffusion::config::{
    DiffusionConfig, FewStep, ModelConfig, NoiseSchedule, ProcessKind, Role, UNetConfig, descends,
};
use guided_diffusion::run::{Noise, Preview, Run, SampleOptions};
use guided_diffusion::sampler::{Edit, Facts, Sampler, Settings};
use guided_diffusion::time_grid::Teacher;
use guided_diffusion::{Checkpoint, Error, Gpu, Images, Session, SessionOptions};
use pollster::block_on;

/// Batches of different sizes take different kernels, whose sums have other orders.
const BATCH: f64 = 2e-5;

/// A network of one level, conditional on ten classes: a step costs little, and every segment is there.
fn small(role: Role) -> ModelConfig {
    let upsampler = role == Role::Upsampler;
    ModelConfig::new(
        role,
        UNetConfig {
            image_size: 8,
            in_channels: if upsampler { 6 } else { 3 },
            model_channels: 32,
            out_channels: 6,
            num_res_blocks: 1,
            channel_mult: vec![1.0, 1.0],
            attention_resolutions: vec![4],
            num_classes: 10,
            num_heads: 2,
            num_head_channels: 0,
            resblock_updown: true,
            use_scale_shift_norm: true,
            use_new_attention_order: false,
            pool: None,
            attention_conv2d: false,
        },
        DiffusionConfig::new(1000, NoiseSchedule::Linear),
    )
}

fn load(gpu: &Arc<Gpu>, config: &ModelConfig, batch: usize) -> Session {
    let checkpoint = Checkpoint::synthetic(config, 3).unwrap();
    block_on(Session::load(gpu, &checkpoint, config, &SessionOptions { batch, ..SessionOptions::default() })).unwrap()
}

/// Four ancestral steps of images `first` to `first + count`.
fn options(first: u32, count: usize) -> SampleOptions {
    SampleOptions {
        count,
        labels: (0..count as u32).map(|i| (first + i) * 3 % 10).collect(),
        settings: Settings {
            sampler: Some(Sampler::ancestral()),
            steps: Some("4".parse().unwrap()),
            seed: 77,
            ..Settings::default()
        },
        first_index: first,
        ..SampleOptions::default()
    }
}

fn sample(session: &mut Session, options: SampleOptions) -> Images {
    block_on(async { session.sample(options)?.finish().await }).unwrap()
}

/// A message of a run that must not start.
fn refusal(session: &mut Session, options: SampleOptions) -> String {
    match session.sample(options) {
        Err(Error::Options(message)) => message,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("the run was accepted"),
    }
}

#[test]
fn an_image_depends_on_its_seed_and_index_alone() {
    on_each(|gpu| {
        let config = small(Role::Diffusion);
        let mut eight = load(gpu, &config, 8);
        let whole = sample(&mut eight, options(0, 8));
        assert_eq!(whole.first_not_finite(), None);
        assert_eq!(sample(&mut eight, options(0, 8)).data(), whole.data(), "the same seed twice");
        let other = sample(
            &mut eight,
            SampleOptions { settings: Settings { seed: 78, ..options(0, 8).settings }, ..options(0, 8) },
        );
        assert!(relative_l2(other.data(), whole.data()) > 0.1, "another seed");
        // A run that does not fill its batch.
        let few = sample(&mut eight, options(2, 3));
        assert_eq!(few.count(), 3);
        assert_eq!(few.data(), &whole.data()[2 * 8 * 8 * 3..][..few.data().len()], "a part of a batch");

        let mut four = load(gpu, &config, 4);
        let mut shards = sample(&mut four, options(0, 4));
        shards.append(&sample(&mut four, options(4, 4))).unwrap();
        let shards = relative_l2(shards.data(), whole.data());

        let mut one = load(gpu, &config, 1);
        let singles: Vec<f32> = (0..8).flat_map(|i| sample(&mut one, options(i, 1)).data().to_vec()).collect();
        let singles = relative_l2(&singles, whole.data());
        println!("{:<50} two shards {shards:.2e}, eight singles {singles:.2e}", gpu.summary().name);
        assert!(shards <= BATCH && singles <= BATCH);
    });
}

/// None waits for what only another's polling would bring.
#[test]
fn threads_that_share_a_device_make_the_same_images() {
    on_each(|gpu| {
        let config = small(Role::Diffusion);
        let expected = sample(&mut load(gpu, &config, 2), options(0, 2));
        std::thread::scope(|scope| {
            let threads = [(); 3].map(|()| {
                scope.spawn(|| {
                    let mut session = load(gpu, &config, 2);
                    (0..4).map(|_| sample(&mut session, options(0, 2))).collect::<Vec<_>>()
                })
            });
            for images in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
                assert_eq!(images.data(), expected.data());
            }
        });
    });
}

#[test]
fn a_second_run_compiles_nothing_and_a_dropped_one_does_no_harm() {
    // A device of its own: other tests compile on the shared ones meanwhile.
    let gpu = open(&adapters()[0]);
    let mut session = load(&gpu, &small(Role::Diffusion), 2);
    let created = gpu.pipelines_created();
    let first = sample(&mut session, options(0, 2));

    let mut run = session.sample(options(5, 2)).unwrap();
    assert_eq!(run.evaluations(), 4);
    assert!(matches!(block_on(run.preview()), Err(Error::Options(_))), "no preview before the first step");
    let info = block_on(run.step()).unwrap().unwrap();
    assert_eq!((info.done, info.total, info.timestep), (1, 4, 999.0));
    let preview = block_on(run.preview()).unwrap();
    assert_eq!((preview.count(), preview.first_not_finite()), (2, None));
    drop(run);

    assert_eq!(sample(&mut session, options(0, 2)).data(), first.data(), "after a cancelled run");
    let mut previewed = session.sample(options(0, 2)).unwrap();
    let mut previews = Vec::new();
    while block_on(previewed.step()).unwrap().is_some() {
        previews.push(block_on(previewed.preview()).unwrap());
    }
    assert_eq!(block_on(previewed.finish()).unwrap().data(), first.data(), "previews change nothing");
    // The same previews while the run goes on: each is of its own step, whenever it is fetched.
    let mut previewed = session.sample(options(0, 2)).unwrap();
    let mut pending = Vec::new();
    while block_on(previewed.step()).unwrap().is_some() {
        pending.push(previewed.start_preview().unwrap());
    }
    block_on(gpu.finish()).unwrap();
    assert!(pending.iter().all(Preview::is_ready), "all were submitted");
    for (pending, preview) in pending.into_iter().zip(&previews) {
        assert_eq!(block_on(pending.images()).unwrap().data(), preview.data());
    }
    assert_eq!(block_on(previewed.finish()).unwrap().data(), first.data(), "nor do those");
    assert_eq!(gpu.pipelines_created(), created, "runs compile nothing");
    let mut second = load(&gpu, &small(Role::Diffusion), 2);
    assert_eq!(sample(&mut second, options(0, 2)).data(), first.data());
    assert_eq!(gpu.pipelines_created(), created, "nor does a second session of the same plan");
}

/// A grey ramp as large as the small network's images, twice, known but for its right half.
fn ramp() -> (Images, Images) {
    let pixels = |channels: usize, value: fn(usize) -> f32| {
        let data = (0..2 * 64 * channels).map(|i| value(i / channels % 64)).collect();
        Images::new(2, 8, 8, channels, data).unwrap()
    };
    (pixels(3, |i| i as f32 / 63.0 - 0.5), pixels(1, |i| if i % 8 < 4 { 1.0 } else { 0.0 }))
}

#[test]
fn one_session_serves_every_sampler_and_edit_without_another_pipeline_or_buffer() {
    let gpu = open(&adapters()[0]);
    let mut session = load(&gpu, &small(Role::Diffusion), 2);
    sample(&mut session, options(0, 2));
    let created = (gpu.pipelines_created(), gpu.buffers_created());
    let (known, mask) = ramp();
    let mut outcomes: Vec<Images> = Vec::new();
    for (sampler, steps, evaluations) in [
        ("ancestral", "4", 4),
        ("ddim", "ddim5", 5),
        ("dpm++2m", "6", 6),
        ("dpm++3m", "7", 7),
        ("ipndm", "5", 5),
        ("euler", "3", 3),
        ("euler_ancestral", "4", 4),
        ("heun", "3", 5),
        ("dpm", "2", 4),
        ("repaint", "12", 102),
        ("ddnm", "5", 5),
        ("invert", "5", 5),
    ] {
        let sampler: Sampler = sampler.parse().unwrap();
        let settings = Settings { sampler: Some(sampler), steps: Some(steps.parse().unwrap()), ..Settings::default() };
        let masked = ["repaint", "ddnm"].contains(&sampler.name());
        let edit = Edit { mask: masked.then(|| mask.clone()), ..Edit::of(known.clone()) };
        let options = SampleOptions {
            settings: Settings { seed: 77, ..settings.clone() },
            edit: (!sampler.is_free()).then(|| edit.clone()),
            ..options(0, 2)
        };
        let run = session.sample(options).unwrap();
        assert_eq!(run.evaluations(), evaluations, "{sampler}");
        let mut images = block_on(run.finish()).unwrap();
        assert_eq!(images.first_not_finite(), None, "{sampler}");
        if masked {
            let before = images.clone();
            edit.restore(&mut images);
            for ((now, was), (known, shown)) in images
                .data()
                .iter()
                .zip(before.data())
                .zip(known.data().iter().zip(mask.data().iter().flat_map(|m| [m; 3])))
            {
                assert_eq!(now, if *shown == 1.0 { known } else { was });
            }
        }
        outcomes.push(images);
        if sampler.takes("strength") {
            // Half of the steps, from the ramp.
            let settings = Settings { strength: Some(0.5), seed: 77, ..settings };
            let options = SampleOptions { settings, edit: Some(Edit::of(known.clone())), ..self::options(0, 2) };
            let run = session.sample(options).unwrap();
            assert!((1..evaluations).contains(&run.evaluations()), "{sampler}");
            outcomes.push(block_on(run.finish()).unwrap());
        }
    }
    let thresholded = Settings { threshold: Some(true), ..options(0, 2).settings };
    outcomes.push(sample(&mut session, SampleOptions { settings: thresholded, ..options(0, 2) }));
    for (i, a) in outcomes.iter().enumerate() {
        assert!(outcomes[..i].iter().all(|b| relative_l2(a.data(), b.data()) > 1e-3), "outcome {i} is that of another");
    }
    assert_eq!((gpu.pipelines_created(), gpu.buffers_created()), created);
}

/// Classifier-free guidance on one ddim step to x_0, so that the image is what is predicted: u + S (c - u).
#[test]
fn a_null_class_guides_without_a_classifier() {
    on_each(|gpu| {
        let config = ModelConfig { null_class: Some(9), ..small(Role::Diffusion) };
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
    let mut session = load(gpu, &small(Role::Diffusion), 2);
    let settings = Settings { guidance: Some(2.0), ..options(0, 2).settings };
    let message = refusal(&mut session, SampleOptions { settings, ..options(0, 2) });
    assert!(message.contains("null class"), "{message}");
}

#[test]
fn a_distilled_model_steps_as_it_was_trained() {
    let few =
        |sampler: &str, timesteps: &[u32]| Some(FewStep { sampler: sampler.into(), timesteps: timesteps.to_vec() });
    let config = ModelConfig { few_step: few("ddim", &[960, 640, 320]), ..small(Role::Diffusion) };
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

#[test]
fn impossible_edits_are_refused() {
    let gpu = &gpus()[0];
    let mut session = load(gpu, &small(Role::Diffusion), 2);
    let (known, mask) = ramp();
    let edit = || Edit { mask: Some(mask.clone()), ..Edit::of(known.clone()) };
    let named = |name: &str| Settings { sampler: Some(name.parse().unwrap()), ..Settings::default() };
    let grey = Images::new(2, 8, 8, 3, mask.data().iter().flat_map(|m| [m * 0.5; 3]).collect()).unwrap();
    for (settings, edit, said) in [
        (named("repaint"), None, "needs a given image"),
        (named("ddim"), Some(edit()), "edits no picture"),
        (Settings { strength: Some(0.5), ..named("ddim") }, None, "needs a given image"),
        (Settings { strength: Some(0.0), ..named("ddim") }, Some(Edit::of(known.clone())), "leaves no step"),
        (Settings { strength: Some(1.5), ..named("ddim") }, Some(Edit::of(known.clone())), "strength is 1.5"),
        (Settings { strength: Some(0.5), ..named("repaint") }, Some(edit()), "strength"),
        (named("ddnm"), Some(Edit { mask: Some(grey), ..edit() }), "one channel"),
        (named("ddnm"), Some(Edit { pool: 3, ..edit() }), "do not divide"),
        (named("ddnm"), Some(Edit::of(mask.clone())), "8x8 with 3 channels"),
        (named("onestep"), None, "cannot sample from a discrete process"),
        (Settings { churn: Some(1.0), ..named("ddim") }, None, "churn"),
        (Settings { at: Some(vec![0, 39]), ..named("ddim") }, None, "at"),
        (Settings { grid: Some(vec![10.0, 500.0]), ..named("dpm++2m") }, None, "descend"),
        (Settings { grid: Some(vec![1000.0, 500.0]), ..named("dpm++2m") }, None, "not a timestep"),
        (Settings { steps: Some("ddim10".parse().unwrap()), ..named("dpm++2m") }, None, "takes a count"),
        (Settings { steps: Some("1000".parse().unwrap()), ..named("dpm++2m") }, None, "at most 999"),
        (Settings { steps: Some("1000000000000".parse().unwrap()), ..named("euler") }, None, "at most 100000"),
        (Settings { steps: Some("18446744073709551615".parse().unwrap()), ..named("heun") }, None, "at most 100000"),
    ] {
        let message = refusal(&mut session, SampleOptions { settings, edit, ..options(0, 2) });
        assert!(message.contains(said), "{message} does not say {said}");
    }
    let sized = |size| {
        let options = SessionOptions { size: Some(size), ..SessionOptions::default() };
        block_on(Session::prepare(gpu, &small(Role::Diffusion), None, &options)).map(|_| ())
    };
    assert!(sized([7, 8]).unwrap_err().to_string().contains("multiples of 2"));
    sized([6, 10]).unwrap();
}

#[test]
fn a_searched_grid_comes_nearer_to_the_teacher_and_is_the_default() {
    let gpu = &gpus()[0];
    let config = small(Role::Diffusion);
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

#[test]
fn given_noise_may_replace_the_first_draw_alone() {
    let gpu = &gpus()[0];
    let mut session = load(gpu, &small(Role::Diffusion), 2);
    let start = synth::noise_of("start", &[2, 3, 8, 8], 0);
    let with = |labels: Vec<u32>, noise| SampleOptions { labels, noise, ..options(0, 2) };
    let a = sample(&mut session, with(vec![1, 2], Noise::Start(start.clone())));
    let b = sample(&mut session, with(vec![1, 2], Noise::Start(start)));
    assert_eq!(a.data(), b.data());
    assert!(relative_l2(sample(&mut session, with(vec![1, 2], Noise::Philox)).data(), a.data()) > 0.1);
    // A source of draws that fails ends the run with its own error, and the session lives on.
    let failing = Noise::Given(Box::new(|step| match step {
        None => Ok(vec![0.0; 2 * 3 * 8 * 8]),
        Some(_) => Err(Error::Options("the noise file ended".into())),
    }));
    let failed = block_on(session.sample(with(vec![1, 2], failing)).unwrap().finish()).unwrap_err();
    assert_eq!(failed.to_string(), "the noise file ended");
    let short = Noise::Given(Box::new(|_| Ok(vec![0.0; 5])));
    let failed = block_on(session.sample(with(vec![1, 2], short)).unwrap().finish()).unwrap_err();
    assert!(failed.to_string().contains("384"), "{failed}");
    sample(&mut session, options(0, 2));
}

/// The error of a run whose device is destroyed after `steps` steps.
fn lose(name: &str, steps: usize) -> Error {
    let gpu = open(name);
    let mut config = small(Role::Diffusion);
    config.unet.channel_mult = vec![1.0];
    let mut session = load(&gpu, &config, 1);
    let mut run: Run<'_> = session.sample(options(0, 1)).unwrap();
    for _ in 0..steps {
        block_on(run.step()).unwrap();
    }
    gpu.destroy();
    let error = block_on(run.finish()).unwrap_err();
    // Whatever is asked for afterwards says the same.
    for again in [
        block_on(session.sample(options(0, 1)).unwrap().finish()).unwrap_err(),
        gpu.check().unwrap_err(),
        block_on(gpu.finish()).unwrap_err(),
        block_on(Session::prepare(&gpu, &config, None, &SessionOptions::default())).unwrap_err(),
    ] {
        assert!(matches!(again, Error::DeviceLost(_)), "{again:?}");
    }
    error
}

#[test]
fn a_lost_device_is_a_typed_error() {
    let names = adapters();
    // Before, between and after the steps; on a new device each time, whose kernels are compiled again.
    let each = names.iter().map(|name| (name, 2));
    for (name, steps) in each.chain([(&names[0], 0), (&names[0], 4)]) {
        let error = lose(name, steps);
        assert!(matches!(error, Error::DeviceLost(_)), "{name}, lost after {steps} steps: {error:?}");
    }
}

#[test]
fn impossible_options_are_refused_before_any_work() {
    let gpu = &gpus()[0];
    let mut session = load(gpu, &small(Role::Diffusion), 4);
    let ok = || options(0, 2);
    let set = |settings| SampleOptions { settings, ..options(0, 2) };
    for (wrong, said) in [
        (SampleOptions { count: 0, ..ok() }, "1 to 4"),
        (SampleOptions { count: 5, labels: vec![0; 5], ..ok() }, "1 to 4"),
        (SampleOptions { labels: Vec::new(), ..ok() }, "0 classes given for 2"),
        (SampleOptions { labels: vec![1], ..ok() }, "1 classes given for 2"),
        (SampleOptions { labels: vec![1, 10], ..ok() }, "class 10"),
        (set(Settings { steps: Some("1001".parse().unwrap()), ..Settings::default() }), "1001"),
        (set(Settings { steps: Some("ddim999".parse().unwrap()), ..Settings::default() }), "ddim1000"),
        (
            set(Settings {
                sampler: Some(Sampler::ancestral()),
                steps: Some("1".parse().unwrap()),
                ..Settings::default()
            }),
            "2 steps",
        ),
        (set(Settings { eta: Some(0.5), ..Settings::default() }), "sampler ddim"),
        (set(Settings { sampler: Some(Sampler::ddim()), eta: Some(1.5), ..Settings::default() }), "eta"),
        (set(Settings { sampler: Some(Sampler::ddim()), eta: Some(f64::NAN), ..Settings::default() }), "eta"),
        (set(Settings { guidance: Some(1.0), ..Settings::default() }), "classifier"),
        (set(Settings { guidance_interval: Some([0, 9]), ..Settings::default() }), "classifier"),
        (SampleOptions { first_index: u32::MAX - 1, ..ok() }, "index"),
        (SampleOptions { noise: Noise::Start(vec![0.0; 7]), ..ok() }, "7 values; 384"),
        (SampleOptions { low_res: Some(Images::new(2, 2, 2, 3, vec![0.0; 24]).unwrap()), ..ok() }, "low-resolution"),
    ] {
        let message = refusal(&mut session, wrong);
        assert!(message.contains(said), "{message} does not say {said}");
    }

    let mut unconditional = small(Role::Diffusion);
    unconditional.unet.num_classes = 0;
    let mut session = load(gpu, &unconditional, 2);
    assert!(refusal(&mut session, ok()).contains("unconditional"));

    let mut upsampler = load(gpu, &small(Role::Upsampler), 2);
    let low =
        |n, size, channels| Some(Images::new(n, size, size, channels, vec![0.1; n * size * size * channels]).unwrap());
    for wrong in [None, low(1, 2, 3), low(2, 4, 3), low(2, 2, 1)] {
        let message = refusal(&mut upsampler, SampleOptions { low_res: wrong, ..ok() });
        assert!(message.contains("2 low-resolution images of 2x2 with 3 channels"), "{message}");
    }
    let images = sample(&mut upsampler, SampleOptions { low_res: low(2, 2, 3), ..ok() });
    assert_eq!((images.count(), images.first_not_finite()), (2, None));

    let prepare = |config: &ModelConfig, batch| {
        block_on(Session::prepare(gpu, config, None, &SessionOptions { batch, ..SessionOptions::default() }))
            .unwrap_err()
    };
    assert!(matches!(prepare(&small(Role::Diffusion), 0), Error::Options(_)), "an empty batch");
    let mut classifier = model_config(&cases_of("classifier")[0]["config"]);
    classifier.role = Role::Classifier;
    assert!(matches!(prepare(&classifier, 1), Error::Options(_)), "a classifier makes no images");
}
