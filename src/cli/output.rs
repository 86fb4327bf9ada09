//! Where finished images go: a PNG grid, a folder of PNGs, an .npz for the public evaluation scripts, a float .npy.
//!
//! An [`Output`] is opened before sampling, which shows that it can be written, and takes images batch by batch. Finished
//! batches lie in its journal, since 50,000 images at 256x256 are ten gigabytes and a run may be killed; the file
//! appears under its name when all are there.

use std::io::{BufWriter, Read, Seek, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::begun;
use super::classes::in_turn;
use super::journal::Journal;
use super::npy::{Dtype, Header};
use crate::checkpoint::writer::{AtomicFile, check_parent, create_folder, keep_folder, remove_orphans};
use crate::image::{Grid, Images, Pixels};
use crate::png;
use crate::{Error, Result};

/// What one image is, beside its pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The image's index in the whole run.
    pub index: u64,
    /// Its class, where the model has classes.
    pub label: Option<u32>,
    /// Name of the class, for a file's name.
    pub class: String,
    /// What a PNG says about it: keyword and text.
    pub texts: Vec<(String, String)>,
}

/// The formats; the output's name decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One PNG with all images.
    Grid,
    /// A folder with one PNG per image.
    Folder,
    /// `arr_0` uint8 N,H,W,C and, with classes, `arr_1` int64 N.
    Npz,
    /// float32 N,C,H,W in the sampler's own range.
    Npy,
}

impl Format {
    /// The format for a path: by its extension, or a folder where it has none.
    ///
    /// # Errors
    /// [`Error::Options`] for an extension that stands for no format.
    pub fn of(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Err(Error::Options(
                "-: images are not written to standard output; give a .png, .npz or .npy file, or a folder".into(),
            ));
        }
        if path.is_dir() || path.as_os_str().to_string_lossy().ends_with(['/', std::path::MAIN_SEPARATOR]) {
            return Ok(Self::Folder);
        }
        match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
            None if path.is_file() => Err(Error::Options(format!(
                "{}: this is a file, and its name has no format; give a .png, .npz or .npy file, or a folder",
                path.display()
            ))),
            None => Ok(Self::Folder),
            Some("png") => Ok(Self::Grid),
            Some("npz") => Ok(Self::Npz),
            Some("npy") => Ok(Self::Npy),
            Some(_) => Err(Error::Options(format!(
                "{}: the format of this name is unknown; give a .png, .npz or .npy file, or a folder",
                path.display()
            ))),
        }
    }
}

/// What will be written, known before the first image.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Indices of the images, in the whole run.
    pub indices: Range<u32>,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Values per pixel.
    pub channels: usize,
    /// The grid's shape, for [`Format::Grid`].
    pub grid: Grid,
    /// What a grid's PNG says: keyword and text.
    pub texts: Vec<(String, String)>,
    /// The images' classes, in turn by their indices; empty where they have none.
    pub labels: Vec<u32>,
    /// What makes the images: an output of another run is not continued.
    pub run: Value,
    /// Bytes of an image of the stage before, which the journal keeps as well; 0 without one.
    pub low_bytes: usize,
}

impl Layout {
    fn count(&self) -> usize {
        self.indices.len()
    }

    fn values(&self) -> usize {
        self.height * self.width * self.channels
    }
}

/// An open output, and what an earlier process has finished of it.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    format: Format,
    layout: Layout,
    journal: Journal,
    /// The journal's number of the images' stage; its first one is the stage before, if that is kept.
    stage: usize,
    /// Dropped after the journal, which may lie in it.
    folder: Option<Folder>,
}

/// A folder for pictures. Dropped empty, one that was made for them goes again, however the run ended.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    created: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.created {
            keep_folder(&self.path);
            // Refused where anything lies in it.
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

