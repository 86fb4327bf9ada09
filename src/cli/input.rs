//! Files that a run starts from: noise for the first draw, and images to enlarge.
//!
//! They are the user's, so every length is bounded before memory is taken, and a refusal names the file and the reason.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;
use zip::result::ZipError;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::npy::{Dtype, Header};
use crate::image::{Images, Pixels};
use crate::png;
use crate::resize::Fit;
use crate::{Error, Result};

/// 4 GiB of float32: more than fits the work of one run, less than a hostile header can ask for.
const MAX_ELEMENTS: usize = 1 << 30;

/// Images with the labels that came with them.
#[derive(Debug, Clone, PartialEq)]
pub struct Labeled {
    /// The images, in the range -1 to 1.
    pub images: Images,
    /// Their classes, where the file says.
    pub labels: Option<Vec<u32>>,
    /// It is one picture that says of itself to be a grid of so many.
    pub grid: Option<u64>,
}

impl Labeled {
    /// Refuses a grid of images where a picture of another size, height and width, is needed.
    ///
    /// # Errors
    /// [`Error::Options`] with what would do; the file is called `name`.
    pub fn check_grid(&self, name: &str, [height, width]: [usize; 2]) -> Result<()> {
        match self.grid {
            Some(count) if [self.images.height(), self.images.width()] != [height, width] => {
                Err(Error::Options(format!(
                    "{name}: it says that it is a grid of {count} images, where pictures of {width}x{height} are needed; give \
                     one of them, or all as a folder or an .npz file, which --out makes too"
                )))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn refuse(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::Options(format!("{}: {why}", path.display()))
}

fn open(path: &Path) -> Result<BufReader<File>> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    if file.metadata().map_err(|e| Error::io(path, e))?.is_dir() {
        return Err(refuse(path, "a folder, where a file is needed"));
    }
    Ok(BufReader::new(file))
}

/// Reads float noise of exactly `shape` (N, C, H, W) and returns its values in that order.
///
/// # Errors
/// [`Error::Io`] where the file cannot be read; [`Error::Options`] for another shape or type, a file shorter or longer
/// than its header says, or values that are not finite.
pub fn noise(path: &Path, shape: [usize; 4]) -> Result<Vec<f32>> {
    let mut file = open(path)?;
    let header = Header::read(&mut file).map_err(|e| refuse(path, e))?;
    if header.shape != shape {
        return Err(refuse(path, format!("noise of shape {:?}; this run needs {shape:?} (N, C, H, W)", header.shape)));
    }
    let values = floats(&mut file, &header).map_err(|e| refuse(path, e))?;
    match values.iter().position(|v| !v.is_finite()) {
        Some(at) => Err(refuse(path, format!("value {at} is {}, not a finite number", values[at]))),
        None => Ok(values),
    }
}

/// The first dimension of a noise file: how many images it is for.
///
/// # Errors
/// [`Error::Io`] or [`Error::Options`] where it is not such a file.
pub fn noise_count(path: &Path) -> Result<usize> {
    let header = Header::read(&mut open(path)?).map_err(|e| refuse(path, e))?;
    match header.shape[..] {
        [count, _, _, _] => Ok(count),
        _ => Err(refuse(path, format!("noise of shape {:?}; it needs four dimensions (N, C, H, W)", header.shape))),
    }
}

/// A size that images are brought to, and how.
pub type Wanted = Option<(usize, Fit)>;

/// Reads images to enlarge: an .npz as sampling scripts write it, an .npy (uint8 N,H,W,C or float N,C,H,W), a PNG or JPEG,
/// or a folder of PNGs and JPEGs of one size.
///
/// # Errors
/// [`Error::Io`] or [`Error::Options`] where it is nothing of that kind.
pub fn images(path: &Path) -> Result<Labeled> {
    images_in(path, None)
}

/// As [`images`], brought to the wanted size, each of a folder by itself.
///
/// # Errors
/// As [`images`].
pub fn images_in(path: &Path, wanted: Wanted) -> Result<Labeled> {
    let read = read(path, wanted)?;
    if let Some((size, _)) = wanted {
        read.check_grid(&path.display().to_string(), [size; 2])?;
    }
    Ok(Labeled { images: fitted(read.images, wanted)?, ..read })
}

fn fitted(images: Images, wanted: Wanted) -> Result<Images> {
    wanted.map_or(Ok(images.clone()), |(size, fit)| images.fitted(size, size, fit))
}

fn read(path: &Path, wanted: Wanted) -> Result<Labeled> {
    if path.is_dir() {
        return folder(path, wanted);
    }
    match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("npz") => npz(path),
        Some("npy") => {
            let images = array_images(&mut open(path)?).map_err(|e| refuse(path, e))?;
            Ok(Labeled { images, labels: None, grid: None })
        }
        Some("png" | "jpg" | "jpeg") => {
            let Picture { pixels, label, grid } = picture(path)?;
            Ok(Labeled { images: stack(path, &[pixels])?, labels: label.map(|label| vec![label]), grid })
        }
        _ => Err(refuse(path, "images come from a .npz, .npy, .png or .jpg file, or from a folder of PNGs and JPEGs")),
    }
}

/// The PNGs in a folder, by name.
///
/// # Errors
/// [`Error::Options`] where there are none; [`Error::Io`].
pub fn pictures_of(path: &Path) -> Result<Vec<PathBuf>> {
    files_of(path, &[".png"], "a folder without a PNG")
}

fn files_of(path: &Path, endings: &[&str], none: &str) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| Error::io(path, e))? {
        let file = entry.map_err(|e| Error::io(path, e))?.path();
        let name = file.file_name().map(|n| n.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        // Temporary files of a run under way start with a dot.
        if endings.iter().any(|ending| name.ends_with(ending)) && !name.starts_with('.') {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(refuse(path, none));
    }
    files.sort();
    Ok(files)
}

fn folder(path: &Path, wanted: Wanted) -> Result<Labeled> {
    let files = files_of(path, &[".png", ".jpg", ".jpeg"], "a folder without a PNG or JPEG")?;
    let mut images: Option<Images> = None;
    let mut labels = Vec::new();
    let mut elements = 0usize;
    for file in &files {
        let Picture { pixels, label, .. } = picture(file)?;
        let next = fitted(stack(file, &[pixels])?, wanted)?;
        let shape = |i: &Images| (i.height(), i.width(), i.channels());
        elements += next.data().len();
        if elements > MAX_ELEMENTS {
            return Err(refuse(path, "more images than one run takes; split the folder"));
        }
        labels.extend(label);
        match &mut images {
            None => images = Some(next),
            Some(all) if shape(all) == shape(&next) => all.append(&next)?,
            Some(all) => {
                let (a, b) = (shape(&next), shape(all));
                return Err(refuse(
                    file,
                    format!(
                        "{a:?} (height, width, channels), but the folder's first picture is {b:?}; --fit crop \
                         or --fit pad makes sizes equal"
                    ),
                ));
            }
        }
    }
    let images = images.ok_or_else(|| refuse(path, "no image"))?;
    Ok(Labeled { images, labels: (labels.len() == files.len()).then_some(labels), grid: None })
}

fn stack(path: &Path, pictures: &[Pixels]) -> Result<Images> {
    let Some(first) = pictures.first() else { return Err(refuse(path, "no image")) };
    let bytes: Vec<u8> = pictures.iter().flat_map(|p| p.bytes.iter().copied()).collect();
    Images::from_u8(pictures.len(), first.height, first.width, first.channels, &bytes)
}

/// A picture, and what its own parameters say of it: its class, or that it is a grid of so many.
struct Picture {
    pixels: Pixels,
    label: Option<u32>,
    grid: Option<u64>,
}

fn picture(path: &Path) -> Result<Picture> {
    let mut file = open(path)?;
    // Its first bytes decide, not its name.
    let first = file.fill_buf().map_err(|e| Error::io(path, e))?;
    if first.starts_with(&[0xff, 0xd8]) {
        return Ok(Picture { pixels: jpeg(file).map_err(|e| refuse(path, e))?, label: None, grid: None });
    }
    if !first.starts_with(b"\x89PNG") {
        return Err(refuse(path, "it is neither a PNG nor a JPEG, by its first bytes"));
    }
    let (pixels, texts) = png::read(file).map_err(|e| refuse(path, e))?;
    let parameters = texts
        .iter()
        .find(|(keyword, _)| keyword == crate::recipe::KEYWORD)
        .and_then(|(_, text)| serde_json::from_str::<serde_json::Value>(text).ok())
        .unwrap_or_default();
    let label = parameters["label"].as_u64().and_then(|label| u32::try_from(label).ok());
    Ok(Picture { pixels, label, grid: parameters["count"].as_u64().filter(|count| *count > 1) })
}

/// Pixels per byte of a JPEG at most: a block of 64 takes at least a bit, of the channel that has them all.
const JPEG_PIXELS: u64 = 512;

fn jpeg(file: BufReader<File>) -> Result<Pixels, String> {
    let length = file.get_ref().metadata().map_err(|e| e.to_string())?.len();
    let sides =
        DecoderOptions::default().set_max_width(png::MAX_SIDE).set_max_height(png::MAX_SIDE).set_strict_mode(true);
    let mut decoder = JpegDecoder::new_with_options(file, sides);
    decoder.decode_headers().map_err(|e| e.to_string())?;
    let gray = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let (wanted, channels) = if gray { (ColorSpace::Luma, 1) } else { (ColorSpace::RGB, 3) };
    decoder.set_options(sides.jpeg_set_out_colorspace(wanted));
    let info = decoder.info().ok_or("it has no header")?;
    let (height, width) = (usize::from(info.height), usize::from(info.width));
    if height * width * channels > MAX_ELEMENTS {
        return Err(format!("a picture of {width} x {height} pixels is too large"));
    }
    // Memory is taken by what the header says.
    if (height * width) as u64 > JPEG_PIXELS.saturating_mul(length) {
        return Err(format!("{length} bytes cannot hold the {width} x {height} pixels that the header describes"));
    }
    let bytes = decoder.decode().map_err(|e| e.to_string())?;
    if bytes.len() != height * width * channels {
        return Err(format!(
            "{} bytes of pixels, where {width} x {height} of {channels} channels were described",
            bytes.len()
        ));
    }
    Ok(Pixels { height, width, channels, bytes })
}

/// Opens an .npz file.
///
/// # Errors
/// [`Error::Io`], also where it is cut short or damaged: that is no fault of the arguments.
pub(super) fn open_archive(path: &Path) -> Result<ZipArchive<BufReader<File>>> {
    ZipArchive::new(open(path)?).map_err(|error| match error {
        ZipError::Io(error) if error.kind() != ErrorKind::UnexpectedEof => Error::io(path, error),
        error @ ZipError::UnsupportedArchive(_) => refuse(path, error),
        _ => {
            let text = "this .npz archive is cut short or damaged; remove it and make it again";
            Error::io(path, std::io::Error::new(ErrorKind::InvalidData, text))
        }
    })
}

fn npz(path: &Path) -> Result<Labeled> {
    let mut archive = open_archive(path)?;
    let images = {
        let mut entry = archive
            .by_name("arr_0.npy")
            .map_err(|e| refuse(path, format!("no array arr_0 in this archive ({e}); it is where images are kept")))?;
        array_images(&mut entry).map_err(|e| refuse(path, format!("arr_0: {e}")))?
    };
    let labels = match archive.by_name("arr_1.npy") {
        Ok(mut entry) => Some(labels(&mut entry, images.count()).map_err(|e| refuse(path, format!("arr_1: {e}")))?),
        Err(ZipError::FileNotFound) => None,
        Err(e) => return Err(refuse(path, format!("arr_1: {e}"))),
    };
    Ok(Labeled { images, labels, grid: None })
}

fn array_images(from: &mut impl Read) -> Result<Images, String> {
    let header = Header::read(from)?;
    let [a, b, c, d] = header.shape[..] else {
        return Err(format!("an array of shape {:?}; images have four dimensions", header.shape));
    };
    let images = match header.dtype {
        Dtype::U8 => Images::from_u8(a, b, c, d, &row_major(from, &header)?),
        Dtype::F32 | Dtype::F64 => Images::from_nchw([a, b, c, d], &floats(from, &header)?),
        Dtype::I64 => return Err("integers of 64 bits; images are uint8 N,H,W,C or float N,C,H,W".into()),
    }
    .map_err(|e| e.to_string())?;
    match images.first_not_finite() {
        _ if images.data().is_empty() => Err("no image".into()),
        _ if !matches!(images.channels(), 1 | 3) => {
            Err(format!("images of {} channels; 1 or 3 are known", images.channels()))
        }
        Some(image) => Err(format!("image {image} holds values that are not finite")),
        None => Ok(images),
    }
}

/// An array of so many labels.
pub(super) fn labels(from: &mut impl Read, count: usize) -> Result<Vec<u32>, String> {
    let header = Header::read(from)?;
    if header.dtype != Dtype::I64 || header.shape != [count] {
        return Err(format!(
            "an array of shape {:?} and type {}; labels are int64 of shape [{count}]",
            header.shape,
            header.dtype.name()
        ));
    }
    let word = |b: &[u8]| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
    row_major(from, &header)?
        .chunks_exact(8)
        .map(|bytes| u32::try_from(word(bytes)).map_err(|_| format!("{} is not a label", word(bytes))))
        .collect()
}

fn floats(from: &mut impl Read, header: &Header) -> Result<Vec<f32>, String> {
    let bytes = row_major(from, header)?;
    match header.dtype {
        Dtype::F32 => Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()),
        // NumPy's own normal numbers are float64.
        Dtype::F64 => Ok(bytes
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32)
            .collect()),
        Dtype::U8 | Dtype::I64 => Err(format!("elements of type {}; float32 is needed", header.dtype.name())),
    }
}

