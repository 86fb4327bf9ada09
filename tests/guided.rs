//! Guidance by a classifier in the sampling loop: its single steps, and where it does nothing. tests/sampler.rs has the
//! golden samples.

mod common;

use std::sync::Arc;

use common::gpu::{gpus, relative_l2};
use common::{cases_of, fixture, model_config, sampler_config, sizes, synth};
use guided_diffusion::config::{ModelConfig, Role};
use guided_diffusion::graph::tensor::{nchw_to_nhwc, nhwc_to_nchw};
use guided_diffusion::graph::{Segment, Shape};
use guided_diffusion::model::sampling::ports;
use guided_diffusion::sampler::schedule::{Schedule, StepCoefficients};
use guided_diffusion::sampler::{Method, Noise, SampleOptions};
use guided_diffusion::session::Source;
use guided_diffusion::{Checkpoint, Error, Gpu, Images, Session, SessionOptions};
use pollster::block_on;
use serde_json::Value;

/// Relative L2 error of one guided step: the gradient's own bound, 5e-5, as its shift may be most of the step.
const STEP: f64 = 5e-5;
/// This sample is chaotic: a relative change of 1e-10 in its start changes the reference's own end by 7.5e-4, and the
/// reference in float32 ends 5.6e-2 from itself in float64. So its steps are compared one by one, each from where the
/// reference stood ([`each_step_equals_the_reference`]), and tests/sampler.rs
/// compares its end at a smaller scale.
const CHAOTIC: &str = "ancestral_guided";

/// Model and classifier of a golden case, which share the diffusion process.
fn configs(case: &Value) -> (ModelConfig, ModelConfig) {
    let model = sampler_config(case);
    let mut classifier = model_config(&case["classifier"]);
    classifier.diffusion = model.diffusion.clone();
    (model, classifier)
}

fn number(case: &Value, key: &str) -> u64 {
    case[key].as_u64().unwrap()
}

fn guided(gpu: &Arc<Gpu>, case: &Value) -> Session {
    let (model, classifier) = configs(case);
    let weights = Checkpoint::synthetic(&model, number(case, "seed")).unwrap();
    let judge = Checkpoint::synthetic(&classifier, number(case, "classifier_seed")).unwrap();
    let options = SessionOptions { batch: sizes(&case["x"])[0], ..SessionOptions::default() };
    let model = Source { checkpoint: &weights, config: &model };
    let guide = Source { checkpoint: &judge, config: &classifier };
    block_on(Session::load_guided(gpu, model, Some(guide), &options)).unwrap()
}

fn unguided(gpu: &Arc<Gpu>, case: &Value) -> Session {
    let (model, _) = configs(case);
    let weights = Checkpoint::synthetic(&model, number(case, "seed")).unwrap();
    let options = SessionOptions { batch: sizes(&case["x"])[0], ..SessionOptions::default() };
    block_on(Session::load(gpu, &weights, &model, &options)).unwrap()
}

/// The case's run, every draw given as the reference drew it.
fn options(case: &Value) -> SampleOptions {
    let (seed, shape) = (number(case, "seed"), sizes(&case["x"]));
    let draws = {
        let shape = shape.clone();
        move |step: Option<u32>| {
            let stream = step.map_or_else(|| "start".to_owned(), |i| format!("step/{i}"));
            Ok(synth::noise_of(&stream, &shape, seed))
        }
    };
    SampleOptions {
        count: shape[0],
        labels: sizes(&case["labels"]).into_iter().map(|label| label as u32).collect(),
        method: match case["method"].as_str().unwrap() {
            "ddim" => Method::Ddim { eta: case["eta"].as_f64().unwrap() },
            _ => Method::Ancestral,
        },
        respacing: case["options"]["respacing"].as_str().unwrap().parse().unwrap(),
        clip_denoised: case["clip"].as_bool().unwrap(),
        noise: Noise::Given(Box::new(draws)),
        guidance_scale: case["guidance_scale"].as_f64().unwrap() as f32,
        ..SampleOptions::default()
    }
}

