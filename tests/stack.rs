//! The program with several models, on tiny synthetic ones: guidance, the two-stage stack, upsampling from files,
//! conversion. On the adapter that wgpu finds first, or the first of `TEST_ADAPTERS`.
#![cfg(feature = "cli")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::folder::Folder;
use common::tiny::{models, write};
use conformance::tiny;
use guided_diffusion::checkpoint::{Checkpoint, writer};
use guided_diffusion::cli::input;
use guided_diffusion::config::Role;
use serde_json::Value;

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn floats(folder: &Folder, name: &str, shape: [usize; 4]) -> Vec<f32> {
    input::noise(&folder.join(name), shape).unwrap()
}

/// Within a grey level or two: different batches take kernels with other orders of sums.
fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 5e-3)
}

const STACK: &str = "sample --model base.safetensors --classifier judge.safetensors --guidance 4 --upsampler \
                     up.safetensors --steps 4 --upsampler-steps ddim3 --class 3,5 --count 4 --seed 11";

#[test]
fn a_stack_is_what_its_two_commands_make() {
    let folder = models("stack-equal");
    let mut all = words(STACK);
    all.extend(words("--small-out small.npz --out large.npy --json"));
    let report: Value = serde_json::from_str(&folder.ok(&all)).unwrap();
    assert_eq!(
        (&report["images"], &report["guidance"], &report["classifier"]),
        (&4.into(), &4.0.into(), &"judge.safetensors".into())
    );
    assert_eq!((&report["seed"], &report["upsampler"]["seed"]), (&11.into(), &12.into()));
    assert_eq!(report["upsampler"].get("guidance"), None, "the upsampler is not guided");
    let large = floats(&folder, "large.npy", [4, 3, 16, 16]);

    let small = input::images(&folder.join("small.npz")).unwrap();
    assert_eq!((small.images.count(), small.images.width(), small.labels.as_deref()), (4, 8, Some(&[3, 5, 3, 5][..])));
    folder.ok(&words("upsample --model up.safetensors --input small.npz --steps ddim3 --seed 12 --out two.npy"));
    assert!(close(&floats(&folder, "two.npy", [4, 3, 16, 16]), &large));

    // A folder of PNGs says as much: pixels, and classes in the pictures' own texts.
    let single = "sample --model base.safetensors --classifier judge.safetensors --guidance 4 --steps 4 --class 3,5 \
                  --count 4 --seed 11 --out small --batch 3";
    folder.ok(&words(single));
    folder
        .ok(&words("upsample --model up.safetensors --input small --steps ddim3 --seed 12 --out three.npy --batch 1"));
    assert!(close(&floats(&folder, "three.npy", [4, 3, 16, 16]), &large));

    // One picture, in the place that it has in the run.
    let name = std::fs::read_dir(folder.join("small")).unwrap().map(|e| e.unwrap().file_name()).min().unwrap();
    let picture = format!("small/{}", name.to_string_lossy());
    folder.ok(&[
        "upsample",
        "--model",
        "up.safetensors",
        "--input",
        &picture,
        "--steps",
        "ddim3",
        "--seed",
        "12",
        "--out",
        "one.npy",
    ]);
    assert!(close(&floats(&folder, "one.npy", [1, 3, 16, 16]), &large[..768]));

    // Labels travel to the end.
    all = words(STACK);
    all.extend(words("--out large.npz --shard 1/2"));
    folder.ok(&all);
    assert_eq!(input::images(&folder.join("large.npz")).unwrap().labels, Some(vec![3, 5]));
}