/// The elements' bytes with the last index running fastest, exactly as many as the header says.
fn row_major(from: &mut impl Read, header: &Header) -> Result<Vec<u8>, String> {
    let elements = header
        .elements()
        .filter(|&n| n <= MAX_ELEMENTS)
        .ok_or_else(|| format!("an array of shape {:?} is more than one run takes", header.shape))?;
    let size = header.dtype.size();
    let wanted = elements * size;
    // Grows with what is really there, so that a header alone takes no memory; one byte more shows a longer file.
    let mut bytes = Vec::new();
    from.take(wanted as u64 + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() != wanted {
        let found = if bytes.len() < wanted { format!("only {}", bytes.len()) } else { "more".to_string() };
        return Err(format!("{wanted} bytes belong after the header, but there are {found}"));
    }
    if !header.fortran_order {
        return Ok(bytes);
    }
    // Walk the elements in memory order, counting the index up from its first digit.
    let mut strides = vec![size; header.shape.len()];
    for i in (1..strides.len()).rev() {
        strides[i - 1] = strides[i] * header.shape[i];
    }
    let mut out = vec![0; bytes.len()];
    let mut index = vec![0; header.shape.len()];
    for element in bytes.chunks_exact(size) {
        let at: usize = index.iter().zip(&strides).map(|(i, stride)| i * stride).sum();
        out[at..at + size].copy_from_slice(element);
        for (digit, &end) in index.iter_mut().zip(&header.shape) {
            *digit += 1;
            if *digit < end {
                break;
            }
            *digit = 0;
        }
    }
    Ok(out)
}
