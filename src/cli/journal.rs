//! The finished part of a run, kept beside its output, so that a run that was killed continues where it ended.
//!
//! A folder `OUT.partial` (in an output folder, `.partial-FIRST-END`) holds the journal itself, as `begun` reads it, and one
//! file of pixels per stage. A batch's pixels are flushed to the disk before its line is written, so that the journal never
//! promises more than there is. The journal is locked while a process writes to it, and the operating system ends the lock
//! with the process, however that ends.

use std::collections::HashMap;
use std::fs::{File, Metadata, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::begun::{self, Head, Line, busy};
use super::console::note;
use super::differences::differences;
use crate::checkpoint::writer::{check_parent, flush_name, is_at};
use crate::{Error, Result};

/// The pixels of one stage.
#[derive(Debug)]
struct Spool {
    file: File,
    path: PathBuf,
    images: usize,
    bytes: usize,
}

/// An open journal, locked. Dropped with nothing in it, it leaves nothing.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    file: File,
    stages: Vec<Spool>,
    /// Nothing of it is needed any more.
    done: bool,
}

impl Journal {
    /// Opens the journal in `folder`, or begins it. `run` says what makes the images; `sizes` are the bytes that an image
    /// of each stage takes here, 0 where it is kept elsewhere. `restart` drops what an earlier process has finished.
    ///
    /// # Errors
    /// [`Error::Options`] where it belongs to another run; [`Error::Io`], also where another process has it open.
    pub fn open(folder: PathBuf, run: &Value, sizes: &[usize], restart: bool) -> Result<Self> {
        let path = folder.join(begun::FILE);
        let mut file = lock(&folder, &path)?;
        let found = if restart { None } else { begun::read(&file, &path)? };
        let (finished, end) = match found {
            Some(found) if found.head.run == *run => (found.finished, found.end),
            Some(found) => {
                return Err(Error::Options(format!(
                    "{}: another run was begun here{} ({}); give its arguments to continue it, --restart to drop it, or give \
                     another output",
                    folder.display(),
                    found.head.by(),
                    differences(&found.head.run, run)
                )));
            }
            None => {
                if !restart && file.metadata().is_ok_and(|found| found.len() > 0) {
                    note(&format!("note: {}: no run can be read from it; all images are made again", path.display()));
                }
                (HashMap::new(), 0)
            }
        };
        file.set_len(end).and_then(|()| file.seek(SeekFrom::End(0))).map_err(|e| Error::io(&path, e))?;
        let mut journal = Self { folder, file, stages: Vec::new(), done: false };
        if end == 0 {
            journal.line(&Head::new(run))?;
        }
        for (stage, &bytes) in sizes.iter().enumerate() {
            let path = journal.folder.join(format!("stage{}", stage + 1));
            let open = || File::options().read(true).write(true).create(true).truncate(false).open(&path);
            let file = open().map_err(|e| Error::io(&path, e))?;
            let on_disk = file.metadata().map_err(|e| Error::io(&path, e))?.len();
            let there =
                on_disk.checked_div(bytes as u64).map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
            let promised = finished.get(&stage).copied().unwrap_or(0);
            let images = promised.min(there);
            if images < promised {
                note(&format!("note: {}: of {promised} finished images {images} are still there", path.display()));
            }
            journal.stages.push(Spool { file, path, images, bytes });
        }
        if end == 0 {
            flush_name(&path);
            flush_name(&journal.folder);
        }
        journal.done = journal.stages.iter().all(|spool| spool.images == 0);
        Ok(journal)
    }

    /// Images of a stage that are on disk.
    pub fn finished(&self, stage: usize) -> usize {
        self.stages.get(stage).map_or(0, |spool| spool.images)
    }

