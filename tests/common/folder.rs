//! A temporary folder of a test, and the program run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A fresh folder that is removed at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    /// A folder of this process and `name`.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("guided-diffusion-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The same with the small grey reference model in it, `fashion32.safetensors`.
    pub fn with_fashion(self) -> Self {
        let name = "fashion32.safetensors";
        std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name), self.join(name)).unwrap();
        self
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The program, to be run here, on the first of `TEST_ADAPTERS` where there is such a list. It remembers nothing, so
    /// that it measures no kernels and no run depends on an earlier one.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_guided-diffusion"));
        command.env("GUIDED_DIFFUSION_CACHE", "").args(arguments).current_dir(&self.0).stdin(Stdio::null());
        let computes = arguments.first().is_some_and(|name| {
            ["sample", "upsample", "edit", "invert", "nll", "grid", "bench", "tune"].contains(name)
        });
        if computes && std::env::var_os("TEST_ADAPTERS").is_some() {
            command.args(["--adapter", &super::gpu::adapters()[0]]);
        }
        command
    }

    /// Runs the program here.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Standard output of a run that must succeed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The message of a run that must fail with `code` and leave nothing behind.
    pub fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let before = self.names();
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(!text.contains("panicked"), "{arguments:?}: {text}");
        assert_eq!(self.names(), before, "{arguments:?} left something behind");
        text
    }

    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
