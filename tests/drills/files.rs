//! Drills of what lies on the disk: caches that are damaged, of other versions or of another user, and models that change while
//! they are open.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use guided_diffusion::checkpoint::Checkpoint;

use crate::common::folder::Folder;
use crate::common::tiny::models;
use crate::{RUN, bytes, text, words};

/// A user who owns nothing.
const NOBODY: u32 = 65_534;

/// What a run with this cache says; it succeeds, with the bytes of a run without any.
fn run(folder: &Folder, cache: &Path, user: Option<u32>) -> String {
    let out = folder.join("out");
    let program = folder.join("program");
    let mut command = match user {
        None => folder.command(&[]),
        Some(_) => Command::new(&program),
    };
    let arguments = words(RUN, "--tune-budget 0 --out out/x.npz");
    command.args(arguments).current_dir(&folder.0).env("GUIDED_DIFFUSION_CACHE", cache);
    if let Some(user) = user {
        command.uid(user).gid(user).env("HOME", &out);
    }
    let output = command.output().expect("started");
    assert!(output.status.success(), "{}: {}", cache.display(), text(&output));
    assert_eq!(bytes(folder, "out/x.npz"), bytes(folder, "whole.npz"), "{}", cache.display());
    std::fs::remove_file(out.join("x.npz")).expect("there");
    text(&output)
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("permissions");
}

/// The files of a cache and their bytes.
fn files(cache: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(cache).expect("made").flatten();
    entries.map(|entry| (entry.path(), std::fs::read(entry.path()).expect("a file"))).collect()
}

#[test]
fn caches_that_are_damaged() {
    let folder = models("drill-cache");
    folder.ok(&words(RUN, "--out whole.npz"));
    std::fs::copy(env!("CARGO_BIN_EXE_guided-diffusion"), folder.join("program")).expect("copied");
    std::fs::create_dir(folder.join("out")).expect("made");
    mode(&folder.join("out"), 0o777);
    let cache = folder.join("cache");
    // Settled by a budget that measures nothing, so that there is a tuning cache too, which holds the defaults.
    let first = folder
        .command(&words(RUN, "--tune-budget 0.000001 --out first.npz"))
        .env("GUIDED_DIFFUSION_CACHE", &cache)
        .output();
    assert!(first.expect("started").status.success());
    let whole = files(&cache);
    assert_eq!(whole.len(), 2, "a tuning cache and compiled code: {whole:?}");
    assert!(!run(&folder, &cache, None).contains("continuing without"), "a sound cache is used");

    let mut runs = 0;
    type Damage = fn(&[u8]) -> Vec<u8>;
    let damages: [(&str, Damage, bool); 6] = [
        ("cut", |bytes| bytes[..bytes.len() / 2].to_vec(), true),
        ("cut by a byte", |bytes| bytes[..bytes.len() - 1].to_vec(), true),
        ("empty", |_| Vec::new(), true),
        ("garbled", |bytes| bytes.iter().map(|byte| byte ^ 0x55).collect(), true),
        // Those of another driver, or of kernels that have changed since, are passed over in silence.
        (
            "of another version",
            |bytes| String::from_utf8_lossy(bytes).replacen("llvmpipe", "llvmpipf", 1).into_bytes(),
            false,
        ),
        (
            "of other kernels",
            |bytes| {
                // Their hash follows the program's version.
                let version = concat!("; ", env!("CARGO_PKG_VERSION"), "; ");
                let at = bytes.windows(version.len()).position(|part| part == version.as_bytes()).expect("a version");
                let mut other = bytes.to_vec();
                let digit = &mut other[at + version.len()];
                *digit = if *digit == b'0' { b'1' } else { b'0' };
                other
            },
            false,
        ),
    ];
    for (what, damage, is_told) in damages {
        for (file, bytes) in &whole {
            let damaged = damage(bytes);
            assert_ne!(&damaged, bytes, "{what}: {}", file.display());
            std::fs::write(file, damaged).expect("written");
        }
        assert_eq!(run(&folder, &cache, None).contains("continuing without"), is_told, "{what}");
        // Compiled code is written anew, for this device; nothing was measured.
        let head = |bytes: &[u8]| bytes.split(|byte| *byte == b'\n').next().map(<[u8]>::to_vec);
        for (file, bytes) in whole.iter().filter(|(file, _)| file.extension().is_some_and(|kind| kind == "pipelines")) {
            let now = std::fs::read(file).expect("there");
            assert!(now != damage(bytes) && head(&now) == head(bytes), "{what}: {}", file.display());
        }
        runs += 1;
    }
    std::fs::write(folder.join("a-file"), "in the way").expect("written");
    for place in ["a-file", "/proc/no-such-place"] {
        assert!(run(&folder, &folder.join(place), None).contains("GUIDED_DIFFUSION_CACHE"), "{place}");
        runs += 1;
    }

    // As a user to whom the cache does not belong: one that may be read, one that may not, and a place for a new one.
    for (file, bytes) in &whole {
        std::fs::write(file, bytes).expect("written");
        mode(file, 0o444);
    }
    mode(&cache, 0o555);
    assert!(!run(&folder, &cache, Some(NOBODY)).contains("panicked"), "read-only");
    mode(&cache, 0o700);
    assert!(run(&folder, &cache, Some(NOBODY)).contains("Permission denied"), "another user's");
    assert!(
        run(&folder, &folder.join("new"), Some(NOBODY)).contains("Permission denied"),
        "a folder of another user's"
    );
    assert_eq!(files(&cache).len(), whole.len(), "and nothing of it was changed");
    runs += 3;
    println!(
        "caches: {runs} that are cut, empty, garbled, of other versions, read-only, another user's or in no place for one: every \
         run succeeds with the same bytes, and names what cannot be read"
    );
}

