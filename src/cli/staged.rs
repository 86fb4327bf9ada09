//! Files that appear whole or not at all: written beside their place, then renamed into it.
//!
//! Creating the temporary file is also the check, before any sampling, that the output can be written.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A file under way. Dropping it uncommitted leaves nothing behind.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    temporary: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Staged {
    /// Starts a file that will be at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] where `path` is a folder or its folder takes no files.
    pub fn create(path: &Path) -> Result<Self> {
        let folder_error = || std::io::Error::new(std::io::ErrorKind::IsADirectory, "is a folder, not a file");
        let name = path.file_name().ok_or_else(|| Error::io(path, folder_error()))?;
        if path.is_dir() {
            return Err(Error::io(path, folder_error()));
        }
        // The process id keeps two runs that write into one folder apart.
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(temporary);
        // The user knows the final name, so errors carry that one.
        let file = File::create(&temporary).map_err(|e| Error::io(path, e))?;
        Ok(Self { path: path.to_path_buf(), temporary, file: Some(BufWriter::new(file)) })
    }

    /// Where the file will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes through `write`, giving its errors the file's name.
    ///
    /// # Errors
    /// [`Error::Io`] where writing failed.
    pub fn with<T>(&mut self, write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<T>) -> Result<T> {
        let result = match &mut self.file {
            Some(file) => write(file),
            None => Err(std::io::Error::other("already committed")),
        };
        result.map_err(|e| Error::io(&self.path, e))
    }

    /// The file's present content, from its start: for what is only a step on the way to another file.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read back.
    pub fn reopen(&mut self) -> Result<BufReader<File>> {
        self.with(|file| file.flush())?;
        File::open(&self.temporary).map(BufReader::new).map_err(|e| Error::io(&self.temporary, e))
    }

    /// Flushes the file to the disk and puts it into its place.
    ///
    /// # Errors
    /// [`Error::Io`] where that failed; nothing is left behind.
    pub fn commit(mut self) -> Result<PathBuf> {
        self.with(|file| {
            file.flush()?;
            file.get_ref().sync_all()
        })?;
        // Closed before it is renamed, as Windows demands.
        self.file = None;
        match std::fs::rename(&self.temporary, &self.path) {
            Ok(()) => Ok(self.path.clone()),
            Err(e) => {
                let _ = std::fs::remove_file(&self.temporary);
                Err(Error::io(&self.path, e))
            }
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Best effort: there is nobody to tell.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}
