//! Quality per evaluation of the network: for each sampler and number of evaluations the share of fashion32's
//! images that the judge labels as asked, and the Frechet distance in its features to the real test images.
//!
//! ```text
//! cargo run --release --example quality -- [--images N] [--data FOLDER] [SAMPLER:EVALUATIONS[:grid] ...]
//! ```
//!
//! makes the cells that are named (all of them otherwise) in turn, and then prints the table of all that were ever made and
//! draws docs/images/quality.svg. Cells with a grid take it from target/quality/grids.safetensors, which this makes first:
//!
//! ```text
//! guided-diffusion grid models/fashion32.safetensors --steps 2,3,4,5,6,8,10,13,15,25 --seed 1 \
//!     --out target/quality/grids.safetensors
//! ```
//!
//! What a cell has is kept in target/quality, a batch at a time, so that the work can be
//! stopped and continued; `--images 0` only reports. All cells start from the same noise.

mod frechet;
#[path = "../../tests/common/judge.rs"]
mod judge;
mod report;

use std::error::Error;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use guided_diffusion::config::{Flags, TimeGrids};
use guided_diffusion::{
    AdapterChoice, Checkpoint, Gpu, Images, ModelConfig, SampleOptions, Sampler, Session, SessionOptions, Settings,
};
use judge::Judge;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SAMPLERS: [&str; 5] = ["ddim", "dpm++2m", "dpm++3m", "ipndm", "heun"];
const EVALUATIONS: [usize; 7] = [4, 5, 6, 8, 10, 15, 25];
/// Has the searched grids.
const GRIDS: &str = "target/quality/grids.safetensors";
const CLASSES: usize = 10;
const BATCH: usize = 20;
/// Values that the judge's last layer reads.
const FEATURES: usize = 1024;
/// Side of the images, and of Fashion-MNIST's, which have a black border in the model's.
const SIDE: usize = 32;
const DRAWN: usize = 28;

/// A file of the tests, as the judge asks for it.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A sampler with so many evaluations.
#[derive(Debug, Clone, PartialEq)]
struct Cell {
    sampler: String,
    evaluations: usize,
    grid: bool,
}

impl Cell {
    /// Those of the table, few evaluations first.
    fn all() -> impl Iterator<Item = Self> {
        let each = |evaluations| {
            let of = move |sampler: &str| {
                (sampler.to_owned(), if sampler == "heun" { odd(evaluations) } else { evaluations })
            };
            SAMPLERS.into_iter().map(of)
        };
        let both = |(sampler, evaluations): (String, usize)| {
            [false, true].map(|grid| Self { sampler: sampler.clone(), evaluations, grid })
        };
        EVALUATIONS.into_iter().flat_map(each).flat_map(both)
    }

    /// Its settings. Without a grid, DDIM has the public code's stride.
    fn settings(&self, grids: &TimeGrids) -> Result<Settings> {
        let steps = if self.sampler == "heun" { self.evaluations.div_ceil(2) } else { self.evaluations };
        let lacking =
            || format!("{self}: {GRIDS} has no grid of {steps} steps; the example's first lines say how it is made");
        let sampler: Sampler = self.sampler.parse()?;
        let spec = if self.sampler == "ddim" && !self.grid { format!("ddim{steps}") } else { steps.to_string() };
        let grid = if self.grid { Some(grids.get(&steps).ok_or_else(lacking)?.clone()) } else { None };
        Ok(Settings { sampler: Some(sampler), steps: Some(spec.parse()?), grid, ..Settings::default() })
    }
}

/// Heun's method evaluates twice a step, but for the last.
fn odd(evaluations: usize) -> usize {
    evaluations - usize::from(evaluations.is_multiple_of(2))
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}{}", self.sampler, self.evaluations, if self.grid { ":grid" } else { "" })
    }
}

impl FromStr for Cell {
    type Err = Box<dyn Error>;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || format!("{text:?} is no cell; write SAMPLER:EVALUATIONS or SAMPLER:EVALUATIONS:grid");
        let mut parts = text.splitn(3, ':');
        let (sampler, evaluations) = (parts.next().ok_or_else(wrong)?, parts.next().ok_or_else(wrong)?);
        let grid = match parts.next() {
            None => false,
            Some("grid") => true,
            Some(_) => return Err(wrong().into()),
        };
        Ok(Self { sampler: sampler.into(), evaluations: evaluations.parse()?, grid })
    }
}

/// What the judge sees in images: for each its label and its features.
struct Records(PathBuf);

impl Records {
    fn of(name: &str) -> Self {
        Self(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("target/quality")
                .join(format!("{}.f32", name.replace(':', "-"))),
        )
    }

