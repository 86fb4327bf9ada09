//! Progress bars: of sampling (steps done, time left, images per second) and of files. Where standard error is no terminal,
//! such as in a log, a long run says a line now and then.

use std::cell::Cell;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::console::note;

/// The bar of a run whose first step compiles the kernels, which says nothing of how long the others take.
const STARTING: &str = "{bar:28} {pos}/{len} steps, {msg}";
const RUNNING: &str = "{bar:28} {pos}/{len} steps, {eta} left, {msg}";

/// Between two lines where there is no bar.
const BETWEEN_LINES: Duration = Duration::from_secs(30);

/// Progress of a sampling run.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    start: Instant,
    images: usize,
    total: usize,
    stage: String,
    last_line: Cell<Instant>,
}

impl Progress {
    /// A bar over all steps of all batches.
    pub fn new(steps: u64, images: usize) -> Self {
        let bar = styled(Some(steps), STARTING);
        let start = Instant::now();
        let progress = Self { bar, start, images: 0, total: images, stage: String::new(), last_line: Cell::new(start) };
        progress.show();
        if !progress.bar.is_hidden() {
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
        if self.bar.position() == 0 {
            style(&self.bar, RUNNING);
        }
        self.bar.inc(1);
        if self.bar.is_hidden() && self.last_line.get().elapsed() >= BETWEEN_LINES {
            let (done, of) = (self.bar.position(), self.bar.length().unwrap_or_default());
            note(&format!("{done}/{of} steps, {}", self.bar.message()));
            self.last_line.set(Instant::now());
        }
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

/// A bar; hidden where standard error is no terminal.
fn styled(length: Option<u64>, template: &str) -> ProgressBar {
    let shown = std::io::stderr().is_terminal();
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(length, target);
    style(&bar, template);
    bar
}

/// A template that does not parse leaves the style that was, which is no reason to stop.
fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

/// Progress through a file.
#[derive(Debug)]
pub struct Bytes(ProgressBar);

impl Bytes {
    /// A bar for the file `path`.
    pub fn new(path: &Path) -> Self {
        let bar = styled(None, "{msg} {bar:28} {bytes}/{total_bytes}, {eta} left");
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
