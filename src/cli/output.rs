//! Where finished images go: a PNG grid, a folder of PNGs, an .npz for the public evaluation scripts, a float .npy.
//!
//! An [`Output`] is opened before sampling, which proves that it can be written, and takes images batch by batch.
//! Arrays are streamed to disk, since 50,000 images at 256x256 are ten gigabytes; files get their final names at the end.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::npy::{Dtype, Header};
use crate::checkpoint::writer::{AtomicFile, create_folder, keep_folder};
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

/// The formats, told apart by the output's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One PNG with all images.
    Grid,
    /// A PNG an image.
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
                "{}: no format of this name; give a .png, .npz or .npy file, or a folder",
                path.display()
            ))),
        }
    }
}

/// What will be written, known before the first image.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Images to come; fewer may arrive.
    pub count: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Values a pixel.
    pub channels: usize,
    /// The grid's shape, for [`Format::Grid`].
    pub grid: Grid,
    /// What a grid's PNG says about all of them: keyword and text.
    pub texts: Vec<(String, String)>,
}

/// An open output.
#[derive(Debug)]
pub struct Output {
    layout: Layout,
    written: usize,
    labels: Vec<i64>,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Grid { file: AtomicFile, picture: Pixels, first: Vec<(String, String)> },
    Folder(Folder),
    Npy { file: AtomicFile, header: usize },
    Npz { file: AtomicFile, pixels: AtomicFile },
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
    /// Opens an output, creating what proves that it can be written.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be; [`Error::Options`] where the format does not take such images.
    pub fn create(path: &Path, layout: Layout) -> Result<Self> {
        let format = Format::of(path)?;
        if matches!(format, Format::Grid | Format::Folder) && !matches!(layout.channels, 1 | 3) {
            return Err(Error::Options(format!(
                "images of {} channels are no pictures; give --out a .npz or .npy file",
                layout.channels
            )));
        }
        let sink = match format {
            Format::Grid => {
                let [height, width] = layout.grid.size(layout.height, layout.width)?;
                if height.max(width) > png::MAX_SIDE {
                    return Err(Error::Options(format!(
                        "a grid of {} images would have {width} x {height} pixels; give --out a folder or a .npz file",
                        layout.count
                    )));
                }
                let bytes = vec![0; height * width * layout.channels];
                let picture = Pixels { height, width, channels: layout.channels, bytes };
                Sink::Grid { file: AtomicFile::create(path)?, picture, first: Vec::new() }
            }
            Format::Folder => {
                let created = !path.is_dir();
                if created {
                    create_folder(path)?;
                } else {
                    // Dropped at once: it only shows that the folder takes files.
                    AtomicFile::create(path.join("test"))?;
                    warn_of_pictures(path);
                }
                Sink::Folder(Folder { path: path.to_path_buf(), created })
            }
            Format::Npy => {
                let mut file = AtomicFile::create(path)?;
                let header = npy_header(&layout, layout.count).to_bytes(128);
                file.write_all(&header).map_err(|e| Error::io(path, e))?;
                Sink::Npy { file, header: header.len() }
            }
            Format::Npz => {
                let mut spool = path.as_os_str().to_owned();
                spool.push(".pixels");
                Sink::Npz { file: AtomicFile::create(path)?, pixels: AtomicFile::create(spool)? }
            }
        };
        Ok(Self { layout, written: 0, labels: Vec::new(), sink })
    }

    /// The number of images taken so far.
    pub fn written(&self) -> usize {
        self.written
    }

