//! The predicted image at each step of a run, kept in a journal of its own until its end and written as one picture: a strip
//! with a row per image and a column per step, or an animation of all images, a frame per step.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::begun;
use super::journal::Journal;
use super::request::Request;
use super::stage::Stage;
use crate::checkpoint::writer::{AtomicFile, check_parent, remove_orphans};
use crate::image::{Grid, Images, volume};
use crate::png;
use crate::{Error, Result};

/// Values at most: 256 MiB of float32.
const MAX_VALUES: usize = 1 << 26;
/// Hundredths of a second that a frame is shown, and the last one.
const DELAYS: (u16, u16) = (20, 200);

/// What is kept of a run.
#[derive(Debug)]
pub struct Trajectory {
    path: PathBuf,
    animated: bool,
    grid: Grid,
    /// Images, and steps of each.
    count: usize,
    steps: usize,
    /// Height, width, values per pixel.
    shape: [usize; 3],
    /// Finished images, each as its steps.
    journal: Journal,
    /// The batch under way, by step.
    batch: Vec<Images>,
}

impl Trajectory {
    /// Checks that the request's images of `stage` with their steps can be kept and written, and opens their journal as that
    /// of an output.
    ///
    /// # Errors
    /// [`Error::Options`] for a name of another format, for more than a picture holds, or where another run was begun;
    /// [`Error::Io`] for a folder that is not there, or another process at it.
    pub fn open(path: &Path, request: &Request, stage: &Stage, run: &Value, restart: bool) -> Result<Self> {
        let (grid, count, steps) = (request.grid(), request.indices.len(), stage.steps);
        let shape = [stage.height, stage.width, stage.channels];
        let refuse = |why: String| Err(Error::Options(format!("{}: {why}", path.display())));
        let animated = match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
            Some("png") => false,
            Some("apng") => true,
            _ => return refuse("--trajectory takes a .png (a strip) or an .apng (an animation)".into()),
        };
        check_parent(path)?;
        let [height, width, channels] = shape;
        let strip = Grid { rows: count, columns: steps, by_column: false, gap: 2 };
        let grid = if animated { grid } else { strip };
        let sides = grid.size(height, width)?;
        let values = volume([count.saturating_mul(steps), height, width, channels])?;
        if sides.into_iter().max() > Some(png::MAX_SIDE) || values > MAX_VALUES {
            return refuse(format!(
                "{count} images of {steps} steps are more than a picture of steps holds; take fewer (--count, --steps)"
            ));
        }
        if !matches!(channels, 1 | 3) {
            return refuse(format!("images of {channels} channels are no pictures"));
        }
        remove_orphans(path.parent().unwrap_or(Path::new("")), path.file_name());
        let place = begun::place(path, false, &request.indices);
        let journal = Journal::open(place, run, &[steps * height * width * channels], restart)?;
        Ok(Self { path: path.into(), animated, grid, count, steps, shape, journal, batch: Vec::new() })
    }

    /// Images whose steps are kept.
    pub fn written(&self) -> usize {
        self.journal.finished(0)
    }

    /// Drops those from number `count` on.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn keep(&mut self, count: usize) -> Result<()> {
        self.journal.keep(0, count)
    }

    /// Begins a batch. What is there of one that was stopped, or whose device was lost, is dropped.
    pub fn begin_batch(&mut self) {
        self.batch.clear();
    }

    /// Takes the predicted images of a batch's next step.
    pub fn push(&mut self, images: Images) {
        self.batch.push(images);
    }

    /// Ends a batch, which is kept: its steps are on disk when it returns.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn end_batch(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        let steps = |k: usize| batch.iter().flat_map(move |images| images.pixels(k).bytes);
        let count = batch.first().map_or(0, Images::count);
        let pixels: Vec<u8> = (0..count).flat_map(steps).collect();
        self.journal.push(0, count, &pixels)
    }

    /// Writes the picture, with the run's parameters; false where images are missing.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, texts: &[(String, String)]) -> Result<bool> {
        if self.written() < self.count {
            return Ok(false);
        }
        let ([height, width, channels], count) = (self.shape, self.count * self.steps);
        let mut pixels = vec![0; volume([count, height, width, channels])?];
        self.journal.pixels(0)?.read_exact(&mut pixels).map_err(|e| Error::io(&self.path, e))?;
        let images = Images::from_u8(count, height, width, channels, &pixels)?;
        let mut frames = Vec::new();
        if self.animated {
            let steps = self.steps.max(1);
            for step in 0..steps {
                let of_step = (step..images.count()).step_by(steps);
                let values = of_step.clone().flat_map(|k| images.image(k).iter().copied()).collect();
                let own = Images::new(of_step.len(), images.height(), images.width(), images.channels(), values)?;
                frames.push(own.grid(self.grid)?);
            }
        } else {
            frames.push(images.grid(self.grid)?);
        }
        let mut file = AtomicFile::create(&self.path)?;
        png::write_frames(&mut file, &frames, DELAYS, texts)
            .map_err(|e| Error::io(&self.path, std::io::Error::other(e)))?;
        file.commit()?;
        Ok(true)
    }

    /// Removes what was kept, and returns the picture's place.
    pub fn remove(self) -> PathBuf {
        self.journal.remove();
        self.path
    }
}
