//! Runs that were begun and did not end: where their journals lie, and what those say.
//!
//! A journal is lines of JSON. The first one says what the run is and which command began it; each further one, how many
//! images of a stage are on disk by now. A last line without its end was not finished and does not count.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::recipe;
use crate::{Error, Result};

/// The layout's version, which the first line says.
const VERSION: u32 = 1;
/// How a journal's folder begins its name in a folder of pictures.
const PREFIX: &str = ".partial-";
/// The journal's name in its folder.
pub const FILE: &str = "journal";
/// Bytes of the first line at most: it holds a recipe, configurations and a command.
const MAX_HEAD: u64 = 1 << 20;
/// Bytes of a journal at most: 100 bytes per batch, and 2^22 batches.
const MAX_BYTES: u64 = 400 << 20;
/// Bytes of a command at most that an error shows.
const MAX_COMMAND: usize = 500;

/// A journal's first line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Head {
    journal: u32,
    /// What makes the images.
    pub run: Value,
    /// The arguments of the command that began it; none where they are not text.
    #[serde(default)]
    arguments: Vec<String>,
}

impl Head {
    /// Of a run that this process begins.
    pub fn new(run: &Value) -> Self {
        let arguments = std::env::args_os().skip(1).map(|argument| argument.into_string().ok());
        Self { journal: VERSION, run: run.clone(), arguments: arguments.collect::<Option<_>>().unwrap_or_default() }
    }

    /// The command that began the run, for an error: " by `guided-diffusion sample`". Nothing where it is not fit to be shown, since
    /// the file may be anybody's.
    pub fn by(&self) -> String {
        let words = std::iter::once("guided-diffusion").chain(self.arguments.iter().map(String::as_str));
        // Whoever runs it again wants to continue.
        let words: Vec<String> = words.filter(|word| *word != "--restart").map(Into::into).collect();
        let line = recipe::line(&words);
        let is_fit = words.len() > 1 && line.len() <= MAX_COMMAND && !line.chars().any(char::is_control);
        if is_fit { format!(" by `{line}`") } else { String::new() }
    }
}

/// Any other line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line {
    pub stage: usize,
    /// All of the stage that are on disk.
    pub images: usize,
}

/// What a journal says.
#[derive(Debug)]
pub struct Begun {
    pub head: Head,
    /// Images by stage.
    pub finished: HashMap<usize, usize>,
    /// Where its last whole line ends.
    pub end: u64,
}

/// What an error says of a journal that cannot be read.
fn unknown(path: &Path) -> Error {
    let reason = "this is not a journal of this version of the program; --restart starts the run over";
    Error::Options(format!("{}: {reason}", path.display()))
}

/// Reads the first line, and how many bytes it has; None where it is not whole.
fn first_line(file: &mut impl BufRead, path: &Path) -> Result<Option<(Head, u64)>> {
    let mut line = Vec::new();
    file.take(MAX_HEAD).read_until(b'\n', &mut line).map_err(|e| Error::io(path, e))?;
    if !line.ends_with(b"\n") {
        return if line.len() as u64 == MAX_HEAD { Err(unknown(path)) } else { Ok(None) };
    }
    let head: Head = serde_json::from_slice(&line).map_err(|_| unknown(path))?;
    if head.journal == VERSION { Ok(Some((head, line.len() as u64))) } else { Err(unknown(path)) }
}

/// Reads a journal; None where not even its first line is whole.
///
/// # Errors
/// [`Error::Io`]; [`Error::Options`] for one of another version.
pub fn read(file: &File, path: &Path) -> Result<Option<Begun>> {
    let mut file = BufReader::new(file);
    let Some((head, mut end)) = first_line(&mut file, path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1));
    end += bytes.len() as u64;
    let mut finished = HashMap::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let line: Line = serde_json::from_slice(line).map_err(|_| unknown(path))?;
        finished.insert(line.stage, line.images);
    }
    Ok(Some(Begun { head, finished, end }))
}

/// The first line of the journal in `folder`; None where it is not there, or cannot be read.
pub fn look(folder: &Path) -> Option<Head> {
    let path = folder.join(FILE);
    // Of anything else than a file, opening might not end.
    let is_file = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
    let file = is_file.then(|| File::open(&path).ok()).flatten()?;
    Some(first_line(&mut BufReader::new(file), &path).ok()??.0)
}

/// Where the journal of an output is.
pub fn place(output: &Path, is_folder: bool, indices: &Range<u32>) -> PathBuf {
    if is_folder {
        return output.join(format!("{PREFIX}{}-{}", indices.start, indices.end));
    }
    let mut name = output.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// Parts of a run may share a folder of pictures, and each has its journal there. Refuses images of another part: one that a
/// process is making, or one that did not end (which `restart` drops), since that would take the new pictures for its own.
///
/// # Errors
/// [`Error::Io`]; [`Error::Options`] for a part that did not end.
pub fn refuse_overlap(folder: &Path, indices: &Range<u32>, restart: bool) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?.flatten() {
        let name = entry.file_name();
        let range = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'));
        let Some((Ok(start), Ok(end))) = range.map(|(a, b)| (a.parse::<u32>(), b.parse::<u32>())) else { continue };
        if (start..end) == *indices || end <= indices.start || indices.end <= start {
            continue;
        }
        let images = format!("images {start} to {}", end.saturating_sub(1));
        let (place, path) = (entry.path(), entry.path().join(FILE));
        let file = match File::options().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(Error::io(&path, e)),
        };
        let lock = file.try_lock();
        let way_out = match lock {
            Err(TryLockError::WouldBlock) => return Err(busy(folder, &format!("{images} here"))),
            Ok(()) if restart => {
                std::fs::remove_dir_all(&place).map_err(|e| Error::io(&place, e))?;
                continue;
            }
            Ok(()) => "--restart to drop it",
            // Without locks, a process may be at it.
            Err(TryLockError::Error(_)) => "remove this folder if no process is making them",
        };
        let by = match read(&file, &path) {
            Ok(None) => continue,
            Ok(Some(begun)) => begun.head.by(),
            Err(_) => String::new(),
        };
        return Err(Error::Options(format!(
            "{}: a run of {images} was begun here{by}, and did not end; give its arguments to continue it, {way_out}, or give \
             another output",
            place.display()
        )));
    }
    Ok(())
}

/// Not impossible arguments: whoever tries again later may succeed, such as a pod whose predecessor's node is lost.
pub fn busy(folder: &Path, images: &str) -> Error {
    let reason = format!("another process is making {images}; wait for it, or give another output");
    Error::io(folder, std::io::Error::new(ErrorKind::WouldBlock, reason))
}
