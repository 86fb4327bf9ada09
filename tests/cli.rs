//! The program as a user runs it: images, exit codes, and what bad input gets. On the adapter that wgpu finds first, or
//! the first of `TEST_ADAPTERS`.
#![cfg(feature = "cli")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use common::folder::Folder;
use guided_diffusion::checkpoint::{DType, writer};
use guided_diffusion::cli::input;
use guided_diffusion::config::{Flags, convert, presets};
use guided_diffusion::png;
use guided_diffusion::{Checkpoint, Error};
use serde_json::Value;

/// Two steps are enough to distinguish runs, and quick on a software adapter.
const QUICK: [&str; 5] = ["sample", "--model", "fashion32.safetensors", "--steps", "ddim2"];

/// A quick sampling run, which must succeed.
fn sample(folder: &Folder, arguments: &[&str]) -> String {
    folder.ok(&[&QUICK, arguments].concat())
}

fn bytes(folder: &Folder, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).expect(name)
}

fn floats(folder: &Folder, name: &str, count: usize) -> Vec<f32> {
    input::noise(&folder.join(name), [count, 1, 32, 32]).expect(name)
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_seed_decides_the_image_whatever_batch_and_shard() {
    let folder = Folder::new("seed").with_fashion();
    sample(&folder, &["--count", "4", "--batch", "4", "--out", "a.npy"]);
    sample(&folder, &["--count", "4", "--batch", "4", "--out", "b.npy"]);
    assert_eq!(bytes(&folder, "a.npy"), bytes(&folder, "b.npy"), "the same run twice");
    let whole = floats(&folder, "a.npy", 4);

    sample(&folder, &["--count", "4", "--batch", "1", "--out", "singles.npy"]);
    assert!(largest_difference(&floats(&folder, "singles.npy", 4), &whole) < 1e-4, "batch 1 x 4 equals batch 4");

    sample(&folder, &["--count", "4", "--shard", "0/2", "--out", "first.npy"]);
    sample(&folder, &["--count", "4", "--shard", "1/2", "--out", "second.npy"]);
    let shards = [floats(&folder, "first.npy", 2), floats(&folder, "second.npy", 2)].concat();
    assert!(largest_difference(&shards, &whole) < 1e-4, "the shards together equal the whole");

    sample(&folder, &["--count", "4", "--seed", "1", "--out", "other.npy"]);
    assert!(largest_difference(&floats(&folder, "other.npy", 4), &whole) > 0.1, "another seed, other images");
}

#[test]
fn a_picture_can_be_made_again_from_itself() {
    let folder = Folder::new("again").with_fashion();
    sample(&folder, &["--class", "bag,ankle boot", "--count", "3", "--seed", "9", "--out", "all"]);
    let name = "all/000001-ankle-boot.png";
    let read = |name: &str| png::read(std::io::Cursor::new(bytes(&folder, name))).expect(name);
    let (picture, texts) = read(name);
    let comment = texts.iter().find(|(k, _)| k == "Comment").map(|(_, text)| text.clone()).expect("a command");
    let mut words: Vec<&str> = comment.split(' ').skip(1).collect();
    words.extend(["--out", "again.png"]);
    assert!(folder.run(&words).status.success(), "{comment}");
    let (again, _) = read("again.png");
    let close = picture.bytes.iter().zip(&again.bytes).all(|(a, b)| a.abs_diff(*b) <= 1);
    assert!(close && picture.bytes.len() == again.bytes.len());
    assert_eq!(input::images(&folder.join("all")).expect("the folder").labels, Some(vec![8, 9, 8]));
}

#[test]
fn noise_from_a_file_is_the_first_draw() {
    let folder = Folder::new("noise").with_fashion();
    sample(&folder, &["--count", "2", "--out", "drawn.npy"]);
    // What the seed would have drawn, written as a file, gives the same images.
    let noise: Vec<f32> = (0..2).flat_map(|sample| guided_diffusion::op::philox::normals(0, sample, 0, 1024)).collect();
    let header = guided_diffusion::cli::npy::Header::new(guided_diffusion::cli::npy::Dtype::F32, &[2, 1, 32, 32]);
    let mut file = header.to_bytes(0);
    file.extend(noise.iter().flat_map(|v| v.to_le_bytes()));
    std::fs::write(folder.join("noise.npy"), file).expect("written");
    let report = sample(&folder, &["--noise", "noise.npy", "--out", "given.npy", "--json"]);
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!((&report["images"], &report["interrupted"]), (&Value::from(2), &Value::from(false)));
    assert!(largest_difference(&floats(&folder, "drawn.npy", 2), &floats(&folder, "given.npy", 2)) < 1e-3);
    let message = folder.refused(2, &[&QUICK[..], &["--noise", "noise.npy", "--count", "3"]].concat());
    assert!(message.contains("[3, 1, 32, 32]"), "{message}");
}

#[test]
fn images_between_two_seeds_begin_and_end_with_theirs() {
    let folder = Folder::new("between").with_fashion();
    let common = ["--class", "bag", "--steps", "ddim2", "--batch", "3"];
    let make = |own: &[&str]| sample(&folder, &[own, &common].concat());
    make(&["--interpolate", "3,4,3", "--out", "all.npy"]);
    make(&["--seed", "3", "--count", "1", "--out", "a.npy"]);
    make(&["--seed", "4", "--count", "1", "--out", "b.npy"]);
    let all = floats(&folder, "all.npy", 3);
    for (k, name) in [(0, "a.npy"), (2, "b.npy")] {
        // The host draws by float64 logarithms, the device by its own polynomials.
        assert!(largest_difference(&all[1024 * k..1024 * (k + 1)], &floats(&folder, name, 1)) < 1e-3, "{name}");
    }
    assert!(largest_difference(&all[..1024], &all[1024..2048]) > 0.1, "the middle is neither");
    // As many are made of a picture.
    make(&["--seed", "3", "--count", "1", "--out", "a.png"]);
    make(&["--interpolate", "3,4,3", "--init", "a.png", "--strength", "1", "--out", "varied.npy"]);
    let varied = floats(&folder, "varied.npy", 3);
    assert!(largest_difference(&varied[..1024], &varied[1024..2048]) > 0.1);
    let message = folder.refused(2, &["sample", "--interpolate", "3,4,3", "--count", "2"]);
    assert!(message.contains("makes 3 images"), "{message}");
}

/// No array is as long as the numbers that an argument may name.
#[test]
fn impossibly_many_images_are_refused_at_once() {
    let folder = Folder::new("many");
    for words in [["--count", "4294967295"], ["--interpolate", "1,2,4000000000"]] {
        let message = folder.refused(2, &[&["sample", "--out", "z.png"], &words[..]].concat());
        assert!(message.contains("give --out a folder or a .npz file"), "{message}");
    }
}

/// fashion32 with weights that float16 cannot hold, and a classifier for it.
fn special_models(folder: &Folder, model: &[u8]) {
    let source = Checkpoint::from_bytes("model", model.to_vec()).expect("fashion32");
    let header = source.header();
    let specs = header.tensors.iter().map(|(name, info)| {
        let (name, shape) = (name.clone(), info.shape.clone());
        writer::TensorSpec { name, dtype: DType::F32, shape }
    });
    writer::write(folder.join("large.safetensors"), specs.collect(), &header.metadata, |spec, sink| {
        let factor = if spec.name == "out.2.weight" { 1e8 } else { 1.0 };
        let bytes: Vec<u8> = source.tensor_f32(&spec.name)?.iter().flat_map(|v| (v * factor).to_le_bytes()).collect();
        sink.write_all(&bytes).map_err(|e| Error::io("large.safetensors", e))
    })
    .expect("written");

    let mut guide = presets::by_name("64x64_classifier").expect("a preset").config();
    guide.diffusion = source.config(&Flags::default()).expect("its configuration").config.diffusion;
    let c = &mut guide.unet;
    (c.image_size, c.in_channels, c.model_channels, c.out_channels) = (32, 1, 32, 10);
    (c.num_res_blocks, c.channel_mult, c.num_head_channels) = (1, vec![1.0; 2], 32);
    let synthetic = Checkpoint::synthetic(&guide, 0).expect("synthetic");
    let go = |_, _| std::ops::ControlFlow::Continue(());
    convert(&synthetic, &guide, None, folder.join("guide.safetensors"), go).expect("converted");
}

#[test]
fn half_precision_gives_nearly_the_same_images() {
    let folder = Folder::new("half").with_fashion();
    sample(&folder, &["--count", "2", "--out", "wide.npy"]);
    let report = sample(&folder, &["--count", "2", "--precision", "f16-weights", "--json", "--out", "half.npy"]);
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["precision"], "f16-weights");
    let (wide, half) = (floats(&folder, "wide.npy", 2), floats(&folder, "half.npy", 2));
    let mean = wide.iter().zip(&half).map(|(a, b)| (a - b).abs()).sum::<f32>() / wide.len() as f32;
    assert!(mean < 0.02, "{mean}");
}

