//! Progress bars: of sampling (steps done, time left, images per second) and of files. Silent where standard error is no
//! terminal.

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Progress of a sampling run.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    start: Instant,
    images: usize,
    total: usize,
    stage: String,
}

impl Progress {
    /// A bar over all steps of all batches; hidden where nobody watches.
    pub fn new(steps: u64, images: usize) -> Self {
        let shown = std::io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(steps), target);
        // A template that does not parse leaves the default style, which is no reason to stop.
        if let Ok(style) = ProgressStyle::with_template("{bar:28} {pos}/{len} steps, {eta} left, {msg}") {
            bar.set_style(style);
        }
        let progress = Self { bar, start: Instant::now(), images: 0, total: images, stage: String::new() };
        progress.show();
        if shown {
            progress.bar.enable_steady_tick(Duration::from_millis(200));
        }
        progress
    }

    /// Stage `number` of `of` begins; nothing is said of the only one.
    pub fn stage(&mut self, number: usize, of: usize) {
        self.stage = if of > 1 { format!("stage {number} of {of}, ") } else { String::new() };
        self.show();
    }

    /// One denoising step is done.
    pub fn step(&self) {
        self.bar.inc(1);
    }

    /// So many images more are finished.
    pub fn finished(&mut self, images: usize) {
        self.images += images;
        self.show();
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Removes the bar, so that what follows stands on a clean line.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn show(&self) {
        let rate = match self.images {
            0 => String::new(),
            n => format!(", {:.2} images/s", n as f64 / self.start.elapsed().as_secs_f64().max(1e-9)),
        };
        self.bar.set_message(format!("{}{}/{} images{rate}", self.stage, self.images, self.total));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // On an error too, the terminal is left clean.
        self.bar.finish_and_clear();
    }
}

/// Progress through a file.
#[derive(Debug)]
pub struct Bytes(ProgressBar);

impl Bytes {
    /// A bar for the file `path`; hidden where nobody watches.
    pub fn new(path: &Path) -> Self {
        let shown = std::io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{msg} {bar:28} {bytes}/{total_bytes}, {eta} left") {
            bar.set_style(style);
        }
        bar.set_message(path.display().to_string());
        Self(bar)
    }

    /// So many bytes of all are done.
    pub fn at(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }

    /// Removes the bar.
    pub fn end(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
