//! The predicted image at each step of a run, kept until its end and written as one picture: a strip with a row per image and
//! a column per step, or an animation of all images, a frame per step.

use std::path::{Path, PathBuf};

use crate::checkpoint::writer::{AtomicFile, check_parent};
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
    steps: usize,
    /// By image and, within it, by step.
    images: Option<Images>,
    /// The batch under way, by step.
    batch: Vec<Images>,
}

impl Trajectory {
    /// Checks that so many images of `shape` (height, width, channels) with so many steps can be kept and written.
    ///
    /// # Errors
    /// [`Error::Options`] for a name of another format, or for more than a picture holds; [`Error::Io`] for a folder that is
    /// not there.
    pub fn new(path: &Path, grid: Grid, count: usize, steps: usize, shape: [usize; 3]) -> Result<Self> {
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
        Ok(Self { path: path.into(), animated, grid, steps, images: None, batch: Vec::new() })
    }

    /// Begins a batch. What is there of one that was stopped, or whose device was lost, is dropped.
    pub fn begin_batch(&mut self) {
        self.batch.clear();
    }

    /// Takes the predicted images of a batch's next step.
    pub fn push(&mut self, images: Images) {
        self.batch.push(images);
    }

    /// Ends a batch, which is kept.
    ///
    /// # Errors
    /// [`Error::Options`] for images of another shape.
    pub fn end_batch(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        let Some(first) = batch.first() else { return Ok(()) };
        let steps = |k: usize| batch.iter().flat_map(move |images| images.image(k).iter().copied());
        let values = (0..first.count()).flat_map(steps).collect();
        let count = first.count() * batch.len();
        let own = Images::new(count, first.height(), first.width(), first.channels(), values)?;
        match &mut self.images {
            Some(all) => all.append(&own),
            none => {
                *none = Some(own);
                Ok(())
            }
        }
    }

    /// Writes the picture, with the run's parameters, and returns its place; None where no image was finished.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(self, texts: &[(String, String)]) -> Result<Option<PathBuf>> {
        let Some(images) = self.images else { return Ok(None) };
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
        Ok(Some(self.path))
    }
}
