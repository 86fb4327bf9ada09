//! Pictures that are varied, edited, inverted and measured by the program: what stays, what comes back from a recipe, and what
//! hostile or impossible input gets. On tiny synthetic models, and on fashion32 where images must mean something.
#![cfg(feature = "cli")]

mod common;

use common::folder::Folder;
use common::tiny::{models, write_of_noise_levels};
use conformance::tiny;
use guided_diffusion::cli::npy::{Dtype, Header};
use guided_diffusion::config::{ProcessKind, Role};
use guided_diffusion::image::Pixels;
use guided_diffusion::png;
use serde_json::Value;

/// A picture's level at a place, different everywhere nearby.
fn level(i: usize) -> u8 {
    (i * 73 % 256) as u8
}

fn picture(folder: &Folder, name: &str, [width, height, channels]: [usize; 3], level: impl Fn(usize) -> u8) {
    let bytes = (0..width * height * channels).map(level).collect();
    let mut file = Vec::new();
    png::write(&mut file, &Pixels { height, width, channels, bytes }, &[]).expect("a picture");
    std::fs::write(folder.join(name), file).expect("written");
}

fn read(folder: &Folder, name: &str) -> (Pixels, Vec<(String, String)>) {
    let bytes = std::fs::read(folder.join(name)).expect(name);
    png::read(std::io::Cursor::new(bytes)).expect(name)
}