#[test]
fn bad_input_gets_a_clear_error() {
    let folder = Folder::new("bad").with_fashion();
    std::fs::write(folder.join("junk.safetensors"), b"not a checkpoint").expect("written");
    std::fs::write(folder.join("file"), b"not a picture").expect("written");
    std::fs::write(folder.join("junk.npy"), b"not an array").expect("written");
    let model = include_bytes!("../models/fashion32.safetensors");
    std::fs::write(folder.join("short.safetensors"), &model[..model.len() / 2]).expect("written");
    special_models(&folder, model);
    for (code, arguments, words) in [
        (2, &["sample", "--class", "haert"][..], "heart"),
        (2, &["sample", "--class", "13"], "0 to 12"),
        (2, &["sample", "--steps", "ddim60"], "ddim59"),
        (2, &["sample", "--steps", "0"], "zero"),
        (2, &["sample", "--steps", "-5"], "negative"),
        (2, &["sample", "--eta", "2", "--sampler", "ddim"], "between 0"),
        (2, &["sample", "--count", "0"], "count"),
        (2, &["sample", "--count", "-3"], "'-3' for '--count"),
        (2, &["sample", "--seed", "-1"], "'-1' for '--seed"),
        (2, &["sample", "--steps", "ddim5", "--timestep_respacing", "250"], "--timestep_respacing"),
        (2, &["sample", "--shard", "2/2"], "I/N"),
        (2, &["sample", "--out", "a.jpg"], ".npz"),
        (2, &["sample", "--out", "-"], "standard output"),
        (2, &["sample", "--out", "file"], "no format"),
        (2, &["sample", "--noise", "junk.npy"], "not a .npy"),
        (2, &["sample", "--no-such-flag"], "--no-such-flag"),
        (2, &["sample", "--tensor-cores"], "--precision f16"),
        (1, &["sample", "--out", "missing/a.png"], "missing/a.png"),
        (1, &["sample", "--noise", "none.npy"], "none.npy"),
        (1, &["sample", "--model", "none.safetensors"], "none.safetensors"),
        (2, &["sample", "--classifier", "large.safetensors"], "large.safetensors is a diffusion model"),
        (1, &["sample", "--model", "junk.safetensors"], "junk.safetensors"),
        (1, &["sample", "--model", "short.safetensors"], "short.safetensors"),
        (1, &["sample", "--adapter", "no such adapter", "--out", "a.png"], "no such adapter"),
        (1, &["sample", "--adapter", "no such adapter", "--out", "pictures"], "no such adapter"),
        (2, &["sample", "--model", "large.safetensors", "--precision", "f16-weights", "--out", "pictures"], "f32"),
        (
            1,
            &[
                "sample",
                "--model",
                "fashion32.safetensors",
                "--classifier",
                "guide.safetensors",
                "--guidance",
                "1e38",
                "--steps",
                "ddim2",
                "--out",
                "pictures",
            ],
            "1e38",
        ),
        (1, &["info", "junk.safetensors"], "junk.safetensors"),
        (2, &["bench", "--arch", "65x65_diffusion"], "64x64_diffusion"),
    ] {
        let message = folder.refused(code, arguments);
        assert!(message.contains(words), "{arguments:?}: {message}");
    }
}