#[test]
fn pictures_carry_the_command_that_makes_them_again() {
    let folder = models("stack-again");
    let mut all = words(STACK);
    all.extend(words("--guidance-interval 100:900 --out all"));
    folder.ok(&all);
    let file = folder.join("all/000002.png");
    let read = |path: &Path| guided_diffusion::png::read(std::io::Cursor::new(std::fs::read(path).unwrap())).unwrap();
    let (picture, texts) = read(&file);
    let of = |keyword: &str| texts.iter().find(|(k, _)| k == keyword).unwrap().1.clone();
    let parameters: Value = serde_json::from_str(&of(guided_diffusion::recipe::KEYWORD)).unwrap();
    assert_eq!(parameters["guidance_interval"], serde_json::json!([100, 900]));
    assert_eq!((&parameters["label"], &parameters["upsampler"]["steps"]), (&3.into(), &"ddim3".into()));
    let command = of("Comment");
    let mut again: Vec<&str> = command.split(' ').skip(1).collect();
    again.extend(["--out", "again.png"]);
    folder.ok(&again);
    let (same, _) = read(&folder.join("again.png"));
    assert!(picture.bytes.iter().zip(&same.bytes).all(|(a, b)| a.abs_diff(*b) <= 1), "{command}");
    assert_eq!(same.bytes.len(), picture.bytes.len());
}

#[test]
fn guidance_changes_images_only_where_asked() {
    let folder = models("stack-guidance");
    let run = |more: &str, out: &str| {
        let text = format!("sample --model base.safetensors --steps ddim4 --class 1 --count 2 --out {out} {more}");
        folder.ok(&words(&text));
        floats(&folder, out, [2, 3, 8, 8])
    };
    let plain = run("", "plain.npy");
    let guided = |more: &str, out: &str| run(&format!("--classifier judge.safetensors {more}"), out);
    assert!(close(&guided("--guidance 0", "zero.npy"), &plain));
    assert!(close(&guided("--guidance 500 --guidance-interval 1:1", "never.npy"), &plain));
    assert!(!close(&guided("--guidance 500", "strong.npy"), &plain));
    // The public scripts' names of the same.
    assert!(close(&run("--classifier_path judge.safetensors --classifier_scale 0", "public.npy"), &plain));
}

#[test]
fn an_unconditional_model_is_guided_by_the_classifiers_labels() {
    let folder = models("stack-unconditional");
    let mut config = tiny(Role::Diffusion);
    config.unet.num_classes = 0;
    write(&folder, "free.safetensors", &config, 5);
    let run = |class: &str, out: &str| {
        let text = format!(
            "sample --model free.safetensors --classifier judge.safetensors --guidance 300 --steps ddim4 --class {class} --count 1 --out {out}"
        );
        folder.ok(&words(&text));
        floats(&folder, out, [1, 3, 8, 8])
    };
    assert!(!close(&run("2", "two.npy"), &run("3", "three.npy")));
    let message = folder.refused(2, &words("sample --model free.safetensors --class 2"));
    assert!(message.contains("without classes"), "{message}");
}