    /// Takes finished images, with as many records.
    ///
    /// # Errors
    /// [`Error::Io`] where writing failed; [`Error::Options`] for images that were not announced.
    pub fn push(&mut self, images: &Images, records: &[Record]) -> Result<()> {
        let shape = (self.layout.height, self.layout.width, self.layout.channels);
        if (images.height(), images.width(), images.channels()) != shape
            || images.count() != records.len()
            || self.written + images.count() > self.layout.count
        {
            return Err(Error::Options(format!(
                "{} images of {}x{}x{} are not what this output was opened for",
                images.count(),
                images.height(),
                images.width(),
                images.channels()
            )));
        }
        match &mut self.sink {
            Sink::Grid { picture, first, .. } => {
                for (i, record) in records.iter().enumerate() {
                    let (row, column) = self.layout.grid.place(self.written + i);
                    let gap = self.layout.grid.gap;
                    picture.paste(&images.pixels(i), row * (shape.0 + gap), column * (shape.1 + gap));
                    if self.written + i == 0 {
                        *first = record.texts.clone();
                    }
                }
            }
            Sink::Folder(folder) => {
                for (i, record) in records.iter().enumerate() {
                    write_png(&folder.path.join(file_name(record)), &images.pixels(i), &record.texts)?;
                }
            }
            Sink::Npy { file, .. } => {
                let bytes: Vec<u8> = images.to_nchw().iter().flat_map(|v| v.to_le_bytes()).collect();
                file.write_all(&bytes).map_err(|e| Error::io(file.path(), e))?;
            }
            Sink::Npz { file, pixels } => {
                pixels.write_all(&images.to_u8()).map_err(|e| Error::io(file.path(), e))?;
            }
        }
        self.labels.extend(records.iter().filter_map(|r| r.label).map(i64::from));
        self.written += images.count();
        Ok(())
    }

    /// Puts the output into its place and returns it, or None where no image arrived: then nothing is left behind.
    ///
    /// # Errors
    /// [`Error::Io`] where writing failed.
    pub fn finish(self) -> Result<Option<PathBuf>> {
        if self.written == 0 {
            return Ok(None);
        }
        let layout = self.layout;
        let (file, result) = match self.sink {
            Sink::Folder(folder) => return Ok(Some(folder.path.clone())),
            Sink::Grid { mut file, picture, first } => {
                // A single image carries its own parameters, a grid those of the run.
                let texts = if layout.count == 1 { first } else { layout.texts };
                let result = png::write(&mut file, &picture, &texts).map_err(std::io::Error::other);
                (file, result)
            }
            Sink::Npy { mut file, header } => {
                let bytes = npy_header(&layout, self.written).to_bytes(header);
                let result = file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&bytes));
                (file, result)
            }
            Sink::Npz { mut file, mut pixels } => {
                let shape = [self.written, layout.height, layout.width, layout.channels];
                let labels = (self.labels.len() == self.written).then_some(&self.labels[..]);
                let result = write_npz(&mut file, shape, &mut pixels.reopen()?, labels);
                (file, result)
            }
        };
        let path = file.path().to_path_buf();
        result.map_err(|e| Error::io(&path, e))?;
        file.commit()?;
        Ok(Some(path))
    }
}

/// Says so where pictures of another run would lie among those of this one. Parts of one run share a folder, so that it
/// is no error.
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

fn npy_header(layout: &Layout, count: usize) -> Header {
    Header::new(Dtype::F32, &[count, layout.channels, layout.height, layout.width])
}

/// The image's index, and its class for whoever looks into the folder.
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

/// Uncompressed, as `numpy.savez` writes it: samples hardly compress, and readers can map them.
fn write_npz(
    to: impl Write + Seek,
    shape: [usize; 4],
    pixels: &mut File,
    labels: Option<&[i64]>,
) -> std::io::Result<()> {
    let mut archive = zip::ZipWriter::new(to);
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        // numpy opens either kind; a fixed choice keeps equal runs equal byte for byte.
        .large_file(true)
        .last_modified_time(zip::DateTime::default());
    archive.start_file("arr_0.npy", options)?;
    archive.write_all(&Header::new(Dtype::U8, &shape).to_bytes(128))?;
    std::io::copy(pixels, &mut archive)?;
    if let Some(labels) = labels {
        archive.start_file("arr_1.npy", options)?;
        archive.write_all(&Header::new(Dtype::I64, &[labels.len()]).to_bytes(128))?;
        archive.write_all(&labels.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>())?;
    }
    archive.finish()?.flush()
}
