//! Writes files so that a reader sees the whole of one or none of it: into a temporary neighbour, renamed at the end.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use safetensors::tensor::{Dtype, Metadata, TensorInfo as Entry};

use super::header::DType;
use crate::error::{Error, Result};

/// Temporary files that exist, and folders that were made for what is to come.
static TEMPORARIES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn temporaries() -> MutexGuard<'static, Vec<PathBuf>> {
    TEMPORARIES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the temporary files of every unfinished [`AtomicFile`], and folders that are still empty, for a process that
/// ends without dropping them.
pub fn remove_temporaries() {
    // A folder came before the files in it. One in which anything lies stays.
    for path in temporaries().drain(..).rev() {
        let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path));
    }
}

/// Makes a folder that [`remove_temporaries`] removes where it is still empty.
///
/// # Errors
/// [`Error::Io`] where it cannot be made.
pub fn create_folder(path: &Path) -> Result<()> {
    check_parent(path)?;
    let mut known = temporaries();
    std::fs::create_dir(path).map_err(|e| Error::io(path, e))?;
    known.push(path.to_path_buf());
    Ok(())
}

/// Leaves a folder of [`create_folder`] to its owner.
pub fn keep_folder(path: &Path) {
    temporaries().retain(|known| known != path);
}

/// Refuses a path whose folder is missing: the system's error would name what is to be written and not that folder.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn check_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) if parent != Path::new("") && !parent.is_dir() => {
            let shown = parent.display();
            let reason = match parent.exists() {
                true => format!("{shown} is a file, where a folder to write it to is needed"),
                false => format!("there is no folder {shown} to write it to; make it first"),
            };
            Err(Error::io(path, std::io::Error::other(reason)))
        }
        _ => Ok(()),
    }
}

/// Whether an open file is the one under `path`, and not one that was removed meanwhile.
#[cfg(unix)]
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |found: std::io::Result<std::fs::Metadata>| found.ok().map(|found| (found.dev(), found.ino()));
    id(file.metadata()) == id(std::fs::symlink_metadata(path))
}

/// Windows removes no open file.
#[cfg(not(unix))]
pub(crate) fn is_at(_: &File, _: &Path) -> bool {
    true
}

/// Flushes the folder that `path` is in to the disk, so that the name survives a power cut. Not every system can do this.
pub(crate) fn flush_name(path: &Path) {
    if let Some(folder) = path.parent() {
        let folder = if folder == Path::new("") { Path::new(".") } else { folder };
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}

/// Removes the temporary files that dead processes left in `folder`: of the file `name`, or of all files.
pub fn remove_orphans(folder: &Path, name: Option<&OsStr>) {
    let folder = if folder == Path::new("") { Path::new(".") } else { folder };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let is_ours =
            name_of_temporary(&found.to_string_lossy()).is_some_and(|of| name.is_none_or(|name| *name == *of));
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        // A living process has locked its own.
        if let Ok(file) = File::options().write(true).open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// The final name of a temporary file's name, `.NAME.PROCESS.NUMBER.tmp`.
fn name_of_temporary(name: &str) -> Option<&str> {
    let mut parts = name.strip_prefix('.')?.strip_suffix(".tmp")?.rsplitn(3, '.');
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (count, process) = (parts.next()?, parts.next()?);
    parts.next().filter(|_| is_number(count) && is_number(process))
}

/// A file that appears under its name only when [`AtomicFile::commit`] succeeds. Dropped before, it leaves nothing.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    file: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Opens a temporary file beside `path`.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = path.into();
        if path.is_dir() {
            return Err(Error::io(path, std::io::Error::other("it is a folder; give a file's name")));
        }
        let Some(name) = path.file_name() else {
            return Err(Error::io(path, std::io::Error::other("it names no file")));
        };
        check_parent(&path)?;
        let mut known = temporaries();
        let (temporary, file) = loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let unique = format!(".{}.{}.{count}.tmp", name.to_string_lossy(), std::process::id());
            let temporary = path.with_file_name(unique);
            // create_new refuses to follow a link that someone may have put there.
            match File::options().write(true).create_new(true).open(&temporary) {
                // Locked for as long as this process lives, so that others can distinguish it from what a dead one left. On a file
                // system without locks no file is taken for left over.
                Ok(file) => {
                    let _ = file.try_lock();
                    if is_at(&file, &temporary) {
                        break (temporary, file);
                    }
                }
                // A process that was killed left it: in a container, process numbers are used again.
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io(&path, e)),
            }
        };
        known.push(temporary.clone());
        drop(known);
        Ok(Self { path, temporary, file: Some(BufWriter::with_capacity(1 << 20, file)) })
    }

    /// The name that the file will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn forget(&self) {
        temporaries().retain(|path| *path != self.temporary);
    }

    /// Flushes to the disk and gives the file its name, replacing an older one.
    pub fn commit(mut self) -> Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let finish = || -> std::io::Result<()> {
            let file = file.into_inner().map_err(|e| e.into_error())?;
            file.sync_all()?;
            // Windows renames no open file.
            drop(file);
            std::fs::rename(&self.temporary, &self.path)?;
            flush_name(&self.path);
            Ok(())
        };
        let result = finish();
        if result.is_err() {
            let _ = std::fs::remove_file(&self.temporary);
        }
        self.forget();
        result.map_err(|e| Error::io(&self.path, e))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(std::io::Error::other("the file is finished")),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        match &mut self.file {
            Some(file) => file.seek(to),
            None => Err(std::io::Error::other("the file is finished")),
        }
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // A failure cannot be reported from here, and nothing else can be done.
            let _ = std::fs::remove_file(&self.temporary);
            self.forget();
        }
    }
}