/// The tiny models, a picture `x.png` of their size and a mask `m.png` whose left half is known.
fn prepared(name: &str) -> Folder {
    let folder = models(name);
    let size = tiny(Role::Diffusion).unet.image_size;
    picture(&folder, "x.png", [size, size, 3], level);
    picture(&folder, "small.png", [size / 2, size / 2, 3], level);
    picture(&folder, "m.png", [size, size, 1], |i| if i % size < size / 2 { 255 } else { 0 });
    folder
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

const BASE: &str = "--model base.safetensors --class 3 --count 2 --seed 5";

#[test]
fn every_mode_comes_back_from_its_recipe() {
    let folder = prepared("modes");
    write_of_noise_levels(&folder, "edm.safetensors", ProcessKind::Edm);
    write_of_noise_levels(&folder, "cm.safetensors", ProcessKind::Consistency);
    for (k, mode) in [
        "sample --init x.png --strength 0.5 --sampler ddim --steps ddim5 --threshold",
        "sample --sampler ddim --grid 900,500,20 --size 24x16",
        "edit --input x.png --mask m.png --steps 4 --eta 0",
        "edit --input x.png --mask m.png --sampler repaint --steps 4 --jump-length 2 --jump-repeats 2",
        "edit --input small.png --upscale 2 --colourise=luma --steps 4 --jump-repeats 2 --sigma-y 0.1",
        "edit --input small.png --mask m.png --fit crop --steps 4",
        "sample --sampler heun --steps 4 --churn 20 --model edm.safetensors",
        "sample --at 0,20,39 --model cm.safetensors",
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("{k}");
        // The last --model counts.
        folder.ok(&[&words(mode)[..1], &words(BASE), &words(mode)[1..], &["--out", &out]].concat());
        let name = folder_names(&folder, &out).into_iter().next_back().expect("a picture");
        let (made, texts) = read(&folder, &format!("{out}/{name}"));
        let comment =
            texts.iter().find(|(keyword, _)| keyword == "Comment").map(|(_, text)| text.clone()).expect("a command");
        folder.ok(&[&words(&comment)[1..], &["--out", "again.png"]].concat());
        let (again, _) = read(&folder, "again.png");
        let close = made.bytes.iter().zip(&again.bytes).all(|(a, b)| a.abs_diff(*b) <= 1);
        assert!(close && (made.width, made.height) == (again.width, again.height), "{comment}");
        if comment.contains("x.png") {
            // Another picture of that name is not taken for it.
            let size = made.width;
            picture(&folder, "x.png", [size, size, 3], |i| level(i + 1));
            let message = folder.refused(2, &[&words(&comment)[1..], &["--out", "other.png"]].concat());
            assert!(message.contains("x.png: its values have the hash"), "{message}");
            picture(&folder, "x.png", [size, size, 3], level);
        }
    }
}

fn folder_names(folder: &Folder, name: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join(name)).expect(name);
    let mut names: Vec<String> =
        entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn known_pixels_stay_exactly_from_every_form_of_file() {
    let folder = prepared("known");
    let size = tiny(Role::Diffusion).unet.image_size;
    let values: Vec<u8> = (0..3 * size * size).map(level).collect();
    let mut npy = Header::new(Dtype::U8, &[1, size, size, 3]).to_bytes(0);
    npy.extend(&values);
    std::fs::write(folder.join("x.npy"), npy).expect("written");
    for (k, input) in ["x.png", "x.npy"].into_iter().enumerate() {
        let out = format!("{k}.png");
        let line = format!("edit --input {input} --mask m.png --steps 3 --model base.safetensors --class 3 --count 1");
        folder.ok(&[words(&line), vec!["--out", &out]].concat());
        let (made, _) = read(&folder, &out);
        let known = |i: usize| i / 3 % size < size / 2;
        assert!((0..values.len()).filter(|i| known(*i)).all(|i| made.bytes[i] == values[i]), "{input}");
        assert!((0..values.len()).any(|i| made.bytes[i] != values[i]), "{input}: the rest is made");
    }
    // What is padded is made, and the picture stays.
    picture(&folder, "wide.png", [size, size / 2, 3], level);
    folder.ok(&words(
        "edit --input wide.png --fit pad --steps 3 --model base.safetensors --class 3 --count 1 --out padded.png",
    ));
    let (made, _) = read(&folder, "padded.png");
    let row = 3 * size;
    let inside = &made.bytes[size / 4 * row..(size / 4 + size / 2) * row];
    assert!(inside.iter().enumerate().all(|(i, v)| *v == level(i)));
    assert!(made.bytes[..size / 4 * row].iter().any(|v| *v != 0), "the bars are made");
}

#[test]
fn an_inversion_gives_the_picture_back() {
    let folder = Folder::new("invert").with_fashion();
    folder
        .ok(&words("sample --model fashion32.safetensors --class bag --count 1 --seed 3 --steps ddim10 --out bag.png"));
    let report = |steps: &str| -> Value {
        let line =
            format!("invert --model fashion32.safetensors --input bag.png --steps {steps} --out {steps}.npy --json");
        serde_json::from_str(&folder.ok(&words(&line))).expect("JSON")
    };
    let (few, many) = (report("ddim10"), report("ddim50"));
    let mean = |report: &Value| report["error_levels"]["mean"].as_f64().expect("an error");
    // More steps follow the flow more closely; 10 of 255 is what 50 give on this model.
    assert!(mean(&many) < mean(&few) && mean(&many) < 16.0, "{} {}", mean(&few), mean(&many));
    assert_eq!(many["evaluations"], 100, "50 there and 50 back");
    let command = many["sample_command"].as_str().expect("a command");
    folder.ok(&[&words(command)[1..], &["--out", "back.png"]].concat());
    let text = folder
        .ok(&words("invert --model fashion32.safetensors --input bag.png --steps ddim2 --class boot --out two.npy"));
    assert!(text.contains("--sampler ddim --steps ddim2 --seed 0 --noise two.npy --class 9"), "{text}");
    let apart = |a: &Pixels, b: &Pixels| {
        a.bytes.iter().zip(&b.bytes).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.bytes.len() as f64
    };
    let error = apart(&read(&folder, "bag.png").0, &read(&folder, "back.png").0);
    // The files' levels are rounded, each by less than one.
    assert!((error - mean(&many)).abs() < 1.0, "{error} is not the reported {}", mean(&many));
    let message = folder.refused(2, &words("invert --input bag.png --out noise.png"));
    assert!(message.contains(".npy"), "{message}");
}

#[test]
fn consistency_models_edit_in_few_evaluations() {
    let folder = prepared("consistency");
    write_of_noise_levels(&folder, "cm.safetensors", ProcessKind::Consistency);
    let line = "--model cm.safetensors --class 3 --count 1 --json";
    for (mode, evaluations) in [
        ("sample --sampler onestep", 1),
        ("sample --sampler onestep --steps 1", 1),
        ("sample", 2),
        ("edit --input x.png --mask m.png", 2),
        ("edit --input small.png --upscale 2 --at 0,10,20,39", 3),
        ("edit --input x.png --colourise=luma --sampler onestep", 1),
    ] {
        let report = folder.ok(&[words(mode), words(line), vec!["--out", "cm.png"]].concat());
        let report: Value = serde_json::from_str(&report).expect("JSON");
        assert_eq!(report["evaluations"], evaluations, "{mode}");
    }
    for (mode, said) in [
        ("sample --at 0,39,22", "ascending"),
        ("sample --at 0,40", "0 to 39"),
        ("sample --at 5,22,39", "ascending from 0"),
        ("sample --steps 2", "3 or more levels"),
        ("sample --grid 80,24.4,0.5", "places of its own grid"),
        ("sample --sampler ipndm --steps 1 --analytic-start", "leave the analytic start out"),
        ("sample --eta 0.5", "does not take it; leave it out"),
        ("edit --input x.png --upscale 1", "enlarges nothing"),
        ("edit --input x.png --mask m.png --sampler repaint", "use one of onestep, multistep"),
        ("sample --sampler ddim", "cannot sample from a consistency model's process"),
        ("edit --input x.png --mask m.png --sampler ddnm", "cannot sample from a consistency model's process"),
        ("invert --input x.png", "it needs a model of a discrete process"),
        ("nll --input x.png", "discrete process"),
    ] {
        let own = if mode.starts_with("nll") { "--model cm.safetensors --class 3" } else { line };
        let out = if mode.starts_with("invert") { "--out z.npy" } else { "--out z.png" };
        let out = if mode.starts_with("nll") { "" } else { out };
        let message = folder.refused(2, &[words(mode), words(own), words(out)].concat());
        assert!(message.contains(said), "{mode}: {message}");
    }
}

#[test]
fn impossible_edits_say_what_would_do() {
    let folder = prepared("impossible");
    let size = tiny(Role::Diffusion).unet.image_size;
    picture(&folder, "grey.png", [size, size, 1], level);
    picture(&folder, "odd.png", [size - 1, size, 3], level);
    picture(&folder, "odd-mask.png", [size - 1, size, 1], |_| 255);
    picture(&folder, "black.png", [size, size, 1], |_| 0);
    picture(&folder, "white.png", [size, size, 1], |_| 255);
    std::fs::write(folder.join("clear.png"), transparent(size as u32)).expect("written");
    std::fs::write(folder.join("broken.png"), b"\x89PNG\r\n\x1a\n").expect("written");
    folder.ok(&words("sample --model base.safetensors --class 3 --count 2 --steps 2 --out grid.png"));
    for (line, said) in [
        ("edit --input x.png", "give a mask, colourise or upscale"),
        ("edit --input x.png --mask m.png --out x.png", "--input and --out name the same place"),
        ("edit --input x.png --mask m.png --out m.png", "--mask and --out name the same place"),
        ("edit --input x.png --mask m.png --out .", "could replace it"),
        ("edit --input grid.png --colourise", "a grid of 2 images"),
        ("sample --init x.png --strength 0.04 --steps 10", "give 0.1 or more"),
        ("edit --input x.png --mask odd-mask.png", "the mask is"),
        ("edit --input x.png --mask grey.png", "grey pixels"),
        ("edit --input x.png --mask x.png", "colours"),
        ("edit --input x.png --mask black.png", "white is known"),
        ("edit --input x.png --mask white.png", "nothing is left to make"),
        ("edit --input clear.png --colourise", "transparent pixels"),
        ("edit --input broken.png --colourise", "broken.png"),
        ("edit --input odd.png --colourise", "--fit crop"),
        ("edit --input x.png --upscale 2", "which is enlarged 2 times"),
        ("edit --input x.png --upscale 7", "do not divide"),
        ("edit --input x.png --upscale 0", "enlarges nothing"),
        ("edit --input x.png --mask m.png --steps 1000 --jump-repeats 1000", "a walk of"),
        ("sample --sampler ancestral --grid 500", "at least 2 timesteps"),
        (
            "edit --input x.png --mask m.png --sampler repaint --colourise",
            "colourise: sampler repaint does not take it",
        ),
        ("edit --input x.png --mask m.png --expect input=0123456789abcdef", "its values have the hash"),
        ("edit --input x.png --mask m.png --trajectory t.gif", ".apng"),
        ("edit --input x.png --mask m.png --trajectory t.png --count 100000", "take fewer"),
        ("sample --init x.png --strength 0", "leaves the given image as it is"),
        ("sample --init x.png --strength 1.01", "strength is 1.01"),
        ("sample --init x.png --strength nan", "strength is NaN"),
        ("sample --init clear.png --strength 0.5", "transparent pixels"),
        ("sample --strength 0.5", "--init"),
        ("sample --grid 20,900", "descend"),
        ("sample --grid 900,20 --steps 2", "--grid"),
        ("sample --steps 960,640", "--grid"),
        ("sample --sampler multistep", "cannot sample from a discrete process"),
        ("sample --at 0,39", "does not take it; leave it out"),
        ("sample --size 15x16", "multiples of"),
        ("sample --size 0x16", "multiples of"),
        ("sample --size 16", "WIDTHxHEIGHT"),
        ("sample --size 32x16 --classifier judge.safetensors", "takes only images of"),
        ("invert --input x.png --noise z.npy", "leave it out"),
    ] {
        let out = if line.starts_with("invert") { "z.npy" } else { "z.png" };
        // The last --out counts.
        let out = ["--model", "base.safetensors", "--class", "3", "--out", out];
        let message = folder.refused(2, &[&words(line)[..1], &out, &words(line)[1..]].concat());
        assert!(message.contains(said), "{line}: {message}");
    }
    // All steps from the noised picture are as good as none of it, and allowed.
    folder.ok(&words("sample --init x.png --strength 1 --steps 2 --model base.safetensors --class 3 --out one.png"));
    // A folder of pictures in the one for the results is not replaced.
    std::fs::create_dir_all(folder.join("all/in")).expect("made");
    std::fs::copy(folder.join("x.png"), folder.join("all/in/x.png")).expect("copied");
    let line = "edit --input all/in --mask m.png --steps 2 --model base.safetensors --class 3 --count 2 --out all";
    folder.ok(&words(line));
    assert_eq!(std::fs::read_dir(folder.join("all")).expect("there").count(), 3, "two pictures and the folder");
}

/// A picture whose pixels are half transparent.
fn transparent(side: u32) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut file, side, side);
    encoder.set_color(::png::ColorType::Rgba);
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(&vec![128; 4 * (side * side) as usize]).expect("pixels");
    writer.finish().expect("an end");
    file
}