fn sample(session: &mut Session, options: SampleOptions) -> Images {
    block_on(async { session.sample(options)?.finish().await }).unwrap()
}

fn guided_cases() -> Vec<Value> {
    cases_of("sampler").into_iter().filter(|case| case.get("classifier").is_some()).collect()
}

fn case(name: &str) -> Value {
    guided_cases().into_iter().find(|case| case["name"] == name).unwrap()
}

/// Seven of the chaotic sample's 25 steps, from the reference's x (`x/I`) to its next (`next/I`), float64 rounded once.
#[test]
fn each_step_equals_the_reference() {
    let steps = Checkpoint::open(fixture("guided_steps.safetensors")).unwrap();
    let case = case(CHAOTIC);
    let (config, _) = configs(&case);
    let shape = {
        let s = sizes(&case["x"]);
        Shape::new(s[0], s[2], s[3], s[1])
    };
    for gpu in gpus() {
        let mut session = guided(gpu, &case);
        let SampleOptions { respacing, labels, method, guidance_scale, clip_denoised, .. } = options(&case);
        let schedule = Schedule::new(&config.diffusion, &respacing).unwrap();
        let mut compared = 0;
        for mut step in schedule.steps(method, clip_denoised).unwrap() {
            let i = step.index;
            let Ok(x) = steps.tensor_f32(&format!("x/{i}")) else { continue };
            step.guidance = guidance_scale;
            let program = session.program_mut();
            program.write(ports::LABELS, &labels).unwrap();
            program.write(ports::X, &nchw_to_nhwc(&x, shape)).unwrap();
            let noise = synth::noise_of(&format!("step/{i}"), &sizes(&case["x"]), 0);
            program.write(ports::NOISE, &nchw_to_nhwc(&noise, shape)).unwrap();
            program.write(ports::TIMESTEPS, &vec![step.model_timestep; shape.n]).unwrap();
            program.write(ports::COEFFICIENTS, bytemuck::cast_slice::<StepCoefficients, u32>(&[step])).unwrap();
            for segment in [Segment::Network, Segment::Guidance, Segment::Step] {
                block_on(program.run(segment)).unwrap();
            }
            let next = nhwc_to_nchw(&block_on(program.read(ports::X)).unwrap(), shape);
            let error = relative_l2(&next, &steps.tensor_f32(&format!("next/{i}")).unwrap());
            println!("{:<50} {CHAOTIC} step {i:<12} {error:.2e}", gpu.summary().name);
            assert!(error <= STEP, "{} step {i}: {error:.2e} > {STEP:.0e}", gpu.summary().name);
            compared += 1;
        }
        assert_eq!(compared, 7);
    }
}

#[test]
fn without_a_scale_or_outside_the_interval_nothing_is_guided() {
    let gpu = &gpus()[0];
    let case = case("ddim10_cosine_eta");
    let mut session = guided(gpu, &case);
    assert!(session.is_guided());
    let plain = sample(&mut unguided(gpu, &case), options(&case));
    let zero = sample(&mut session, SampleOptions { guidance_scale: 0.0, ..options(&case) });
    // Fusion may differ in a graph that has a second reader of x, so that sums may have other orders.
    assert!(relative_l2(zero.data(), plain.data()) <= 2e-5, "scale 0");

    // Timesteps of the full process end at 999, so that this interval holds none of the run's.
    let with = |range| SampleOptions { guidance_interval: Some(range), ..options(&case) };
    assert_eq!(sample(&mut session, with(1000..=2000)).data(), zero.data(), "outside the interval no scale matters");
    // Everywhere is no interval; half of the steps is neither.
    let whole = sample(&mut session, options(&case));
    assert_eq!(sample(&mut session, with(0..=999)).data(), whole.data(), "everywhere");
    let half = sample(&mut session, with(0..=499));
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
    for scale in [f32::NAN, f32::INFINITY] {
        assert!(session.sample(SampleOptions { guidance_scale: scale, ..options(&case) }).is_err());
    }
}