/// A tensor to be written: name, type and shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// Its dimensions.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// Its size in bytes; `None` where that overflows.
    fn byte_len(&self) -> Option<usize> {
        self.shape.iter().try_fold(self.dtype.size(), |n, d| n.checked_mul(*d))
    }
}

/// Writes a safetensors file. `fill` gives each tensor's little-endian bytes when its turn comes, in any number of
/// pieces, so that no more than one tensor need be in memory; its error (or a wrong number of bytes) leaves no file.
pub fn write(
    path: impl AsRef<Path>,
    mut tensors: Vec<TensorSpec>,
    metadata: &BTreeMap<String, String>,
    mut fill: impl FnMut(&TensorSpec, &mut dyn Write) -> Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    // Wider types first keeps every tensor aligned; then names, so that equal content gives equal files.
    tensors.sort_by(|a, b| b.dtype.size().cmp(&a.dtype.size()).then_with(|| a.name.cmp(&b.name)));
    remove_orphans(path.parent().unwrap_or(Path::new("")), path.file_name());
    let mut file = AtomicFile::create(path)?;
    let header = header(&tensors, metadata).map_err(|e| Error::io(path, std::io::Error::other(e)))?;
    file.write_all(&header).map_err(|e| Error::io(path, e))?;
    for spec in &tensors {
        let mut counted = Counted { file: &mut file, bytes: 0 };
        fill(spec, &mut counted)?;
        let (came, want) = (counted.bytes, spec.byte_len().unwrap_or(usize::MAX));
        if came != want {
            let reason = format!("tensor {:?} needs {want} bytes, {came} came", spec.name);
            return Err(Error::io(path, std::io::Error::other(reason)));
        }
    }
    file.commit()
}

/// The length field and the JSON, padded so that data start at a multiple of 8.
fn header(tensors: &[TensorSpec], metadata: &BTreeMap<String, String>) -> std::result::Result<Vec<u8>, String> {
    let (mut entries, mut at) = (Vec::new(), 0usize);
    for spec in tensors {
        let end = spec
            .byte_len()
            .and_then(|n| at.checked_add(n))
            .ok_or_else(|| format!("tensor {:?} is too large", spec.name))?;
        let dtype = match spec.dtype {
            DType::F32 => Dtype::F32,
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
        };
        entries.push((spec.name.clone(), Entry { dtype, shape: spec.shape.clone(), data_offsets: (at, end) }));
        at = end;
    }
    let free: HashMap<String, String> = metadata.clone().into_iter().collect();
    // Through a value, whose maps are sorted: the crate's own map would order the free strings differently each time.
    let checked = Metadata::new((!free.is_empty()).then_some(free), entries).map_err(|e| e.to_string())?;
    let value = serde_json::to_value(&checked).map_err(|e| e.to_string())?;
    let mut json = serde_json::to_vec(&value).map_err(|e| e.to_string())?;
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut out = (json.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(&json);
    Ok(out)
}

/// Counts what a tensor's filler writes.
struct Counted<'a> {
    file: &'a mut AtomicFile,
    bytes: usize,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.bytes = self.bytes.saturating_add(n);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