    /// Forgets all images of a stage from number `images` on.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn keep(&mut self, stage: usize, images: usize) -> Result<()> {
        match self.stages.get_mut(stage) {
            Some(spool) if spool.images > images => {
                spool.images = images;
                self.line(&Line { stage, images })
            }
            _ => Ok(()),
        }
    }

    /// Puts `images` more images of a stage on disk: their pixels, or none where they are kept elsewhere.
    ///
    /// # Errors
    /// [`Error::Io`]; the images do not count then.
    pub fn push(&mut self, stage: usize, images: usize, pixels: &[u8]) -> Result<()> {
        let Some(spool) = self.stages.get_mut(stage) else { return Ok(()) };
        if !pixels.is_empty() {
            let at = spool.images as u64 * spool.bytes as u64;
            let file = &mut spool.file;
            let write = file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(pixels));
            write.and_then(|()| file.sync_data()).map_err(|e| Error::io(&spool.path, e))?;
        }
        let images = spool.images + images;
        self.line(&Line { stage, images })?;
        self.stages[stage].images = images;
        self.done = false;
        Ok(())
    }

    /// The pixels of all images of a stage, from its first on.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn pixels(&self, stage: usize) -> Result<File> {
        let path = self.folder.join(format!("stage{}", stage + 1));
        File::open(&path).map_err(|e| Error::io(&path, e))
    }

    /// Removes the journal: what it kept is in its place.
    pub fn remove(mut self) {
        self.done = true;
    }

    fn line(&mut self, line: &impl Serialize) -> Result<()> {
        let path = || self.folder.join(begun::FILE);
        let mut text = serde_json::to_vec(line).map_err(|e| Error::io(path(), e.into()))?;
        text.push(b'\n');
        self.file.write_all(&text).and_then(|()| self.file.sync_data()).map_err(|e| Error::io(path(), e))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if self.done {
            // What cannot be removed only costs disk space. The lock ends after this, with the file.
            for spool in &self.stages {
                let _ = std::fs::remove_file(&spool.path);
            }
            let _ = std::fs::remove_file(self.folder.join(begun::FILE));
            let _ = std::fs::remove_dir(&self.folder);
        }
    }
}

