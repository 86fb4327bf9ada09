//! The samplers' fixtures (tests/fixtures/solvers.json): step tables, samples, denoisers, projections and bits per dimension
//! against a float64 reference that was compared with the public code.

use std::ops::ControlFlow;
use std::sync::Arc;

use guided_diffusion::bits::bits_per_dimension;
use guided_diffusion::checkpoint::synthetic;
use guided_diffusion::config::{DiffusionConfig, ModelConfig, ProcessKind};
use guided_diffusion::gpu::Program;
use guided_diffusion::graph::{Graph, Segment, fuse};
use guided_diffusion::model::sampling::ports;
use guided_diffusion::op::Project;
use guided_diffusion::op::project::EDIT;
use guided_diffusion::op::sampling::ROW;
use guided_diffusion::plan::{Plan, PlanOptions};
use guided_diffusion::run::{Noise, SampleOptions};
use guided_diffusion::sampler::process::Process;
use guided_diffusion::sampler::row::{Row, X0};
use guided_diffusion::sampler::{Colour, Edit, Respacing, Schedule, Settings, dpm_solver};
use guided_diffusion::session::Source;
use guided_diffusion::tensor::{Shape, nchw_to_nhwc, nhwc_to_nchw};
use guided_diffusion::{Checkpoint, Gpu, Images, Result, Session, SessionOptions};
use serde_json::Value;

use crate::{Check, model_config, networks, noise_of, numbers, relative_l2, sizes, tolerance};

/// The fixtures.
#[derive(Debug)]
pub struct Solvers {
    cases: Vec<Value>,
    outputs: Checkpoint,
}

impl Solvers {
    /// The files solvers.json and solvers.safetensors.
    ///
    /// # Panics
    /// The first is not a list of cases.
    pub fn new(cases: &str, outputs: Checkpoint) -> Self {
        Self { cases: serde_json::from_str(cases).unwrap(), outputs }
    }

    /// Every case.
    pub fn cases(&self) -> &[Value] {
        &self.cases
    }

    /// A case's kind and name.
    pub fn name(&self, i: usize) -> String {
        format!("{} {}", self.cases[i]["kind"].as_str().unwrap(), self.cases[i]["name"].as_str().unwrap())
    }

    /// The places of cases that need a device.
    pub fn on_device(&self) -> Vec<usize> {
        let kinds = ["unet", "denoise", "sampler", "bits", "projection"];
        (0..self.cases.len()).filter(|i| kinds.iter().any(|kind| self.cases[*i]["kind"] == *kind)).collect()
    }

    /// What a case must give as `output`.
    ///
    /// # Panics
    /// There is no such case or output.
    pub fn expected(&self, i: usize, output: &str) -> Vec<f32> {
        let case = &self.cases[i];
        let name = format!("{}/{}/{output}", case["kind"].as_str().unwrap(), case["name"].as_str().unwrap());
        self.outputs.tensor_f32(&name).unwrap()
    }

    /// Runs a case on a device.
    pub(crate) async fn check(&self, gpu: &Arc<Gpu>, i: usize) -> Result<Vec<Check>> {
        let case = &self.cases[i];
        let outputs = match case["kind"].as_str().unwrap() {
            "unet" => vec![("out", networks::run_unet(gpu, case, &PlanOptions::default()).await?)],
            "denoise" => vec![("x0", denoise(gpu, case).await?)],
            "sampler" => vec![("sample", sample(gpu, case).await?)],
            "bits" => bits(gpu, case).await?,
            _ => vec![("out", projection(gpu, case).await?)],
        };
        let guided = case.get("classifier").is_some();
        let check = |(output, values): (&str, Vec<f32>)| Check {
            name: format!("{} {output}", self.name(i)),
            error: relative_l2(&values, &self.expected(i, output)),
            tolerance: if guided { tolerance::GUIDED } else { tolerance::SAMPLE },
        };
        Ok(outputs.into_iter().map(check).collect())
    }
}

