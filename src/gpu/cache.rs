//! What one process learns of a device, kept in a folder for the next: the tuning cache, and the driver's
//! compiled code.
//!
//! A file names the device, the driver and the kernels that it is valid for, and is ignored for others. Files are written
//! atomically; without one, or with a broken one, only time is lost.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::adapter::Gpu;
use crate::checkpoint::writer::{AtomicFile, remove_orphans};
use crate::error::{Error, Result};
use crate::plan::tuning::{MAX_BYTES, TuningCache};
use crate::shader::fnv1a;

/// Bytes of compiled code above which the driver's store is emptied: it never shrinks by itself.
const MAX_COMPILED: u64 = 256 << 20;

/// A folder of such files.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Files in `folder`, which is made when something is stored.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The tuning cache that was stored for this device; empty where there is no such file, or one of another driver or other
    /// kernels.
    ///
    /// # Errors
    /// A file that cannot be read or is malformed.
    pub fn tuning(&self, gpu: &Gpu) -> Result<TuningCache> {
        let path = self.path(gpu, "json");
        let Some(data) = read(&path, MAX_BYTES)? else { return Ok(TuningCache::default()) };
        let found = TuningCache::parse(&data, &gpu.fingerprint()).map_err(|reason| broken(&path, reason))?;
        Ok(found.unwrap_or_default())
    }

    /// Stores what was measured on this device, beside what is stored already; equal keys are replaced.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn store_tuning(&self, gpu: &Gpu, tuning: &TuningCache) -> Result<()> {
        // Another process may have stored its own meanwhile; an unreadable file is replaced.
        let mut all = self.tuning(gpu).unwrap_or_default();
        all.extend(tuning);
        self.write(&self.path(gpu, "json"), &[all.to_json(&gpu.fingerprint()).as_bytes()])
    }

    /// Gives the driver the code that it compiled in an earlier process. Call it before anything is compiled; it has no effect
    /// where the driver has no such store.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged; the driver then starts with an empty store.
    pub fn load_pipelines(&self, gpu: &Arc<Gpu>) -> Result<()> {
        if !gpu.device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return Ok(());
        }
        let path = self.path(gpu, "pipelines");
        let stored = read(&path, MAX_COMPILED).and_then(|file| match file {
            None => Ok(None),
            Some(file) => unpack(&file, &gpu.fingerprint()).map_err(|reason| broken(&path, reason)),
        });
        let data = stored.as_ref().ok().and_then(Option::as_deref);
        let descriptor = wgpu::PipelineCacheDescriptor { label: Some("pipelines"), data, fallback: true };
        // SAFETY: the data are what `store_pipelines` wrote: their checksum is right, they name this device, driver and
        // backend, wgpu compares the driver's own identifier as well, and the folder is the user's own.
        let cache = unsafe { gpu.device.create_pipeline_cache(&descriptor) };
        // A second call finds the store in use and changes nothing.
        let _ = gpu.pipelines.cache.set(cache);
        stored.map(|_| ())
    }

    /// Stores what the driver has compiled so far.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn store_pipelines(&self, gpu: &Gpu) -> Result<()> {
        let Some(data) = gpu.pipelines.cache.get().and_then(wgpu::PipelineCache::get_data) else { return Ok(()) };
        let path = self.path(gpu, "pipelines");
        if data.len() as u64 > MAX_COMPILED / 2 {
            return std::fs::remove_file(&path).or_else(ignore_missing).map_err(|e| Error::io(path, e));
        }
        let header = format!("{}\n{:016x}\n", gpu.fingerprint(), fnv1a([data.as_slice()]));
        let known = read(&path, MAX_COMPILED).ok().flatten();
        if known.is_some_and(|old| old.strip_prefix(header.as_bytes()) == Some(&data)) {
            return Ok(());
        }
        self.write(&path, &[header.as_bytes(), &data])
    }

    /// One file per device and kind: a new driver's replaces the old one's.
    fn path(&self, gpu: &Gpu, extension: &str) -> PathBuf {
        let adapter = gpu.summary();
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let name: String = adapter.name.chars().take(60).map(plain).collect();
        let backend = adapter.backend.to_lowercase();
        self.folder.join(format!("{name}-{backend}-{:x}-{:x}.{extension}", adapter.vendor, adapter.device))
    }

    fn write(&self, path: &Path, parts: &[&[u8]]) -> Result<()> {
        std::fs::create_dir_all(&self.folder).map_err(|e| Error::io(&self.folder, e))?;
        remove_orphans(&self.folder, path.file_name());
        let mut file = AtomicFile::create(path)?;
        for part in parts {
            file.write_all(part).map_err(|e| Error::io(path, e))?;
        }
        file.commit()
    }
}

/// A file's bytes; `None` where there is none.
fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return ignore_missing(error).map(|()| None).map_err(|e| Error::io(path, e)),
    };
    let mut data = Vec::new();
    file.take(most + 1).read_to_end(&mut data).map_err(|e| Error::io(path, e))?;
    if data.len() as u64 > most {
        return Err(broken(path, format!("it is larger than {most} bytes")));
    }
    Ok(Some(data))
}

fn ignore_missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn broken(path: &Path, reason: String) -> Error {
    Error::io(path, std::io::Error::new(std::io::ErrorKind::InvalidData, reason))
}

/// The driver's data; `None` of another driver or other kernels.
fn unpack(file: &[u8], fingerprint: &str) -> Result<Option<Vec<u8>>, String> {
    let mut parts = file.splitn(3, |byte| *byte == b'\n');
    let (Some(name), Some(sum), Some(data)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("it is cut short".into());
    };
    if name != fingerprint.as_bytes() {
        return Ok(None);
    }
    if sum != format!("{:016x}", fnv1a([data])).as_bytes() {
        return Err("its checksum is wrong".into());
    }
    Ok(Some(data.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_refused_and_anothers_is_ignored() {
        let data = b"code\nof a driver";
        let sum = fnv1a([data.as_slice()]);
        let file = [format!("a device\n{sum:016x}\n").as_bytes(), data].concat();
        assert_eq!(unpack(&file, "a device"), Ok(Some(data.to_vec())));
        assert_eq!(unpack(&file, "another device"), Ok(None));
        for at in 9..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert!(unpack(&damaged, "a device").is_err(), "byte {at}");
            assert!(unpack(&file[..at], "a device").is_err(), "{at} bytes");
        }
        assert!(unpack(b"", "a device").is_err());
    }

    #[test]
    fn what_a_dead_process_left_goes() {
        let folder = std::env::temp_dir().join(format!("guided-diffusion-cache-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("made");
        std::fs::write(folder.join(".a.json.99999999.0.tmp"), "half").expect("written");
        Cache::new(&folder).write(&folder.join("a.json"), &[b"whole"]).expect("written");
        let names: Vec<_> =
            std::fs::read_dir(&folder).expect("there").flatten().map(|entry| entry.file_name()).collect();
        std::fs::remove_dir_all(&folder).expect("removed");
        assert_eq!(names, ["a.json"]);
    }
}
