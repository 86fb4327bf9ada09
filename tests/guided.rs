//! Guidance by a classifier in the sampling loop: where it does nothing, whose labels it takes, what is refused.
//! tests/golden.rs has the golden samples.

mod common;

use std::sync::Arc;

use common::gpu::{gpus, relative_l2};
use common::{cases_of, sampler_config};
use conformance::samples::{self, classifier_config, options};
use guided_diffusion::config::{ModelConfig, Role};
use guided_diffusion::run::SampleOptions;
use guided_diffusion::sampler::Settings;
use guided_diffusion::session::Source;
use guided_diffusion::{Checkpoint, Error, Gpu, Images, Session, SessionOptions};
use pollster::block_on;
use serde_json::Value;

/// Model and classifier of a golden case.
fn configs(case: &Value) -> (ModelConfig, ModelConfig) {
    (sampler_config(case), classifier_config(case).unwrap())
}

fn guided(gpu: &Arc<Gpu>, case: &Value) -> Session {
    block_on(samples::session(gpu, case)).unwrap()
}

fn unguided(gpu: &Arc<Gpu>, case: &Value) -> Session {
    let mut case = case.clone();
    case.as_object_mut().unwrap().remove("classifier");
    block_on(samples::session(gpu, &case)).unwrap()
}

fn sample(session: &mut Session, options: SampleOptions) -> Images {
    block_on(async { session.sample(options)?.finish().await }).unwrap()
}

fn case(name: &str) -> Value {
    cases_of("sampler").into_iter().find(|case| case["name"] == name).unwrap()
}

#[test]
fn a_step_shows_what_it_worked_with() {
    let gpu = &gpus()[0];
    let case = case("ddim10_cosine_eta");
    let mut session = guided(gpu, &case);
    let scale = options(&case).settings.guidance;
    let mut first_step = |guidance| {
        let options = options(&case);
        let settings = Settings { guidance, clip_denoised: Some(false), ..options.settings.clone() };
        block_on(async {
            let mut run = session.sample(SampleOptions { settings, ..options })?;
            assert!(run.inside().await.is_err(), "before the first step");
            run.step().await?;
            run.inside().await
        })
        .unwrap()
    };
    let (unguided, inside) = (first_step(Some(0.0)), first_step(scale));
    assert!(unguided.gradient.is_none());
    assert_eq!(unguided.out.data(), inside.out.data(), "the same x and the same network");
    // Equation 14 of the paper: the predicted noise moves along the gradient, and the next x with it.
    let gradient = inside.gradient.unwrap();
    let moved: Vec<f32> = inside.x.data().iter().zip(unguided.x.data()).map(|(a, b)| a - b).collect();
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let factor = dot(&moved, gradient.data()) / dot(gradient.data(), gradient.data());
    assert!(factor > 0.0);
    let along: Vec<f32> = gradient.data().iter().map(|g| (factor * f64::from(*g)) as f32).collect();
    // Both are rounded in float32, at a thousand times the size of their difference and more.
    assert!(relative_l2(&moved, &along) <= 1e-3, "{}", relative_l2(&moved, &along));
}

#[test]
fn without_a_scale_or_outside_the_interval_nothing_is_guided() {
    let gpu = &gpus()[0];
    let case = case("ddim10_cosine_eta");
    let mut session = guided(gpu, &case);
    assert!(session.is_guided());
    let with = |guidance, guidance_interval| {
        let options = options(&case);
        SampleOptions { settings: Settings { guidance, guidance_interval, ..options.settings.clone() }, ..options }
    };
    let plain = sample(&mut unguided(gpu, &case), with(None, None));
    let zero = sample(&mut session, with(Some(0.0), None));
    let scale = options(&case).settings.guidance;
    // Fusion may differ in a graph that has a second reader of x, so that sums may have other orders.
    assert!(relative_l2(zero.data(), plain.data()) <= 2e-5, "scale 0");

    // The run's lowest timestep but 0 is about 100, so that this interval holds none of the run's.
    assert_eq!(
        sample(&mut session, with(scale, Some([1, 2]))).data(),
        zero.data(),
        "outside the interval no scale matters"
    );
    // The whole process is the same as no interval; half of the steps differs from both.
    let whole = sample(&mut session, options(&case));
    assert_eq!(sample(&mut session, with(scale, Some([0, 999]))).data(), whole.data(), "everywhere");
    let half = sample(&mut session, with(scale, Some([0, 499])));
    let differs = |a: &Images, b: &Images| relative_l2(a.data(), b.data()) > 1e-3;
    assert!(differs(&whole, &zero) && differs(&half, &zero) && differs(&half, &whole));
}

#[test]
fn an_unconditional_model_takes_the_classifiers_labels() {
    let gpu = &gpus()[0];
    let case = case("ddim10_cosine_eta");
    let (mut model, classifier) = configs(&case);
    model.unet.num_classes = 0;
    let (weights, judge) = (Checkpoint::synthetic(&model, 0).unwrap(), Checkpoint::synthetic(&classifier, 1).unwrap());
    let sources = |model| {
        (Source { checkpoint: &weights, config: model }, Some(Source { checkpoint: &judge, config: &classifier }))
    };
    let (source, guide) = sources(&model);
    let options_of = SessionOptions { batch: 2, ..SessionOptions::default() };
    let mut session = block_on(Session::load_guided(gpu, source, guide, &options_of)).unwrap();
    assert_eq!(session.classes(), classifier.classes());
    let a = sample(&mut session, options(&case));
    let b = sample(&mut session, SampleOptions { labels: vec![3, 4], ..options(&case) });
    assert!(relative_l2(b.data(), a.data()) > 1e-3, "labels decide");
    assert!(session.sample(SampleOptions { labels: Vec::new(), ..options(&case) }).is_err());
}

#[test]
fn classifiers_that_do_not_fit_are_refused() {
    let gpu = &gpus()[0];
    let case = case("ddim25_guided");
    let (model, classifier) = configs(&case);
    type Change = fn(&mut ModelConfig);
    let changes: [(Change, &str); 4] = [
        (|c| c.unet.image_size = 32, "32x32 images"),
        (|c| c.unet.out_channels = 7, "7 classes"),
        (|c| c.diffusion.diffusion_steps = 500, "noise schedule"),
        (|c| (c.role, c.unet.pool) = (Role::Diffusion, None), "classifier"),
    ];
    for (change, said) in changes {
        let mut wrong = classifier.clone();
        change(&mut wrong);
        if wrong.role == Role::Diffusion {
            wrong = model.clone();
        }
        match block_on(Session::prepare(gpu, &model, Some(&wrong), &SessionOptions::default())) {
            Err(Error::Options(message)) => assert!(message.contains(said), "{message}"),
            other => panic!("{said}: {other:?}"),
        }
    }
    let mut session = guided(gpu, &case);
    for scale in [f64::NAN, f64::INFINITY, 1e300] {
        let mut options = options(&case);
        options.settings.guidance = Some(scale);
        assert!(session.sample(options).is_err());
    }
}