fn text<'a>(case: &'a Value, key: &str) -> Option<&'a str> {
    case.get(key)?.as_str()
}

/// The model of a case, with its process.
pub fn config(case: &Value) -> ModelConfig {
    let (mut config, space) = (model_config(&case["config"]), &case["space"]);
    let truth = |key: &str, default: bool| space[key].as_bool().unwrap_or(default);
    config.diffusion = match text(space, "kind") {
        Some("karras") => DiffusionConfig {
            learn_sigma: false,
            process: if truth("consistency", false) { ProcessKind::Consistency } else { ProcessKind::Edm },
            ..config.diffusion
        },
        _ => DiffusionConfig {
            learn_sigma: truth("learn_sigma", true),
            predict_xstart: truth("predict_xstart", false),
            rescale_timesteps: truth("rescale_timesteps", false),
            sigma_small: truth("sigma_small", false),
            ..DiffusionConfig::new(
                space["steps"].as_u64().unwrap_or(1000) as usize,
                text(space, "schedule").unwrap_or("linear").parse().unwrap(),
            )
        },
    };
    config
}

/// The settings of a case of a sampler, or of bits per dimension.
pub fn settings(case: &Value) -> Settings {
    let (options, space) = (&case["options"], &case["space"]);
    let all = space["steps"].as_u64().unwrap_or(1000).to_string();
    let respacing: Respacing = text(space, "respacing").unwrap_or(&all).parse().unwrap();
    let number = |key: &str| options[key].as_f64();
    let count = |key: &str| options[key].as_u64().map(|n| n as usize);
    let name = match (text(case, "sampler").unwrap_or("ancestral"), text(space, "kind"), count("order")) {
        ("dpm_solver", _, Some(3)) => "dpm++3m",
        ("dpm_solver", ..) => "dpm++2m",
        ("ancestral", Some("sigma"), _) => "euler_ancestral",
        (name, ..) => name,
    };
    let sampler = name.parse().unwrap();
    let steps = match (count("n"), count("steps")) {
        (Some(n), _) => Respacing::Sections(vec![if name == "ipndm" { n - 1 } else { n }]),
        (None, Some(steps)) => Respacing::Sections(vec![steps]),
        (None, None) => respacing.clone(),
    };
    // DPM-Solver++ of a respaced process takes a grid of its timesteps.
    let grid = (name.starts_with("dpm++") && text(space, "respacing").is_some()).then(|| {
        let kept = respacing.timesteps(config(case).diffusion.diffusion_steps).unwrap();
        dpm_solver::dpm_indices(kept.len(), count("n").unwrap()).into_iter().map(|i| kept[i] as f64).collect()
    });
    Settings {
        sampler: Some(sampler),
        steps: Some(steps),
        grid,
        eta: number("eta"),
        clip_denoised: options["clip"].as_bool().or(case["clip"].as_bool()),
        guidance: case.get("guidance_scale").and_then(Value::as_f64),
        strength: number("strength"),
        churn: number("churn"),
        churn_min: number("t_min"),
        churn_max: number("t_max"),
        churn_noise: number("s_noise"),
        analytic_start: options["afs"].as_bool(),
        denoise: options["denoise"].as_bool(),
        at: options.get("ts").map(sizes),
        jump_length: count("length"),
        jump_repeats: count("repeats"),
        sigma_y: number("sigma_y"),
        ..Settings::default()
    }
}

/// Whether a case's sampler corrects x_0 by what is known.
pub fn edits(case: &Value) -> bool {
    case.get("edit").is_some_and(|edit| !edit.is_null()) && case["options"]["strength"].is_null()
}

fn shape_of(x: &[usize]) -> Shape {
    Shape::new(x[0], x[2], x[3], x[1])
}

fn images(x: &[usize], nchw: &[f32]) -> Result<Images> {
    Images::new(x[0], x[2], x[3], x[1], nchw_to_nhwc(nchw, shape_of(x)))
}

