//! What is promised about faults, tried: each drill prints its figure, and docs/reliability.md lists them. They take
//! minutes, a C compiler and root (for a small file system), so that `make drill` runs them on request.
#![cfg(all(feature = "cli", target_os = "linux"))]

mod common;
#[path = "drills/files.rs"]
mod files;
#[path = "drills/gpu.rs"]
mod gpu;
#[path = "drills/kernels.rs"]
mod kernels;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::folder::Folder;
use common::gpu::{adapters, open};
use common::tiny::models;
use conformance::tiny;
use guided_diffusion::checkpoint::Checkpoint;
use guided_diffusion::cli::output::{Layout, Output as Images, Record};
use guided_diffusion::config::Role;
use guided_diffusion::image::{self, Grid};
use guided_diffusion::run::SampleOptions;
use guided_diffusion::{Error, Session, SessionOptions};
use pollster::block_on;

const RUN: &str = "sample --model base.safetensors --steps 3 --class 3,5 --count 4 --batch 2 --seed 11";
const KINDS: [&str; 4] = ["a.npz", "a.npy", "a.png", "pictures"];

fn words<'a>(text: &'a str, more: &'a str) -> Vec<&'a str> {
    text.split_whitespace().chain(more.split_whitespace()).collect()
}

/// A shared library of tests/drills, which scripts/drill.sh has compiled.
fn library(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/drills").join(name);
    assert!(path.exists(), "{} is missing: `make drill` compiles it", path.display());
    path
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn bytes(folder: &Folder, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).expect(name)
}

/// Images of 8x8 that a file's index decides, written as a run writes them, without a GPU.
fn layout() -> Layout {
    Layout {
        indices: 0..200,
        height: 8,
        width: 8,
        channels: 3,
        grid: Grid { rows: 10, columns: 20, by_column: false, gap: 0 },
        texts: Vec::new(),
        labels: (0..200).collect(),
        run: serde_json::json!({"seed": 1}),
        low_bytes: 0,
    }
}

fn record(index: u32) -> Record {
    Record { index: index.into(), label: Some(index), class: String::new(), texts: Vec::new() }
}

/// Writes what is missing of an output, four images at a time.
fn write_images(path: &Path) -> Result<(), Error> {
    let mut output = Images::open(path, layout(), false, record)?;
    while output.written() < 200 {
        let first = output.written() as u32;
        let data = (0..4 * 192).map(|i| (first * 192 + i) as f32 / 38_400.0).collect();
        let batch = image::Images::new(4, 8, 8, 3, data)?;
        output.push(&batch, &(first..first + 4).map(record).collect::<Vec<_>>())?;
    }
    output.finish().map(|_| ())
}

/// Not a drill: the process that the drills of writing start, which writes to the path in DRILL_WRITE.
#[test]
fn writer() {
    let Some(path) = std::env::var_os("DRILL_WRITE") else { return };
    if let Err(error) = write_images(Path::new(&path)) {
        eprintln!("said: {error}");
        std::process::exit(7);
    }
}