#[test]
fn a_classifier_guides_all_classes_but_the_null_class() {
    let folder = models("stack-null");
    let mut config = tiny(Role::Diffusion);
    (config.unet.num_classes, config.null_class) = (11, Some(10));
    write(&folder, "null.safetensors", &config, 5);
    let text =
        "sample --model null.safetensors --classifier judge.safetensors --guidance 300 --steps ddim4 --count 12 --json";
    let report: Value = serde_json::from_str(&folder.ok(&[&words(text)[..], &["--out", "a.npz"]].concat())).unwrap();
    assert_eq!(report["guidance"], 300.0);
    let labels = input::images(&folder.join("a.npz")).unwrap().labels.unwrap();
    assert_eq!(labels, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
    let message = folder.refused(2, &[&words(text)[..], &["--class", "10"]].concat());
    assert!(message.contains("0 to 9"), "{message}");

    // A picture that says no class has the null class, but for a classifier one of its own is asked for.
    let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/red.jpg");
    let vary = words("sample --model null.safetensors --strength 0.5 --steps ddim4 --fit crop --out varied.png --init");
    let vary = [&vary[..], &[picture]].concat();
    folder.ok(&vary);
    let message = folder.refused(2, &[&vary[..], &words("--classifier judge.safetensors")].concat());
    assert!(message.contains("give --class"), "{message}");
}

#[test]
fn what_does_not_fit_is_refused_before_any_work() {
    let folder = models("stack-refused").with_fashion();
    let mut other = tiny(Role::Classifier);
    other.unet.image_size = 16;
    other.unet.attention_resolutions = vec![8];
    write(&folder, "large_judge.safetensors", &other, 0);
    let mut few = tiny(Role::Classifier);
    few.unet.out_channels = 4;
    write(&folder, "few_judge.safetensors", &few, 0);
    let quick = "--steps ddim2 --count 1";
    folder.ok(&words("sample --model base.safetensors --steps ddim2 --count 2 --out small.npz"));
    folder.ok(&words("sample --model fashion32.safetensors --steps ddim2 --count 1 --out gray.png"));
    folder.ok(&words("upsample --model up.safetensors --input small.npz --steps ddim2 --out large.npz"));
    std::fs::write(folder.join("text.png"), "no picture").unwrap();
    std::fs::create_dir(folder.join("empty")).unwrap();
    // An array without labels.
    folder.ok(&words("sample --model base.safetensors --steps ddim2 --count 1 --out small.npy"));
    for (code, text, said) in [
        (2, "sample --model base.safetensors --classifier large_judge.safetensors", "16x16 images"),
        (2, "sample --model base.safetensors --classifier few_judge.safetensors", "4 classes"),
        (2, "sample --model base.safetensors --classifier up.safetensors", "up.safetensors is an upsampler"),
        (2, "sample --model base.safetensors --guidance 3", "--classifier"),
        (2, "sample --model base.safetensors --classifier judge.safetensors --guidance nan", "scale"),
        (2, "sample --model base.safetensors --classifier judge.safetensors --guidance-interval 5", "LO:HI"),
        (2, "sample --model base.safetensors --classifier judge.safetensors --guidance-interval 1000:2000", "0 to 999"),
        (2, "sample --model up.safetensors", "`upsample`"),
        (2, "sample --model judge.safetensors", "--classifier"),
        (2, "sample --model base.safetensors --upsampler base.safetensors", "does not enlarge"),
        (2, "sample --model fashion32.safetensors --upsampler up.safetensors", "1 channels"),
        (2, "sample --model base.safetensors --upsampler-steps 5", "--upsampler"),
        (2, "sample --model base.safetensors --upsampler up.safetensors --upsampler-steps 0", "zero"),
        (2, "sample --model base.safetensors --upsampler up.safetensors --small_size 4", "enlarges 4x4"),
        (2, "sample --model base.safetensors --upsampler up.safetensors --small-out a.png --out a.png", "same place"),
        (2, "sample --model base.safetensors --out a.png --trajectory ./a.png", "same place"),
        (2, "upsample --model base.safetensors --input small.npz", "does not enlarge"),
        (2, "upsample --model up.safetensors", "--input"),
        (2, "upsample --input small.npz", "--model"),
        (2, "upsample --model up.safetensors --input large.npz", "16x16 with 3 channels"),
        (2, "upsample --model up.safetensors --input gray.png", "1 channels"),
        (2, "upsample --model up.safetensors --input small.npy", "--class"),
        (2, "upsample --model up.safetensors --input small.npz --class 10", "0 to 9"),
        (2, "upsample --model up.safetensors --input text.png", "text.png"),
        (2, "upsample --model up.safetensors --input empty", "without a PNG"),
        (1, "upsample --model up.safetensors --input missing.npz", "missing.npz"),
        (1, "sample --model base.safetensors --classifier missing.pt", "missing.pt"),
    ] {
        let all: Vec<&str> = text
            .split(' ')
            .chain(if text.starts_with("sample") { quick.split(' ') } else { "".split(' ') })
            .filter(|w| !w.is_empty())
            .collect();
        let message = folder.refused(code, &all);
        assert!(message.contains(said), "{text}: {message}");
    }
}

#[test]
fn files_convert_and_are_used_directly() {
    let folder = models("stack-convert");
    let report = folder.ok(&words("convert base.safetensors --dtype f16 --out half.safetensors --json"));
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report[0]["role"], &report[0]["output"]), (&"diffusion".into(), &"half.safetensors".into()));
    let size = |name: &str| std::fs::metadata(folder.join(name)).unwrap().len();
    assert!(size("half.safetensors") < size("base.safetensors") * 6 / 10);
    let run = |model: &str, out: &str| {
        folder.ok(&["sample", "--model", model, "--steps", "ddim4", "--class", "1", "--count", "1", "--out", out]);
        floats(&folder, out, [1, 3, 8, 8])
    };
    let (whole, half) = (run("base.safetensors", "a.npy"), run("half.safetensors", "b.npy"));
    let difference = whole.iter().zip(&half).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference > 0.0 && difference < 0.05, "{difference}");

    // Without metadata, the flags are needed once; then the file carries them.
    bare(&folder, "base.safetensors", "bare.ckpt");
    let message = folder.refused(1, &words("convert bare.ckpt"));
    assert!(message.contains("--image_size") || message.contains("--noise_schedule"), "{message}");
    let flags = "--image_size 8 --num_heads 2 --noise_schedule linear --attention_resolutions 4 --learn_sigma True";
    folder.ok(&[&["convert", "bare.ckpt"][..], &words(flags)].concat());
    assert_eq!(run("bare.safetensors", "c.npy"), whole);
    let direct = [
        &["sample", "--model_path", "bare.ckpt"][..],
        &words(flags),
        &words("--steps ddim4 --class 1 --count 1 --out d.npy"),
    ]
    .concat();
    folder.ok(&direct);
    assert_eq!(floats(&folder, "d.npy", [1, 3, 8, 8]), whole);

    assert!(folder.refused(2, &words("convert base.safetensors")).contains("replace itself"));
    assert!(folder.refused(2, &[&["convert", "bare.ckpt"][..], &words(flags)].concat()).contains("exists already"));
    assert!(folder.refused(2, &words("convert")).contains("give the checkpoint"));
    assert!(folder.refused(2, &words("convert a.pt b.pt --out c")).contains("several"));
    assert!(folder.refused(2, &words("convert base.safetensors --dtype f8 --out x")).contains("f16"));
    std::fs::write(folder.join("cut.pt"), &std::fs::read(folder.join("base.safetensors")).unwrap()[..9000]).unwrap();
    assert!(folder.refused(1, &words("convert cut.pt")).contains("cut.pt"));
}