#[test]
fn a_model_that_changes_while_it_is_open() {
    let folder = models("drill-model");
    let path = folder.join("base.safetensors");
    let names = |open: &Checkpoint| open.header().tensors.keys().cloned().collect::<Vec<_>>();
    let open = Checkpoint::open(&path).expect("a model");
    let all = names(&open);
    let before: Vec<Vec<f32>> = all.iter().map(|name| open.tensor_f32(name).expect("a tensor")).collect();
    // Replaced or removed by its name, it is still there for who has it open.
    std::fs::rename(folder.join("up.safetensors"), &path).expect("replaced");
    std::fs::remove_file(&path).expect("removed");
    let after: Vec<Vec<f32>> = all.iter().map(|name| open.tensor_f32(name).expect("a tensor")).collect();
    assert_eq!(before, after);
    // Cut short, every tensor is an error.
    let path = folder.join("judge.safetensors");
    let open = Checkpoint::open(&path).expect("a model");
    let whole = std::fs::read(&path).expect("there");
    let file = std::fs::File::options().write(true).open(&path).expect("there");
    file.set_len(64).expect("cut");
    let missing = names(&open);
    assert!(missing.iter().all(|name| open.tensor_f32(name).is_err()));
    // Cut short, written over and made whole again all the time: each read is an error or has as many values as it should.
    let (stop, mut reads, mut errors) = (AtomicBool::new(false), 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0u64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                std::fs::write(&path, &whole).expect("written");
                // On a busy machine nobody would find it whole.
                std::thread::sleep(Duration::from_micros(200));
                file.set_len(round * 4099 % whole.len() as u64).expect("cut");
            }
        });
        while reads < 20_000 {
            for name in &missing {
                let elements = open.info(name).expect("a tensor").elements();
                match open.tensor_f32(name) {
                    Ok(values) => assert_eq!(values.len(), elements),
                    Err(_) => errors += 1,
                }
                reads += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(errors > 0 && errors < reads, "{errors} of {reads}");
    println!(
        "a model that is replaced or removed while open: the same {} tensors; cut short: {} errors; cut and written all the time: \
         {reads} reads, {errors} errors, no other harm",
        after.len(),
        missing.len()
    );
}
