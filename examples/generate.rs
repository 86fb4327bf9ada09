//! Generates one image per class with emoji32 and writes them as PNM files: the library without its program.
//!
//!     cargo run --release --example generate -- models/emoji32.safetensors

use guided_diffusion::{AdapterChoice, Checkpoint, Gpu, SampleOptions, Session, SessionOptions, Settings};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    pollster::block_on(generate(&std::env::args().nth(1).unwrap_or("models/emoji32.safetensors".into())))
}

async fn generate(model: &str) -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::open(&AdapterChoice::Default).await?;
    let checkpoint = Checkpoint::open(model)?;
    let config = checkpoint.config(&Default::default())?.config;
    let labels = config.classes_in_turn();
    let count = labels.len().max(1);
    let options = SessionOptions { batch: count, ..Default::default() };
    let mut session = Session::load(&gpu, &checkpoint, &config, &options).await?;

    // The model's own sampler and steps.
    let settings = Settings { seed: 1, ..Settings::default() };
    let mut run = session.sample(SampleOptions { count, labels, settings, ..Default::default() })?;
    while let Some(step) = run.step().await? {
        eprintln!("step {} of {} (t = {})", step.done, step.total, step.timestep);
    }
    let images = run.finish().await?;
    for index in 0..images.count() {
        let picture = images.pixels(index);
        let kind = if picture.channels == 3 { "P6" } else { "P5" };
        let mut file = format!("{kind}\n{} {}\n255\n", picture.width, picture.height).into_bytes();
        file.extend(&picture.bytes);
        std::fs::write(format!("class-{index}.pnm"), file)?;
    }
    Ok(())
}