#[test]
fn reports_are_json() {
    let folder = Folder::new("json");
    let json = |arguments: &[&str]| -> Value {
        let output = folder.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("one JSON value")
    };
    let info = json(&["info", "--json", "--tensors"]);
    assert_eq!((&info["role"], &info["config"]["image_size"]), (&"diffusion".into(), &32.into()));
    assert_eq!(info["tensors"].as_object().map(|t| t.len() as u64), info["tensor_count"].as_u64());
    // Of an unknown file, its tensors and why it is unknown.
    let unknown = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pt/expected.safetensors");
    let info = json(&["info", unknown, "--json", "--tensors"]);
    assert!(info["error"].is_string() && info["tensors"].as_object().is_some_and(|all| !all.is_empty()), "{info}");
    // A container has no XDG_RUNTIME_DIR, and Mesa says so where it may.
    let mut bare = folder.command(&["adapters", "--json"]);
    let bare = bare.env_remove("XDG_RUNTIME_DIR").env_remove("NODEVICE_SELECT").output().expect("started");
    assert_eq!(String::from_utf8_lossy(&bare.stderr), "");
    let adapters = json(&["adapters", "--json"]);
    assert!(adapters[0]["name"].is_string());
    let bench = json(&["bench", "--json", "--runs", "1", "--batch", "1"]);
    for key in ["ms", "gflops", "matmul_gflops", "ratio", "dispatches", "peak_bytes"] {
        assert!(bench[key].as_f64().is_some_and(|v| v > 0.0), "{key}: {bench}");
    }
    assert_eq!((&bench["work"], &bench["batch"]), (&"emoji32".into(), &1.into()));
    let plan = folder.run(&["info", "--plan"]);
    assert!(String::from_utf8_lossy(&plan.stdout).contains("conv2d"));
}