fn known(x: &[usize], seed: u64) -> Result<Images> {
    let bytes = synthetic::uniform("known", seed).map(|u| (f64::from(u) * 256.0).floor() / 127.5 - 1.0);
    images(x, &bytes.map(|v| v as f32).take(x.iter().product()).collect::<Vec<_>>())
}

fn edit(case: &Value, x: &[usize], seed: u64) -> Result<Option<Edit>> {
    let Some(edit) = case.get("edit").filter(|edit| !edit.is_null()) else { return Ok(None) };
    let mask = match edit["mask"] == true {
        true => {
            let (shape, shown) = ([x[0], 1, x[2], x[3]], synthetic::uniform("mask", seed));
            let shown: Vec<f32> =
                shown.map(|u| if u >= 0.5 { 1.0 } else { 0.0 }).take(shape.iter().product()).collect();
            Some(images(&shape, &shown)?)
        }
        false => None,
    };
    let colour = match text(edit, "colour") {
        Some("grey") => Some(Colour::Grey),
        Some(_) => Some(Colour::Luma),
        None => None,
    };
    Ok(Some(Edit { known: known(x, seed)?, mask, colour, pool: edit["pool"].as_u64().unwrap() as usize }))
}

async fn session(gpu: &Arc<Gpu>, case: &Value) -> Result<Session> {
    let (config, x) = (config(case), sizes(&case["x"]));
    let seed = |key: &str| case[key].as_u64().unwrap();
    let checkpoint = Checkpoint::synthetic(&config, seed("seed"))?;
    let guide = match case.get("classifier") {
        Some(guide) => {
            let guide = ModelConfig { diffusion: config.diffusion.clone(), ..model_config(guide) };
            Some((Checkpoint::synthetic(&guide, seed("classifier_seed"))?, guide))
        }
        None => None,
    };
    let classifier = guide.as_ref().map(|(checkpoint, config)| Source { checkpoint, config });
    let options = SessionOptions { batch: x[0], size: Some([x[2], x[3]]), ..SessionOptions::default() };
    let session =
        Session::load_guided(gpu, Source { checkpoint: &checkpoint, config: &config }, classifier, &options).await?;
    assert_eq!(session.warnings(), &[] as &[String], "the self-test is silent on a sound driver");
    Ok(session)
}

/// A case's run; `draws`: draw K of so many is stream `draw/K`, while runs count down to 1.
fn options(case: &Value, draws: u32) -> Result<SampleOptions> {
    let (x, seed) = (sizes(&case["x"]), case["seed"].as_u64().unwrap());
    let shape = x.clone();
    let noise = move |draw: Option<u32>| {
        let stream = draw.map_or_else(|| "start".to_owned(), |left| format!("draw/{}", draws - left));
        Ok(noise_of(&stream, &shape, seed))
    };
    Ok(SampleOptions {
        settings: settings(case),
        count: x[0],
        labels: numbers(&case["labels"]),
        noise: Noise::Given(Box::new(noise)),
        edit: edit(case, &x, seed)?,
        ..SampleOptions::default()
    })
}

async fn sample(gpu: &Arc<Gpu>, case: &Value) -> Result<Vec<f32>> {
    let mut session = session(gpu, case).await?;
    let run = session.sample(options(case, case["draws"].as_u64().unwrap() as u32)?)?;
    assert_eq!(run.evaluations() as u64, case["calls"].as_u64().unwrap(), "evaluations");
    Ok(run.finish().await?.to_nchw())
}