/// That process.
fn spawn_writer(path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["--exact", "writer", "--nocapture"])
        .env("DRILL_WRITE", path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// The bytes under a final name: a file's, or those of a folder's pictures one after the other.
fn finished(path: &Path) -> Option<Vec<u8>> {
    if !path.is_dir() {
        return std::fs::read(path).ok();
    }
    let mut names: Vec<PathBuf> = std::fs::read_dir(path).ok()?.flatten().map(|entry| entry.path()).collect();
    names.retain(|name| !name.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')));
    names.sort();
    Some(names.iter().flat_map(|name| std::fs::read(name).expect("a picture")).collect())
}

#[test]
fn killed_while_writing() {
    let folder = Folder::new("drill-kill");
    let (mut kills, mut state) = (0, 12_345u64);
    for kind in KINDS {
        std::fs::create_dir(folder.join("whole")).expect("made");
        let whole = folder.join("whole").join(kind);
        write_images(&whole).expect("written");
        let expected = finished(&whole).expect("there");
        std::fs::remove_dir_all(folder.join("whole")).expect("removed");
        let path = folder.join(kind);
        for _ in 0..13 {
            let mut child = spawn_writer(&path).spawn().expect("started");
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(Duration::from_micros(state >> 47));
            child.kill().expect("killed");
            child.wait().expect("a child");
            kills += 1;
            // A picture or a file is whole, or not there.
            match finished(&path) {
                Some(found) if path.is_dir() => assert!(expected.starts_with(&found), "{kind}: a half picture"),
                Some(found) => assert!(found == expected, "{kind}: a half file"),
                None => {}
            }
        }
        assert!(spawn_writer(&path).status().expect("started").success());
        assert!(finished(&path).expect("there") == expected, "{kind}");
    }
    let names = folder.names();
    assert_eq!(names, ["a.npy", "a.npz", "a.png", "pictures"], "nothing else is left");
    println!("killed while writing: {kills} times, 0 half files, the final bytes those of an undisturbed run");
}

/// A file system of a few kilobytes, which ends with the drill.
struct Disk(PathBuf);

impl Disk {
    fn mount(&self, options: &str) {
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&self.0).status();
        assert!(status.expect("mount runs").success(), "a small file system needs root");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_and_a_broken_one() {
    let folder = Folder::new("drill-disk");
    let disk = Disk(folder.join("disk"));
    std::fs::create_dir(&disk.0).expect("made");
    disk.mount("size=16k");
    let mut refused = 0;
    for kind in KINDS {
        let path = disk.0.join(kind);
        let error = write_images(&path).expect_err("16 KiB do not hold it");
        assert!(error.to_string().contains("No space left") && error.to_string().contains(kind), "{error}");
        assert!(kind == "pictures" || !path.exists(), "{kind}: a half file");
        refused += 1;
        // With more space it goes on.
        disk.mount("remount,size=16m");
        write_images(&path).expect("now it fits");
        let found = finished(&path).expect("there");
        write_images(&folder.join(kind)).expect("written");
        assert!(found == finished(&folder.join(kind)).expect("there"), "{kind}");
        std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path)).expect("removed");
        disk.mount("remount,size=16k");
    }
    drop(disk);
    let mut broken = 0;
    for kind in KINDS {
        let expected = finished(&folder.join(kind)).expect("there");
        for first in [1, 2, 40, 90] {
            let path = folder.join(&format!("broken-{kind}"));
            let mut command = spawn_writer(&path);
            let output = command.env("LD_PRELOAD", library("libsystem_faults.so")).env("DRILL_EIO", first.to_string());
            let output = output.output().expect("started");
            assert!(output.status.code() == Some(7), "{kind}: {}", text(&output));
            assert!(text(&output).contains("Input/output error") && text(&output).contains(kind), "{}", text(&output));
            assert!(path.is_dir() || !path.exists(), "{kind}: a half file");
            write_images(&path).expect("the disk is sound again");
            assert!(expected == finished(&path).expect("there"), "{kind}");
            std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path)).expect("removed");
            broken += 1;
        }
    }
    println!(
        "a full disk: {refused} kinds of output, a broken one: {broken} moments; named, and gone on with afterwards"
    );
}

/// Kilobytes of memory and open files of this process.
fn usage() -> (f64, usize) {
    let mut status = String::new();
    std::fs::File::open("/proc/self/status").and_then(|mut file| file.read_to_string(&mut status)).expect("read");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("a line");
    let memory = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    (memory, std::fs::read_dir("/proc/self/fd").expect("there").count())
}

#[test]
fn generate_and_cancel() {
    const ROUNDS: usize = 1000;
    for name in adapters() {
        let gpu = open(&name);
        let config = tiny(Role::Diffusion);
        let checkpoint = Checkpoint::synthetic(&config, 0).expect("synthetic");
        let mut session =
            block_on(Session::load(&gpu, &checkpoint, &config, &SessionOptions::default())).expect("loaded");
        let mut samples = Vec::new();
        for round in 0..ROUNDS {
            let mut options = SampleOptions { count: 1, labels: vec![3], ..SampleOptions::default() };
            options.settings.steps = Some("4".parse().expect("steps"));
            let mut run = session.sample(options).expect("a run");
            // Cancelled before, between and after the steps, and sometimes finished.
            for _ in 0..round % 6 {
                block_on(run.step()).expect("a step");
            }
            if round % 6 == 5 {
                drop(block_on(run.finish()).expect("images"))
            } else {
                drop(run)
            }
            if round >= ROUNDS / 5 && round % 100 == 0 {
                samples.push((round as f64, usage()));
            }
        }
        // Least squares over the last four fifths.
        let count = samples.len() as f64;
        let x = samples.iter().map(|s| s.0).sum::<f64>() / count;
        let y = samples.iter().map(|s| s.1.0).sum::<f64>() / count;
        let slope = samples.iter().map(|s| (s.0 - x) * (s.1.0 - y)).sum::<f64>()
            / samples.iter().map(|s| (s.0 - x) * (s.0 - x)).sum::<f64>();
        let files: Vec<usize> = samples.iter().map(|s| s.1.1).collect();
        assert!(files.iter().all(|n| *n == files[0]), "{name}: {files:?} open files");
        // Half a kilobyte per round is what the allocator's own noise comes to; a lost buffer would be 256 bytes or more per round.
        assert!(slope < 0.5, "{name}: {slope} KiB per round");
        println!(
            "generate and cancel on {name}: {ROUNDS} rounds, {slope:.3} KiB per round, {} open files throughout",
            files[0]
        );
    }
}

#[test]
fn clocks_that_jump() {
    let folder = models("drill-clock");
    folder.ok(&words(RUN, "--out whole.npz"));
    let mut command = folder.command(&words(RUN, "--out jumped.npz"));
    let output =
        command.env("LD_PRELOAD", library("libsystem_faults.so")).env("DRILL_CLOCK", "1").output().expect("started");
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(bytes(&folder, "jumped.npz"), bytes(&folder, "whole.npz"));
    println!("clocks that jump by up to an hour at every look: the same bytes");
}
