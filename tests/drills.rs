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
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

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
/// Outputs of images, by their name.
const KINDS: [&str; 4] = ["a.npz", "a.npy", "a.png", "pictures"];
/// What else the program writes, and by which arguments before its name.
const OTHERS: [(&str, &str); 4] = [
    ("steps.png", "sample --model base.safetensors --steps 200 --class 3 --count 2 --out images.npz --trajectory"),
    ("converted.safetensors", "convert base.safetensors --out"),
    ("merged.npz", "merge part.npz --out"),
    ("grids.safetensors", "grid base.safetensors --steps 2 --images 1 --out"),
];

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
        run: serde_json::json!({"seed": 1, "first": 0, "count": 200, "start": 0, "end": 200}),
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
        std::process::exit(1);
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

fn remove(path: &Path) {
    std::fs::remove_dir_all(path).or_else(|_| std::fs::remove_file(path)).expect("removed");
}

/// What is under a final name is whole: a file, or each picture that is there.
fn is_whole(found: Option<&[u8]>, expected: &[u8], path: &Path) -> bool {
    found.is_none_or(|found| if path.is_dir() { expected.starts_with(found) } else { found == expected })
}

/// The journal of an output of images, while it is not complete.
fn journal(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(if path.extension().is_some() { ".partial" } else { "/.partial-0-200" });
    name.into()
}