#[test]
fn a_trajectory_has_every_step() {
    let folder = prepared("trajectory");
    let size = tiny(Role::Diffusion).unet.image_size;
    let line = "sample --steps 5 --batch 2 --count 3 --model base.safetensors --class 3";
    folder.ok(&[words(line), words("--out a.png --trajectory strip.png")].concat());
    let (strip, _) = read(&folder, "strip.png");
    assert_eq!((strip.width, strip.height), (5 * (size + 2) - 2, 3 * (size + 2) - 2));
    folder.ok(&[words(line), words("--out b.png --trajectory frames.apng")].concat());
    let file = std::fs::File::open(folder.join("frames.apng")).expect("there");
    let reader = ::png::Decoder::new(std::io::BufReader::new(file)).read_info().expect("a PNG");
    assert_eq!(reader.info().animation_control().map(|control| control.num_frames), Some(5));
}

#[test]
fn bits_per_dimension_are_reported() {
    let folder = prepared("nll");
    let line = "nll --input x.png --model base.safetensors --class 3 --steps 4 --json";
    let report: Value = serde_json::from_str(&folder.ok(&words(line))).expect("JSON");
    let number = |name: &str| report[name].as_f64().expect(name);
    let sum: f64 = report["vb"].as_array().expect("a list").iter().filter_map(Value::as_f64).sum();
    assert!((number("total") - number("prior") - sum).abs() < 1e-9 * number("total").abs());
    for name in ["vb", "xstart_mse", "mse"] {
        assert_eq!(report[name].as_array().map(Vec::len), Some(4), "{name}");
    }
    let text = folder.ok(&words("nll --input x.png --model base.safetensors --class 3 --steps 4"));
    assert!(text.contains("bits per dimension"), "{text}");
}