/// A copy of a file's tensors without its metadata, as other tools write it.
fn bare(folder: &Folder, from: &str, to: &str) {
    let source = Checkpoint::open(folder.join(from)).unwrap();
    let specs = source.header().tensors.iter().map(|(name, info)| writer::TensorSpec {
        name: name.clone(),
        dtype: info.dtype,
        shape: info.shape.clone(),
    });
    writer::write(folder.join(to), specs.collect(), &BTreeMap::new(), |spec, sink| {
        sink.write_all(&source.bytes(&spec.name)?).map_err(|e| guided_diffusion::Error::io("bare", e))
    })
    .unwrap();
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_no_half_file() {
    let folder = Folder::new("stack-interrupt");
    // Large enough to be caught at work.
    let config = guided_diffusion::config::presets::by_name("128x128_classifier").unwrap().config();
    write(&folder, "large.safetensors", &config, 0);
    let mut child = folder
        .command(&words("convert large.safetensors --dtype f16 --out half.safetensors"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while folder.names().len() < 2 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    // It may have been done already: then the file is whole. Half a file is never there.
    match child.wait().unwrap().code() {
        Some(130) => assert_eq!(folder.names(), ["large.safetensors"]),
        Some(0) => assert!(Checkpoint::open(folder.join("half.safetensors")).is_ok()),
        other => panic!("{other:?}"),
    }
}