async fn denoise(gpu: &Arc<Gpu>, case: &Value) -> Result<Vec<f32>> {
    let (mut session, x) = (session(gpu, case).await?, sizes(&case["x"]));
    let shape = shape_of(&x);
    let process = match session.config().diffusion.process {
        ProcessKind::Discrete => Process::Sigma(whole(&config(case))?),
        _ => Settings { sampler: Some("euler".parse()?), ..Settings::default() }.process(session.config())?,
    };
    let noise = nchw_to_nhwc(&noise_of("start", &x, case["seed"].as_u64().unwrap()), shape);
    let mut out = Vec::new();
    for sigma in case["sigmas"].as_array().unwrap().iter().filter_map(Value::as_f64) {
        let row = Row::call(process.call(sigma), false, X0);
        let program = session.program_mut();
        program.write(ports::X, &noise.iter().map(|v| (sigma * f64::from(*v)) as f32).collect::<Vec<_>>())?;
        if case["labels"].is_array() {
            program.write(ports::LABELS, &numbers(&case["labels"]))?;
        }
        program.write(ports::TIMESTEPS, &vec![row.call.time as f32; shape.n])?;
        program.write(ports::ROW, row.numbers().map(|part| part.map(|v| v as f32)).as_flattened())?;
        program.run_all(&[Segment::Network, Segment::Predict]).await?;
        out.extend(nhwc_to_nchw(&program.read(ports::X_START).await?, shape));
    }
    Ok(out)
}

/// The whole process of a discrete model.
pub fn whole(config: &ModelConfig) -> Result<Schedule> {
    Schedule::new(&config.diffusion, &Respacing::Sections(vec![config.diffusion.diffusion_steps]))
}

async fn bits(gpu: &Arc<Gpu>, case: &Value) -> Result<Vec<(&'static str, Vec<f32>)>> {
    let (mut session, x) = (session(gpu, case).await?, sizes(&case["x"]));
    let known = known(&x, case["seed"].as_u64().unwrap())?;
    let steps = settings(case).process(session.config())?.steps().unwrap() as u32;
    let options = SampleOptions { edit: Some(Edit::of(known)), ..options(case, steps)? };
    let bits = bits_per_dimension(&mut session, options, || ControlFlow::Continue(())).await?;
    let flat = |rows: &[Vec<f64>]| rows.concat().iter().map(|v| *v as f32).collect::<Vec<_>>();
    let one = |values: &[f64]| values.iter().map(|v| *v as f32).collect::<Vec<_>>();
    Ok(vec![
        ("total", one(&bits.total)),
        ("prior", one(&bits.prior)),
        ("vb", flat(&bits.vb)),
        ("xstart_mse", flat(&bits.xstart_mse)),
        ("mse", flat(&bits.mse)),
    ])
}

async fn projection(gpu: &Arc<Gpu>, case: &Value) -> Result<Vec<f32>> {
    let (x, seed) = (sizes(&case["x"]), case["seed"].as_u64().unwrap());
    let (shape, Some(edit)) = (shape_of(&x), edit(case, &x, seed)?) else { panic!("a projection has an edit") };
    let mut graph = Graph::default();
    let images = ["x", "x0", "noise", "known"].map(|name| graph.input(name, shape));
    let mask = graph.input("mask", shape.with_channels(1));
    let (words, row) = (graph.input("edit", Shape::vector(1, EDIT)), graph.input("row", Shape::vector(1, ROW)));
    let out = graph.push("out", Project, &[&images[..], &[mask, words, row]].concat(), &[])?;
    graph.output("out", out);
    let mut program = Program::new(gpu, Plan::new(&fuse::fuse(&graph)?, gpu.caps(), &PlanOptions::default())?).await?;
    program.seal()?;
    let mut numbers = [0.0f32; ROW];
    numbers[16] = 1.0;
    program.write("row", &numbers)?;
    program.write("edit", &edit.words())?;
    program.write("x", &nchw_to_nhwc(&noise_of("x", &x, seed), shape))?;
    if let Some(mask) = &edit.mask {
        program.write("mask", mask.data())?;
    }
    program.run(Segment::Network).await?;
    Ok(nhwc_to_nchw(&program.read("out").await?, shape))
}
