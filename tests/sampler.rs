//! The sampling loop through the public API: what a run promises about seeds, batches, shards, pipelines, cancelling, lost
//! devices and wrong options. On every adapter under test; tests/golden.rs has the golden samples.

mod common;

use common::gpu::{adapters, gpus, on_each, open, relative_l2};
use common::runs::{load, options, refusal, sample};
use common::{cases_of, model_config, synth};
use conformance::tiny;
use guided_diffusion::config::{ModelConfig, Role};
use guided_diffusion::run::{Noise, Preview, Run, SampleOptions};
use guided_diffusion::sampler::{Edit, Sampler, Settings};
use guided_diffusion::{Error, Images, Session, SessionOptions};
use pollster::block_on;

/// Batches of different sizes take different kernels, whose sums have other orders.
const BATCH: f64 = 2e-5;

#[test]
fn an_image_depends_on_its_seed_and_index_alone() {
    on_each(|gpu| {
        let config = tiny(Role::Diffusion);
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
        let config = tiny(Role::Diffusion);
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
    let mut session = load(&gpu, &tiny(Role::Diffusion), 2);
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
    let mut second = load(&gpu, &tiny(Role::Diffusion), 2);
    assert_eq!(sample(&mut second, options(0, 2)).data(), first.data());
    assert_eq!(gpu.pipelines_created(), created, "nor does a second session of the same plan");
}

/// A grey ramp as large as the tiny network's images, twice, known but for its right half.
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
    let mut session = load(&gpu, &tiny(Role::Diffusion), 2);
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
            let options =
                SampleOptions { settings, edit: Some(Edit::of(known.clone())), ..common::runs::options(0, 2) };
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

#[test]
fn impossible_edits_are_refused() {
    let gpu = &gpus()[0];
    let mut session = load(gpu, &tiny(Role::Diffusion), 2);
    let (known, mask) = ramp();
    let edit = || Edit { mask: Some(mask.clone()), ..Edit::of(known.clone()) };
    let named = |name: &str| Settings { sampler: Some(name.parse().unwrap()), ..Settings::default() };
    let grey = Images::new(2, 8, 8, 3, mask.data().iter().flat_map(|m| [m * 0.5; 3]).collect()).unwrap();
    for (settings, edit, said) in [
        (named("repaint"), None, "needs a given image"),
        (named("ddim"), Some(edit()), "edits no picture"),
        (Settings { strength: Some(0.5), ..named("ddim") }, None, "needs a given image"),
        (
            Settings { strength: Some(0.0), ..named("ddim") },
            Some(Edit::of(known.clone())),
            "leaves the given image as it is",
        ),
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
        block_on(Session::prepare(gpu, &tiny(Role::Diffusion), None, &options)).map(|_| ())
    };
    assert!(sized([7, 8]).unwrap_err().to_string().contains("multiples of 2"));
    sized([6, 10]).unwrap();
}

#[test]
fn given_noise_may_replace_the_first_draw_alone() {
    let gpu = &gpus()[0];
    let mut session = load(gpu, &tiny(Role::Diffusion), 2);
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
    let mut config = tiny(Role::Diffusion);
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
    let mut session = load(gpu, &tiny(Role::Diffusion), 4);
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

    let mut unconditional = tiny(Role::Diffusion);
    unconditional.unet.num_classes = 0;
    let mut session = load(gpu, &unconditional, 2);
    assert!(refusal(&mut session, ok()).contains("unconditional"));

    let mut upsampler = load(gpu, &tiny(Role::Upsampler), 2);
    let low =
        |n, size, channels| Some(Images::new(n, size, size, channels, vec![0.1; n * size * size * channels]).unwrap());
    for wrong in [None, low(1, 4, 3), low(2, 8, 3), low(2, 4, 1)] {
        let message = refusal(&mut upsampler, SampleOptions { low_res: wrong, ..ok() });
        assert!(message.contains("2 low-resolution images of 4x4 with 3 channels"), "{message}");
    }
    let images = sample(&mut upsampler, SampleOptions { low_res: low(2, 4, 3), ..ok() });
    assert_eq!((images.count(), images.first_not_finite()), (2, None));

    let prepare = |config: &ModelConfig, batch| {
        block_on(Session::prepare(gpu, config, None, &SessionOptions { batch, ..SessionOptions::default() }))
            .unwrap_err()
    };
    assert!(matches!(prepare(&tiny(Role::Diffusion), 0), Error::Options(_)), "an empty batch");
    let mut classifier = model_config(&cases_of("classifier")[0]["config"]);
    classifier.role = Role::Classifier;
    assert!(matches!(prepare(&classifier, 1), Error::Options(_)), "a classifier makes no images");
}
