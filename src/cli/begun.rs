//! Runs that were begun and did not end: where their journals lie, and what those say.
//!
//! A journal is lines of JSON. The first one says what the run is and which command began it; each further one, how many
//! images of a stage are on disk by now. A last line without its end was not finished and does not count.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::recipe;
use crate::{Error, Result};

/// What the first line is called; another number means another layout of the folder.
const VERSION: u32 = 1;
/// How a journal's folder begins its name in a folder of pictures.
const PREFIX: &str = ".partial-";
/// The journal's name in its folder.
pub const FILE: &str = "journal";
/// Bytes of a journal at most: 100 bytes per batch, and 2^22 batches.
const MAX_BYTES: u64 = 400 << 20;

/// A journal's first line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Head {
    journal: u32,
    /// What makes the images.
    pub run: Value,
    /// The command that began the run, as a line for a shell; empty where an earlier version of the program did.
    #[serde(default)]
    command: String,
}

impl Head {
    /// Of a run that this process begins.
    pub fn new(run: &Value) -> Self {
        let arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
        // Run again, it is to continue.
        let command: Vec<String> = arguments.filter(|argument| argument != "--restart").collect();
        Self { journal: VERSION, run: run.clone(), command: recipe::line(&command) }
    }

    /// What continues the run, as an error says it.
    pub fn again(&self) -> String {
        match self.command.as_str() {
            "" => "run its command again".into(),
            command => format!("run `{command}`"),
        }
    }

    /// What can be done where the run is in another's way, as an error says it.
    pub fn choices(&self) -> String {
        format!("{} to continue it, give --restart to drop it, or give another output", self.again())
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

/// Reads a journal; None where not even its first line is whole.
///
/// # Errors
/// [`Error::Io`]; [`Error::Options`] for one of another version.
pub fn read(file: &mut File, path: &Path) -> Result<Option<Begun>> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1));
    let refuse = || {
        let reason = "this is not a journal of this version of the program; --restart starts the run over";
        Error::Options(format!("{}: {reason}", path.display()))
    };
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let Some(first) = lines.next() else { return Ok(None) };
    let head: Head = serde_json::from_slice(first).map_err(|_| refuse())?;
    if head.journal != VERSION {
        return Err(refuse());
    }
    let mut finished = HashMap::new();
    for line in lines {
        let line: Line = serde_json::from_slice(line).map_err(|_| refuse())?;
        finished.insert(line.stage, line.images);
    }
    Ok(Some(Begun { head, finished, end: bytes.len() as u64 }))
}

/// What the journal in `folder` says; None where it is not there, or cannot be read.
pub fn look(folder: &Path) -> Option<Begun> {
    let path = folder.join(FILE);
    read(&mut File::open(&path).ok()?, &path).ok().flatten()
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

/// Parts of a run may share a folder of pictures, and each has its journal there. Refuses images of another part: one that a process
/// is making, or one that did not end (which `restart` drops), since that would take the new pictures for its own.
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
        let Ok(mut file) = File::options().read(true).write(true).open(&path) else { continue };
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(busy(folder, &format!("{images} here")));
        }
        if restart {
            std::fs::remove_dir_all(&place).map_err(|e| Error::io(&place, e))?;
        } else if let Some(begun) = read(&mut file, &path)? {
            return Err(Error::Options(format!(
                "{}: a run of {images} was begun here, and did not end; {}",
                place.display(),
                begun.head.choices()
            )));
        }
    }
    Ok(())
}

/// Not impossible arguments: whoever tries again later may succeed, such as a pod whose predecessor's node is lost.
pub fn busy(folder: &Path, images: &str) -> Error {
    let reason = format!("another process is making {images}; wait for it, or give another output");
    Error::io(folder, std::io::Error::new(std::io::ErrorKind::WouldBlock, reason))
}