impl Output {
    /// Opens an output, which shows that it can be written, or continues one of the same run. `restart` drops what an
    /// earlier process has finished.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be written or another process is writing it; [`Error::Options`] where the format does not
    /// take such images, or another run was begun there.
    pub fn open(path: &Path, layout: Layout, restart: bool, name: impl Fn(u32) -> Record) -> Result<Self> {
        let format = Format::of(path)?;
        if matches!(format, Format::Grid | Format::Folder) && !matches!(layout.channels, 1 | 3) {
            return Err(Error::Options(format!(
                "images of {} channels cannot be PNGs; give --out a .npz or .npy file",
                layout.channels
            )));
        }
        let mut folder = None;
        if format == Format::Folder {
            let created = !path.is_dir();
            if created {
                create_folder(path)?;
            }
            folder = Some(Folder { path: path.to_path_buf(), created });
            begun::refuse_overlap(path, &layout.indices, restart)?;
            remove_orphans(path, None);
        } else {
            if format == Format::Grid {
                grid_size(&layout)?;
            }
            check_parent(path)?;
            remove_orphans(path.parent().unwrap_or(Path::new("")), path.file_name());
        }
        let bytes = match format {
            Format::Folder => 0,
            Format::Grid | Format::Npz => layout.values(),
            Format::Npy => 4 * layout.values(),
        };
        let stages = if layout.low_bytes > 0 { vec![layout.low_bytes, bytes] } else { vec![bytes] };
        let stage = stages.len() - 1;
        let place = begun::place(path, format == Format::Folder, &layout.indices);
        let mut journal = Journal::open(place, &layout.run, &stages, restart)?;
        if let Some(folder) = &folder {
            let is_there = |index: &u32| folder.path.join(file_name(&name(*index))).is_file();
            let found = layout.indices.clone().take(journal.finished(stage)).take_while(is_there).count();
            journal.keep(stage, found)?;
            if journal.finished(stage) == 0 && !folder.created {
                warn_of_pictures(&folder.path);
            }
        }
        Ok(Self { path: path.to_path_buf(), format, layout, journal, stage, folder })
    }

    /// The number of images that are finished, those of earlier processes included.
    pub fn written(&self) -> usize {
        self.journal.finished(self.stage).min(self.layout.count())
    }

    /// Whether all are.
    pub fn is_complete(&self) -> bool {
        self.written() == self.layout.count()
    }

    /// What is kept of the stage before.
    pub fn low(&mut self) -> Option<&mut Journal> {
        (self.stage > 0).then_some(&mut self.journal)
    }

    /// Drops finished images from number `count` on.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn keep(&mut self, count: usize) -> Result<()> {
        self.journal.keep(self.stage, count)
    }

    /// Takes finished images, with as many records: they are on disk when it returns.
    ///
    /// # Errors
    /// [`Error::Io`] where writing failed; [`Error::Options`] for images that were not announced.
    pub fn push(&mut self, images: &Images, records: &[Record]) -> Result<()> {
        let shape = (self.layout.height, self.layout.width, self.layout.channels);
        if (images.height(), images.width(), images.channels()) != shape
            || images.count() != records.len()
            || self.written() + images.count() > self.layout.count()
        {
            return Err(Error::Options(format!(
                "{} images of {}x{}x{} are not what this output was opened for",
                images.count(),
                images.height(),
                images.width(),
                images.channels()
            )));
        }
        let pixels = match self.format {
            Format::Folder => {
                for (i, record) in records.iter().enumerate() {
                    write_png(&self.path.join(file_name(record)), &images.pixels(i), &record.texts)?;
                }
                Vec::new()
            }
            Format::Npy => images.to_nchw().iter().flat_map(|v| v.to_le_bytes()).collect(),
            Format::Grid | Format::Npz => images.to_u8(),
        };
        self.journal.push(self.stage, images.count(), &pixels)
    }

    /// Puts the output into its place and returns it, or None where images are missing: then what is finished stays for
    /// the next process.
    ///
    /// # Errors
    /// [`Error::Io`] where writing failed.
    pub fn finish(self) -> Result<Option<PathBuf>> {
        if !self.is_complete() {
            return Ok(None);
        }
        if self.format != Format::Folder {
            let mut file = AtomicFile::create(&self.path)?;
            self.write(&mut file).map_err(|e| Error::io(&self.path, e))?;
            file.commit()?;
        }
        self.journal.remove();
        drop(self.folder);
        Ok(Some(self.path))
    }

    fn write(&self, file: &mut AtomicFile) -> std::io::Result<()> {
        let layout = &self.layout;
        let pixels = self.journal.pixels(self.stage).map_err(std::io::Error::other)?;
        let bytes = |n: usize| (n * layout.count()) as u64;
        match self.format {
            Format::Folder => Ok(()),
            Format::Npy => {
                let shape = [layout.count(), layout.channels, layout.height, layout.width];
                file.write_all(&Header::new(Dtype::F32, &shape).to_bytes(128))?;
                std::io::copy(&mut pixels.take(bytes(4 * layout.values())), file).map(|_| ())
            }
            Format::Npz => {
                let shape = [layout.count(), layout.height, layout.width, layout.channels];
                let mut pixels = pixels.take(bytes(layout.values()));
                let labels = layout.indices.clone().filter_map(|index| in_turn(&layout.labels, index));
                write_npz(file, shape, labels, &layout.run, |to| std::io::copy(&mut pixels, to).map(|_| ()))
            }
            Format::Grid => {
                let mut pixels = std::io::BufReader::new(pixels);
                let [height, width] = grid_size(layout).map_err(std::io::Error::other)?;
                let bytes = vec![0; height * width * layout.channels];
                let mut picture = Pixels { height, width, channels: layout.channels, bytes };
                for i in 0..layout.count() {
                    let mut bytes = vec![0; layout.values()];
                    pixels.read_exact(&mut bytes)?;
                    let image = Pixels { height: layout.height, width: layout.width, channels: layout.channels, bytes };
                    let (row, column) = layout.grid.place(i);
                    let gap = layout.grid.gap;
                    picture.paste(&image, row * (layout.height + gap), column * (layout.width + gap));
                }
                png::write(file, &picture, &layout.texts).map_err(std::io::Error::other)
            }
        }
    }
}