/// Opens a journal's file and locks it.
fn lock(folder: &Path, path: &Path) -> Result<File> {
    check_parent(folder)?;
    loop {
        if let Err(e) = std::fs::create_dir(folder)
            && e.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(Error::io(folder, e));
        }
        // Not through a link that someone may have put there.
        for (place, is_right) in [(folder, Metadata::is_dir as fn(&Metadata) -> bool), (path, Metadata::is_file)] {
            if std::fs::symlink_metadata(place).is_ok_and(|found| !is_right(&found)) {
                return Err(Error::Options(format!(
                    "{}: unfinished images are kept here, but something else has this name; move it, or give another output",
                    place.display()
                )));
            }
        }
        let file = match File::options().read(true).write(true).create(true).truncate(false).open(path) {
            Ok(file) => file,
            // A process that has just finished removed the folder.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !folder.exists() => continue,
            Err(e) => return Err(Error::io(path, e)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(busy(folder, "these images")),
            // A file system without locks: then nobody is refused.
            Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(e)) => return Err(Error::io(path, e)),
        }
        if is_at(&file, path) {
            return Ok(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use serde_json::json;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("guided-diffusion-journal-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir(&path).expect("a temporary folder");
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_is_finished_is_found_again_whatever_the_last_moment_was() {
        let folder = Folder::new("again");
        let (place, run) = (folder.0.join("x.npz.partial"), json!({"seed": 1}));
        let open = || Journal::open(place.clone(), &run, &[2, 0], false).expect("opened");
        let mut journal = open();
        journal.push(0, 2, &[1, 2, 3, 4]).expect("written");
        journal.push(1, 1, &[]).expect("written");
        drop(journal);
        // A line that a killed process did not end, and pixels that it wrote before their line.
        let append = |name: &str, bytes: &[u8]| {
            let mut file = File::options().append(true).open(place.join(name)).expect("there");
            file.write_all(bytes).expect("written");
        };
        append("stage1", &[9, 9, 9]);
        append("journal", b"{\"stage\":0,\"ima");
        let mut journal = open();
        assert_eq!((journal.finished(0), journal.finished(1)), (2, 1));
        journal.push(0, 1, &[5, 6]).expect("written");
        drop(journal);
        let mut journal = open();
        assert_eq!(journal.finished(0), 3);
        let mut pixels = Vec::new();
        journal.pixels(0).expect("there").take(6).read_to_end(&mut pixels).expect("read");
        assert_eq!(pixels, [1, 2, 3, 4, 5, 6]);
        journal.keep(0, 1).expect("written");
        drop(journal);
        assert_eq!(open().finished(0), 1);
        // The disk lost pixels.
        File::options().write(true).open(place.join("stage1")).expect("there").set_len(1).expect("cut");
        assert_eq!(open().finished(0), 0);
        open().remove();
        assert!(!place.exists());
    }

    #[test]
    fn a_part_that_did_not_end_keeps_its_images() {
        let folder = Folder::new("overlap");
        let place = begun::place(&folder.0, true, &(0..10));
        let mut journal = Journal::open(place.clone(), &json!({"seed": 1}), &[0], false).expect("opened");
        journal.push(0, 4, &[]).expect("written");
        assert!(
            begun::refuse_overlap(&folder.0, &(5..12), false).is_err_and(|e| e.to_string().contains("another process"))
        );
        drop(journal);
        let text = begun::refuse_overlap(&folder.0, &(5..12), false).expect_err("it did not end").to_string();
        assert!(text.contains("images 0 to 9") && text.contains("--restart"), "{text}");
        begun::refuse_overlap(&folder.0, &(10..20), false).expect("beside it");
        begun::refuse_overlap(&folder.0, &(5..12), true).expect("dropped");
        assert!(!place.exists());
    }

    #[test]
    fn another_run_and_a_second_process_are_refused() {
        let folder = Folder::new("refused");
        let place = folder.0.join("x.npz.partial");
        let run = json!({"seed": 1, "upsampler": {"steps": "10"}, "gone": true});
        let mut journal = Journal::open(place.clone(), &run, &[1], false).expect("opened");
        journal.push(0, 1, &[7]).expect("written");
        // The lock belongs to the open file, so that this process stands for two.
        let text = Journal::open(place.clone(), &run, &[1], true).expect_err("it is locked").to_string();
        assert!(text.contains("another process"), "{text}");
        drop(journal);
        let other = json!({"seed": 2, "upsampler": {"steps": "20"}});
        let text = Journal::open(place.clone(), &other, &[1], false).expect_err("another run").to_string();
        for part in ["seed 1, here 2", "upsampler steps \"10\", here \"20\"", "gone true, here none", "--restart"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(Journal::open(place.clone(), &run, &[1], false).expect("the same run").finished(0), 1);
        assert_eq!(Journal::open(place.clone(), &other, &[1], true).expect("dropped").finished(0), 0);
        // A journal without images removes itself.
        std::fs::create_dir_all(&place).expect("made");
        std::fs::write(place.join("journal"), "{\"journal\":99,\"run\":{}}\n").expect("written");
        let text = Journal::open(place.clone(), &run, &[1], false).expect_err("another version").to_string();
        assert!(text.contains("not a journal of this version"), "{text}");
        // Whoever wrote it does not choose what a terminal shows.
        let with =
            |word: &str| format!("{}\n", json!({"journal": 1, "run": {}, "arguments": ["sample", word, "--restart"]}));
        for (word, shown) in
            [("a b", " by `guided-diffusion sample 'a b'` ("), ("\u{1b}", "here ("), (&"x".repeat(900), "here (")]
        {
            std::fs::write(place.join("journal"), with(word)).expect("written");
            let text = Journal::open(place.clone(), &run, &[1], false).expect_err("another run").to_string();
            assert!(text.contains(shown), "{text}");
        }
        std::fs::write(place.join("journal"), "no end of line").expect("written");
        assert_eq!(Journal::open(place, &run, &[1], false).expect("started over").finished(0), 0);
    }
}