#[cfg(unix)]
#[test]
fn what_ends_a_run_keeps_finished_images() {
    let folder = Folder::new("interrupt");
    let arguments = ["sample", "--count", "4000", "--batch", "1", "--steps", "ddim2", "--out", "images"];
    let images = folder.join("images");
    let finished = || std::fs::read_dir(&images).map_or(0, |entries| entries.filter(is_picture).count());
    for signal in ["-INT", "-TERM"] {
        let before = finished();
        let mut child =
            folder.command(&arguments).stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("started");
        while finished() == before && child.try_wait().expect("a child").is_none() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill runs");
        assert!(killed.success());
        assert_eq!(child.wait().expect("it ends").code(), Some(130), "{signal}");
        assert!(finished() > before, "{signal}: the second run continues the first");
        let others = std::fs::read_dir(&images).expect("there").filter(|entry| !is_picture(entry));
        let others: Vec<_> = others.map(|entry| entry.expect("an entry").file_name()).collect();
        assert_eq!(others, [".partial-0-4000"], "the journal, for who goes on, and no temporary file");
    }
    assert!(input::images(&images).is_ok());

    fn is_picture(entry: &std::io::Result<std::fs::DirEntry>) -> bool {
        let Ok(entry) = entry else { return false };
        let name = entry.file_name();
        Path::new(&name).extension().is_some_and(|e| e == "png") && !name.to_string_lossy().starts_with('.')
    }
}