/// A grid's height and width, if a PNG holds as much.
fn grid_size(layout: &Layout) -> Result<[usize; 2]> {
    let [height, width] = layout.grid.size(layout.height, layout.width)?;
    if height.max(width) > png::MAX_SIDE {
        return Err(Error::Options(format!(
            "a grid of {} images would have {width} x {height} pixels; give --out a folder or a .npz file",
            layout.count()
        )));
    }
    Ok([height, width])
}

/// Warns where pictures of another run would lie among those of this one. Parts of one run share a folder, so that it
/// is not an error.
fn warn_of_pictures(folder: &Path) {
    let is_picture = |entry: &std::fs::DirEntry| entry.path().extension().is_some_and(|extension| extension == "png");
    let count = std::fs::read_dir(folder).map_or(0, |entries| entries.flatten().filter(is_picture).count());
    if count > 0 {
        super::console::note(&format!(
            "note: {}: {count} PNGs are here already; those whose names this run does not write stay",
            folder.display()
        ));
    }
}

/// The image's index, and its class for people who look into the folder.
fn file_name(record: &Record) -> String {
    let words: Vec<String> = record
        .class
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let class: String = words.join("-").chars().take(40).collect();
    format!("{:06}{}{class}.png", record.index, if class.is_empty() { "" } else { "-" })
}

/// Writes one picture, whole or not at all.
///
/// # Errors
/// [`Error::Io`] where writing failed.
pub fn write_png(path: &Path, picture: &Pixels, texts: &[(String, String)]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    png::write(&mut file, picture, texts).map_err(|e| Error::io(path, std::io::Error::other(e)))?;
    file.commit()
}

/// Uncompressed, as `numpy.savez` writes it: samples hardly compress, and readers can map them. What made the images
/// stands in the archive's comment, which NumPy and the public evaluation scripts do not look at. `labels` are as many as the
/// images, or none.
pub fn write_npz(
    to: &mut (impl Write + Seek),
    shape: [usize; 4],
    labels: impl Iterator<Item = u32>,
    run: &Value,
    pixels: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut archive = zip::ZipWriter::new(to);
    let filled = fill_npz(&mut archive, shape, labels, run, pixels);
    if filled.is_err() {
        // When dropped it would try to finish once more, and print that this failed too. It owns nothing but its lists.
        std::mem::forget(archive);
        return filled;
    }
    archive.finish()?.flush()
}

fn fill_npz(
    archive: &mut zip::ZipWriter<impl Write + Seek>,
    shape: [usize; 4],
    labels: impl Iterator<Item = u32>,
    run: &Value,
    pixels: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        // numpy opens either kind; a fixed choice keeps equal runs equal byte for byte.
        .large_file(true)
        .last_modified_time(zip::DateTime::default());
    archive.start_file("arr_0.npy", options)?;
    archive.write_all(&Header::new(Dtype::U8, &shape).to_bytes(128))?;
    pixels(archive)?;
    let mut labels = labels.peekable();
    if labels.peek().is_some() {
        archive.start_file("arr_1.npy", options)?;
        let mut to = BufWriter::new(archive.by_ref());
        to.write_all(&Header::new(Dtype::I64, &shape[..1]).to_bytes(128))?;
        labels.try_for_each(|label| to.write_all(&i64::from(label).to_le_bytes()))?;
        to.flush()?;
    }
    archive.set_comment(run.to_string())?;
    Ok(())
}
