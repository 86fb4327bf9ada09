//! What guidance buys and what it costs, as in the paper's Figure 4: with a larger scale more samples show what was
//! asked for, and they resemble each other more. Writes docs/images/guidance.png (four scales beside each other) and
//! docs/images/guidance.svg (both curves); a quarter of an hour on a software driver.
//!
//!     cargo run --release --example guidance

#[path = "../tests/common/judge.rs"]
mod judge;

use std::error::Error;
use std::path::{Path, PathBuf};

use guided_diffusion::config::Flags;
use guided_diffusion::image::{Grid, Pixels};
use guided_diffusion::session::Source;
use guided_diffusion::{AdapterChoice, Checkpoint, Gpu, Images, SampleOptions, Session, SessionOptions, Settings};
use judge::Judge;

const SCALES: [f32; 6] = [0.0, 1.0, 2.0, 3.0, 5.0, 10.0];
/// Those that the picture shows, from left to right.
const SHOWN: [f32; 4] = [0.0, 1.0, 3.0, 10.0];
const CLASSES: usize = 10;
const COUNT: usize = 200;
const BATCH: usize = 20;
/// Where the figure's axes begin.
const LOWEST: f64 = 0.8;

/// A file of the tests, as the judge asks for it.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut session = pollster::block_on(load(&folder.join("models")))?;
    let judge = Judge::open("judge.safetensors");
    println!("| scale | labelled as asked | diversity |\n|---|---|---|");
    let (mut points, mut blocks) = (Vec::new(), Vec::new());
    for scale in SCALES {
        let images = pollster::block_on(sample(&mut session, scale))?;
        let (share, diversity) = measure(&judge, &images);
        println!("| {scale} | {share:.3} | {diversity:.2} |");
        points.push((scale, share, diversity));
        if SHOWN.contains(&scale) {
            blocks.push(block(images)?);
        }
    }
    write_png(&folder.join("docs/images/guidance.png"), &beside(&blocks))?;
    std::fs::write(folder.join("docs/images/guidance.svg"), figure(&points))?;
    Ok(())
}

async fn load(models: &Path) -> Result<Session, Box<dyn Error>> {
    let gpu = Gpu::open(&AdapterChoice::Default).await?;
    let model = Checkpoint::open(models.join("fashion32.safetensors"))?;
    let classifier = Checkpoint::open(models.join("fashion32-classifier.safetensors"))?;
    let (config, classifier_config) =
        (model.config(&Flags::default())?.config, classifier.config(&Flags::default())?.config);
    let options = SessionOptions { batch: BATCH, ..SessionOptions::default() };
    let classifier = Source { checkpoint: &classifier, config: &classifier_config };
    Ok(Session::load_guided(&gpu, Source { checkpoint: &model, config: &config }, Some(classifier), &options).await?)
}

/// The classes in turn. Every scale starts from the same noise, so that pictures compare one by one.
async fn sample(session: &mut Session, scale: f32) -> Result<Images, Box<dyn Error>> {
    let mut all: Option<Images> = None;
    for first in (0..COUNT).step_by(BATCH) {
        let options = SampleOptions {
            count: BATCH,
            labels: (first..first + BATCH).map(|i| (i % CLASSES) as u32).collect(),
            settings: Settings { steps: Some("ddim25".parse()?), guidance: Some(scale.into()), ..Settings::default() },
            first_index: first as u32,
            ..SampleOptions::default()
        };
        let images = session.sample(options)?.finish().await?;
        match &mut all {
            Some(all) => all.append(&images)?,
            None => all = Some(images),
        }
    }
    all.ok_or_else(|| "no images".into())
}