    /// Labels and features so far; a record that was not written to its end is left out.
    fn read(&self) -> Result<(Vec<usize>, Vec<f32>)> {
        let bytes = match std::fs::read(&self.0) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            found => found?,
        };
        let (mut labels, mut features) = (Vec::new(), Vec::new());
        for record in bytes.chunks_exact(4 * (1 + FEATURES)) {
            let mut values = record.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            labels.extend(values.next().map(|label| label as usize));
            features.extend(values);
        }
        Ok((labels, features))
    }

    /// Adds images after the first `have`.
    fn add(&self, have: usize, judge: &Judge, images: &Images) -> Result<()> {
        let mut bytes = Vec::new();
        for i in 0..images.count() {
            let seen = judge.read(images.image(i));
            bytes.extend([seen.label() as f32].iter().chain(&seen.features).flat_map(|value| value.to_le_bytes()));
        }
        std::fs::create_dir_all(self.0.parent().unwrap_or(Path::new(".")))?;
        let mut file = OpenOptions::new().create(true).append(true).open(&self.0)?;
        file.set_len((have * 4 * (1 + FEATURES)) as u64)?;
        Ok(file.write_all(&bytes)?)
    }
}

struct Arguments {
    images: usize,
    data: PathBuf,
    cells: Vec<Cell>,
}

fn arguments() -> Result<Arguments> {
    let mut found =
        Arguments { images: 500, data: PathBuf::from("/usr/share/datasets/fashion-mnist"), cells: Vec::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--images" => found.images = value()?.parse()?,
            "--data" => found.data = value()?.into(),
            cell => found.cells.push(cell.parse()?),
        }
    }
    if found.cells.is_empty() {
        found.cells = Cell::all().collect();
    }
    Ok(found)
}

fn main() -> Result<()> {
    let arguments = arguments()?;
    let judge = Judge::open("judge.safetensors");
    let real = real(&arguments.data, &judge)?;
    if arguments.images > 0 {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let grids = match folder.join(GRIDS) {
            path if path.exists() => Checkpoint::open(path)?.config(&Flags::default())?.config.grids,
            _ => TimeGrids::new(),
        };
        let mut session = pollster::block_on(load(&folder.join("models/fashion32.safetensors")))?;
        for cell in &arguments.cells {
            make(&mut session, cell, &cell.settings(&grids)?, arguments.images, &judge)?;
        }
    }
    report::write(&real)
}

/// Features of the 10,000 real test images.
fn real(folder: &Path, judge: &Judge) -> Result<frechet::Real> {
    let records = Records::of("real");
    let have = records.read()?.0.len();
    let pixels = idx(&folder.join("t10k-images-idx3-ubyte.gz"))?;
    let border = (SIDE - DRAWN) / 2;
    for (at, drawn) in pixels.chunks(500 * DRAWN * DRAWN).enumerate().skip(have / 500) {
        let mut values = vec![-1.0; drawn.len() / (DRAWN * DRAWN) * SIDE * SIDE];
        for (k, row) in drawn.chunks_exact(DRAWN).enumerate() {
            let from = (k / DRAWN * SIDE + k % DRAWN + border) * SIDE + border;
            values[from..from + DRAWN].iter_mut().zip(row).for_each(|(v, byte)| *v = f32::from(*byte) / 127.5 - 1.0);
        }
        let count = values.len() / (SIDE * SIDE);
        records.add(at * 500, judge, &Images::new(count, SIDE, SIDE, 1, values)?)?;
    }
    Ok(frechet::Real::new(&records.read()?.1, FEATURES))
}

/// The bytes of a gzipped idx file of images; its header has 16.
fn idx(path: &Path) -> Result<Vec<u8>> {
    let missing = |e| {
        format!(
            "{}: {e}; the real test images are Fashion-MNIST's: apt install dataset-fashion-mnist, or give the folder of its \
             gzipped idx files as --data",
            path.display()
        )
    };
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(File::open(path).map_err(missing)?).read_to_end(&mut bytes).map_err(missing)?;
    if bytes.len() < 16 || !(bytes.len() - 16).is_multiple_of(DRAWN * DRAWN) {
        return Err(format!("{}: it holds no images of {DRAWN}x{DRAWN}", path.display()).into());
    }
    Ok(bytes.split_off(16))
}

async fn load(path: &Path) -> Result<Session> {
    let gpu = Gpu::open(&AdapterChoice::Default).await?;
    let checkpoint = Checkpoint::open(path)?;
    // Without the grid that the file has, which is a cell's own matter.
    let config = ModelConfig { grids: TimeGrids::new(), ..checkpoint.config(&Flags::default())?.config };
    let options = SessionOptions { batch: BATCH, ..SessionOptions::default() };
    Ok(Session::load(&gpu, &checkpoint, &config, &options).await?)
}

/// Makes the images that a cell lacks, the classes in turn.
fn make(session: &mut Session, cell: &Cell, settings: &Settings, images: usize, judge: &Judge) -> Result<()> {
    let records = Records::of(&cell.to_string());
    // Whole batches alone.
    let have = records.read()?.0.len() / BATCH * BATCH;
    for first in (have..images).step_by(BATCH) {
        let options = SampleOptions {
            count: BATCH,
            labels: (first..first + BATCH).map(|i| (i % CLASSES) as u32).collect(),
            settings: settings.clone(),
            first_index: first as u32,
            ..SampleOptions::default()
        };
        let run = session.sample(options)?;
        if run.evaluations() != cell.evaluations {
            return Err(format!("{cell}: this sampler would make {} evaluations", run.evaluations()).into());
        }
        records.add(first, judge, &pollster::block_on(run.finish())?)?;
    }
    println!("{cell}: {} images", have.max(images));
    Ok(())
}
