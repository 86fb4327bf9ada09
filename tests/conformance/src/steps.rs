//! Seven of the chaotic sample's 25 steps, from the reference's x (`x/I`) to its next (`next/I`), float64 rounded once.

use std::sync::Arc;

use guided_diffusion::graph::Segment;
use guided_diffusion::model::sampling::ports;
use guided_diffusion::run::SampleOptions;
use guided_diffusion::sampler::process::Process;
use guided_diffusion::sampler::schedule::Schedule;
use guided_diffusion::tensor::Shape;
use guided_diffusion::tensor::{nchw_to_nhwc, nhwc_to_nchw};
use guided_diffusion::{Gpu, Result};

use crate::{Check, Golden, noise_of, relative_l2, sampler_config, samples, sizes, tolerance};

pub(crate) async fn check(gpu: &Arc<Gpu>, golden: &Golden, case: usize) -> Result<Vec<Check>> {
    let name = golden.name(case);
    let case = &golden.cases()[case];
    let size = sizes(&case["x"]);
    let shape = Shape::new(size[0], size[2], size[3], size[1]);
    let mut session = samples::session(gpu, case).await?;
    let SampleOptions { settings, labels, .. } = samples::options(case);
    let schedule = Schedule::new(&sampler_config(case).diffusion, settings.steps.as_ref().unwrap())?;
    let mut checks = Vec::new();
    let process = Process::Discrete(schedule);
    for (i, mut row) in (0..).zip(settings.table(&process, false)?.into_iter().rev()) {
        let Ok(x) = golden.steps.tensor_f32(&format!("x/{i}")) else { continue };
        row.scale_guidance(settings.guidance.unwrap());
        let program = session.program_mut();
        program.write(ports::LABELS, &labels)?;
        program.write(ports::X, &nchw_to_nhwc(&x, shape))?;
        program.write(ports::NOISE, &nchw_to_nhwc(&noise_of(&format!("step/{i}"), &size, 0), shape))?;
        program.write(ports::TIMESTEPS, &vec![row.call.time as f32; shape.n])?;
        program.write(ports::ROW, row.numbers().map(|part| part.map(|v| v as f32)).as_flattened())?;
        program.run_all(&[Segment::Network, Segment::Guidance, Segment::Predict, Segment::Step]).await?;
        let next = nhwc_to_nchw(&program.read(ports::X).await?, shape);
        checks.push(Check {
            name: format!("{name} step {i}"),
            error: relative_l2(&next, &golden.steps.tensor_f32(&format!("next/{i}"))?),
            tolerance: tolerance::STEP,
        });
    }
    Ok(checks)
}