#[test]
fn killed_while_writing() {
    const KILLS: usize = 13; // of each kind of output
    const TRIES: usize = 20 * KILLS;
    let folder = Folder::new("drill-kill");
    let (mut all, mut state) = (0, 12_345u64);
    for kind in KINDS {
        let path = folder.join(kind);
        let begin = Instant::now();
        assert!(spawn_writer(&path).status().expect("started").success());
        let longest = begin.elapsed();
        let expected = finished(&path).expect("there");
        remove(&path);
        let (mut kills, mut tries) = (0, 0);
        while kills < KILLS {
            tries += 1;
            assert!(tries <= TRIES, "{kind}: {kills} of {TRIES} kills came while it was writing");
            let mut child = spawn_writer(&path).spawn().expect("started");
            while !journal(&path).exists() && child.try_wait().expect("a child").is_none() {
                std::thread::sleep(Duration::from_micros(100));
            }
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(longest.mul_f64((state >> 32) as f64 / f64::from(u32::MAX)));
            let begun = journal(&path).exists();
            child.kill().expect("killed, or ended before");
            let killed = child.wait().expect("a child").signal() == Some(9);
            let found = finished(&path);
            assert!(is_whole(found.as_deref(), &expected, &path), "{kind}: a half file");
            if found.as_ref() == Some(&expected) {
                // Complete: the next one begins anew.
                remove(&path);
            } else if killed && begun {
                kills += 1;
            }
        }
        assert!(spawn_writer(&path).status().expect("started").success());
        assert!(finished(&path).expect("there") == expected, "{kind}");
        all += kills;
    }
    let names = folder.names();
    assert_eq!(names, ["a.npy", "a.npz", "a.png", "pictures"], "nothing else is left");
    println!("killed while writing: {all} times, 0 half files, the final bytes those of an undisturbed run");
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

/// A process that writes to a path, whose name says what.
fn writing(folder: &Folder, path: &Path) -> Command {
    match OTHERS.iter().find(|(name, _)| path.ends_with(name)) {
        Some((_, arguments)) => folder.command(&words(arguments, &path.to_string_lossy())),
        None => spawn_writer(path),
    }
}

/// How many of a call a library of faults has counted.
fn counted(counts: &[u8], call: &str) -> usize {
    let counts = String::from_utf8_lossy(counts);
    counts.lines().find_map(|line| line.strip_prefix(call)?.trim().parse().ok()).expect(call)
}

#[test]
fn a_full_disk_and_a_broken_one() {
    let folder = gpu::smallest("drill-disk");
    write_images(&folder.join("part.npz")).expect("written");
    let disk = Disk(folder.join("disk"));
    std::fs::create_dir(&disk.0).expect("made");
    disk.mount("size=16m");
    let (mut kinds, mut broken) = (0, [0; 3]);
    for kind in KINDS.into_iter().chain(OTHERS.map(|(name, _)| name)) {
        let path = disk.0.join(kind);
        let with_faults = |variable: &str, value: &str| {
            let mut command = writing(&folder, &path);
            command.env("LD_PRELOAD", library("libsystem_faults.so")).env("DRILL_DISK", &disk.0);
            command.env(variable, value).output().expect("started")
        };
        let counts = folder.join("counts");
        let output = with_faults("DRILL_COUNT", &counts.to_string_lossy());
        assert!(output.status.success(), "{kind}: {}", text(&output));
        let expected = finished(&path).expect("there");
        remove(&path);
        let refused = |output: Output, reason: &str, when: &str| {
            let said = text(&output);
            assert_eq!(output.status.code(), Some(1), "{kind}, {when}: {said}");
            assert!(said.contains(reason) && said.contains(kind), "{kind}, {when}: {said}");
            assert!(is_whole(finished(&path).as_deref(), &expected, &path), "{kind}, {when}: a half file");
        };
        let goes_on = |when: &str| {
            let output = writing(&folder, &path).output().expect("started");
            assert!(output.status.success(), "{kind}, {when}: {}", text(&output));
            assert!(finished(&path).expect("there") == expected, "{kind}, {when}");
            remove(&path);
        };
        disk.mount("remount,size=16k");
        refused(writing(&folder, &path).output().expect("started"), "No space left", "16 KiB");
        disk.mount("remount,size=16m");
        goes_on("16 KiB");
        kinds += 1;
        let counts = bytes(&folder, "counts");
        for (done, (call, most)) in broken.iter_mut().zip([("write", 4), ("sync", 3), ("rename", 3)]) {
            for at in gpu::spread(counted(&counts, call), most) {
                let fault = format!("{call}:{at}");
                refused(with_faults("DRILL_EIO", &fault), "Input/output error", &fault);
                goes_on(&fault);
                *done += 1;
            }
        }
    }
    println!(
        "a full disk: {kinds} kinds of output; EIO from a write on: {} moments, from a sync: {}, from a rename: {}; named, no half \
         file, and gone on with afterwards",
        broken[0], broken[1], broken[2]
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
        let (mut samples, mut created) = (Vec::new(), (0, 0));
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
            // Once each kind of round was there, a round makes nothing.
            let now = (gpu.pipelines_created(), gpu.buffers_created());
            if round < 6 {
                created = now;
            }
            assert_eq!(now, created, "{name}: pipelines and buffers after round {round}");
            if round >= ROUNDS / 5 && round % 12 == 0 {
                samples.push((round as f64, usage()));
            }
        }
        // The median slope of all pairs (Theil and Sen) in the last four fifths, which one piece more for the allocator does not change.
        let mut pairs = Vec::new();
        for (at, (last, (after, _))) in samples.iter().enumerate() {
            pairs.extend(samples[..at].iter().map(|(first, (before, _))| (after - before) / (last - first)));
        }
        pairs.sort_by(f64::total_cmp);
        let slope = pairs[pairs.len() / 2];
        let files: Vec<usize> = samples.iter().map(|s| s.1.1).collect();
        assert!(files.iter().all(|n| *n == files[0]), "{name}: {files:?} open files");
        // The allocator's own noise came to 0.01 KiB on lavapipe; a lost buffer would be 0.25 KiB and what is kept about it.
        assert!(slope < 0.25, "{name}: {slope} KiB per round");
        println!(
            "generate and cancel on {name}: {ROUNDS} rounds, {slope:.3} KiB per round; {} open files, {} pipelines and {} buffers \
             throughout",
            files[0], created.0, created.1
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