/// The share that the judge labels as asked; the mean distance of two samples of a class in the judge's features.
fn measure(judge: &Judge, images: &Images) -> (f64, f64) {
    let read: Vec<_> = (0..images.count()).map(|i| judge.read(images.image(i))).collect();
    let right = read.iter().enumerate().filter(|(i, seen)| i % CLASSES == seen.label()).count();
    let (mut sum, mut pairs) = (0.0, 0.0);
    for (i, a) in read.iter().enumerate() {
        for b in read[i + 1..].iter().skip(CLASSES - 1).step_by(CLASSES) {
            sum += a.features.iter().zip(&b.features).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
            pairs += 1.0;
        }
    }
    (right as f64 / images.count() as f64, sum / pairs)
}

/// One row per class, four images each.
fn block(mut images: Images) -> guided_diffusion::Result<Pixels> {
    images.truncate(4 * CLASSES);
    images.grid(Grid { rows: CLASSES, columns: 4, by_column: true, gap: 1 })
}

fn beside(blocks: &[Pixels]) -> Pixels {
    const GAP: usize = 8;
    let (height, width) = (blocks[0].height, blocks[0].width);
    let whole = blocks.len() * (width + GAP) - GAP;
    let mut picture = Pixels { height, width: whole, channels: 1, bytes: vec![255; height * whole] };
    for (k, block) in blocks.iter().enumerate() {
        picture.paste(block, 0, k * (width + GAP));
    }
    picture
}

fn write_png(path: &Path, picture: &Pixels) -> Result<(), Box<dyn Error>> {
    let mut encoder = png::Encoder::new(std::fs::File::create(path)?, picture.width as u32, picture.height as u32);
    encoder.set_color(png::ColorType::Grayscale);
    Ok(encoder.write_header()?.write_image_data(&picture.bytes)?)
}

/// The two curves over the scale, beside each other.
fn figure(points: &[(f32, f64, f64)]) -> String {
    let shares = points.iter().map(|(scale, share, _)| (*scale, *share)).collect::<Vec<_>>();
    let diversities = points.iter().map(|(scale, _, d)| (*scale, d / points[0].2)).collect::<Vec<_>>();
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 760 225' font-family='sans-serif' font-size='12'>\n\
         <rect width='760' height='225' fill='#fff'/>\n{}{}</svg>\n",
        panel(50.0, "labelled as asked", &shares),
        panel(430.0, "diversity, relative to none", &diversities)
    )
}

/// One curve, its values from [`LOWEST`] to 1.
fn panel(left: f64, title: &str, points: &[(f32, f64)]) -> String {
    const TOP: f64 = 30.0;
    const HEIGHT: f64 = 150.0;
    const WIDTH: f64 = 300.0;
    let y = |value: f64| TOP + HEIGHT * (1.0 - value) / (1.0 - LOWEST);
    let mut svg = format!("<text x='{left}' y='18' font-weight='bold'>{title}</text>\n");
    for tick in [LOWEST, 0.85, 0.9, 0.95, 1.0] {
        let (y, label) = (y(tick), left - 6.0);
        svg += &format!(
            "<path d='M{left} {y}h{WIDTH}' stroke='#ddd'/><text x='{label}' y='{y}' dy='4' text-anchor='end'>{tick}</text>\n"
        );
    }
    let mut line = String::new();
    let largest = SCALES[SCALES.len() - 1];
    for (scale, value) in points {
        let (x, y, base) = (left + WIDTH * f64::from(scale / largest), y(*value), TOP + HEIGHT + 17.0);
        line += &format!("{x:.1},{y:.1} ");
        svg += &format!(
            "<circle cx='{x:.1}' cy='{y:.1}' r='3.5' fill='#1f6feb'/><text x='{x:.1}' y='{base}' text-anchor='middle'>{scale}</text>\n"
        );
    }
    let (middle, below) = (left + WIDTH / 2.0, TOP + HEIGHT + 36.0);
    svg + &format!(
        "<polyline points='{}' fill='none' stroke='#1f6feb' stroke-width='2'/>\n\
         <text x='{middle}' y='{below}' text-anchor='middle'>guidance scale</text>\n",
        line.trim_end()
    )
}
