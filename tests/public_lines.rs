//! Every sampling line of the public README, pasted: parsed by each command, and settled against files that have the
//! public ones' names and tensors (their data are holes in the file, so that gigabytes cost nothing).
#![cfg(feature = "cli")]

mod common;

use std::io::Write;
use std::path::Path;
use std::process::Command as Process;

use clap::Parser;
use common::folder::Folder;
use guided_diffusion::Images;
use guided_diffusion::checkpoint::Checkpoint;
use guided_diffusion::cli::args::{Cli, Command};
use guided_diffusion::cli::input::Labeled;
use guided_diffusion::cli::models::Models;
use guided_diffusion::cli::npy::{Dtype, Header};
use guided_diffusion::cli::request::Request;
use guided_diffusion::config::presets::PRESETS;
use guided_diffusion::config::{Role, parameters};
use guided_diffusion::device::Precision;
use guided_diffusion::sampler::Sampler;

const SAMPLE_FLAGS: &str = "--batch_size 4 --num_samples 100 --timestep_respacing 250";
const LSUN_FLAGS: &str = "--batch_size 4 --num_samples 100 --timestep_respacing 1000";
const DDIM_FLAGS: &str = "--batch_size 4 --num_samples 50000 --timestep_respacing ddim25 --use_ddim True";

const MODEL_64: &str = "--attention_resolutions 32,16,8 --class_cond True --diffusion_steps 1000 --dropout 0.1 --image_size 64 --learn_sigma True --noise_schedule cosine --num_channels 192 --num_head_channels 64 --num_res_blocks 3 --resblock_updown True --use_new_attention_order True --use_fp16 True --use_scale_shift_norm True";
const MODEL_128: &str = "--attention_resolutions 32,16,8 --class_cond True --diffusion_steps 1000 --image_size 128 --learn_sigma True --noise_schedule linear --num_channels 256 --num_heads 4 --num_res_blocks 2 --resblock_updown True --use_fp16 True --use_scale_shift_norm True";
const MODEL_256: &str = "--attention_resolutions 32,16,8 --class_cond True --diffusion_steps 1000 --image_size 256 --learn_sigma True --noise_schedule linear --num_channels 256 --num_head_channels 64 --num_res_blocks 2 --resblock_updown True --use_fp16 True --use_scale_shift_norm True";
const MODEL_256_UNCOND: &str = "--attention_resolutions 32,16,8 --class_cond False --diffusion_steps 1000 --image_size 256 --learn_sigma True --noise_schedule linear --num_channels 256 --num_head_channels 64 --num_res_blocks 2 --resblock_updown True --use_fp16 True --use_scale_shift_norm True";
const MODEL_512: &str = "--attention_resolutions 32,16,8 --class_cond True --diffusion_steps 1000 --image_size 512 --learn_sigma True --noise_schedule linear --num_channels 256 --num_head_channels 64 --num_res_blocks 2 --resblock_updown True --use_fp16 False --use_scale_shift_norm True";
const UPSAMPLER_256: &str = "--attention_resolutions 32,16,8 --class_cond True --diffusion_steps 1000 --large_size 256  --small_size 64 --learn_sigma True --noise_schedule linear --num_channels 192 --num_heads 4 --num_res_blocks 2 --resblock_updown True --use_fp16 True --use_scale_shift_norm True";
const UPSAMPLER_512: &str = "--attention_resolutions 32,16 --class_cond True --diffusion_steps 1000 --large_size 512 --small_size 128 --learn_sigma True --noise_schedule linear --num_channels 192 --num_head_channels 64 --num_res_blocks 2 --resblock_updown True --use_fp16 True --use_scale_shift_norm True";
const LSUN: &str = "--attention_resolutions 32,16,8 --class_cond False --diffusion_steps 1000 --dropout 0.1 --image_size 256 --learn_sigma True --noise_schedule linear --num_channels 256 --num_head_channels 64 --num_res_blocks 2 --resblock_updown True --use_fp16 True --use_scale_shift_norm True";
const LSUN_NO_DROPOUT: &str = "--attention_resolutions 32,16,8 --class_cond False --diffusion_steps 1000 --dropout 0.0 --image_size 256 --learn_sigma True --noise_schedule linear --num_channels 256 --num_head_channels 64 --num_res_blocks 2 --resblock_updown True --use_fp16 True --use_scale_shift_norm True";
const MODEL_128_DDIM: &str = "--attention_resolutions 32,16,8 --class_cond True --image_size 128 --learn_sigma True --num_channels 256 --num_heads 4 --num_res_blocks 2 --resblock_updown True --use_fp16 True --use_scale_shift_norm True";
const CLASSIFIER_128: &str = "--image_size 128 --classifier_attention_resolutions 32,16,8 --classifier_depth 2 --classifier_width 128 --classifier_pool attention --classifier_resblock_updown True --classifier_use_scale_shift_norm True --classifier_scale 1.0 --classifier_use_fp16 True";

/// A line of the public README after the script's name, and what it means.
struct Line {
    model: &'static str,
    words: Vec<String>,
    /// The scale that the line gives, where it is guided.
    scale: Option<f64>,
    images: u32,
    steps: usize,
    f16: bool,
}

fn line(model: &'static str, parts: &[&str], scale: Option<f64>) -> Line {
    let text = parts.join(" ");
    Line {
        model,
        words: text.split_whitespace().map(String::from).collect(),
        scale,
        images: if text.contains("50000") { 50_000 } else { 100 },
        steps: if text.contains("ddim25") {
            25
        } else if text.contains("respacing 1000") {
            1000
        } else {
            250
        },
        f16: text.contains("--use_fp16 True"),
    }
}

fn sampling_lines() -> Vec<Line> {
    let guided = |model, flags: &str, scale: &str, more: &str| {
        let size = flags.split("--image_size ").nth(1).unwrap().split(' ').next().unwrap();
        let files = format!(
            "--classifier_scale {scale} --classifier_path models/{size}x{size}_classifier.pt {more} --model_path models/{model}.pt"
        );
        line(model, &[flags, &files, SAMPLE_FLAGS], Some(scale.parse().unwrap()))
    };
    let lsun = |model, flags, sample| line(model, &[flags, &format!("--model_path models/{model}.pt"), sample], None);
    vec![
        guided("64x64_diffusion", MODEL_64, "1.0", "--classifier_depth 4"),
        guided("128x128_diffusion", MODEL_128, "0.5", ""),
        guided("256x256_diffusion", MODEL_256, "1.0", ""),
        guided("256x256_diffusion_uncond", MODEL_256_UNCOND, "10.0", ""),
        guided("512x512_diffusion", MODEL_512, "4.0", ""),
        lsun("lsun_bedroom", LSUN, SAMPLE_FLAGS),
        lsun("lsun_cat", LSUN, SAMPLE_FLAGS),
        lsun("lsun_horse", LSUN, SAMPLE_FLAGS),
        lsun("lsun_horse_nodropout", LSUN_NO_DROPOUT, SAMPLE_FLAGS),
        lsun("lsun_bedroom", LSUN, LSUN_FLAGS),
        line(
            "128x128_diffusion",
            &[
                "--model_path models/128x128_diffusion.pt --classifier_path models/128x128_classifier.pt",
                MODEL_128_DDIM,
                CLASSIFIER_128,
                DDIM_FLAGS,
            ],
            Some(1.0),
        ),
    ]
}

fn upsampling_lines() -> Vec<Line> {
    vec![
        line(
            "64_256_upsampler",
            &[UPSAMPLER_256, "--model_path models/64_256_upsampler.pt --base_samples 64_samples.npz", SAMPLE_FLAGS],
            None,
        ),
        line(
            "128_512_upsampler",
            &[
                UPSAMPLER_512,
                "--model_path models/128_512_upsampler.pt",
                SAMPLE_FLAGS,
                "--base_samples 128_samples.npz",
            ],
            None,
        ),
    ]
}

/// The public files, as safetensors headers before holes: its first bytes decide what a file is, not its name.
fn public_files(folder: &Folder) {
    std::fs::create_dir(folder.join("models")).unwrap();
    for preset in &PRESETS {
        let (mut entries, mut at) = (serde_json::Map::new(), 0u64);
        for (name, shape) in parameters(&preset.config()).unwrap() {
            let end = at + shape.iter().product::<usize>() as u64 * 4;
            entries.insert(name, serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [at, end] }));
            at = end;
        }
        let mut json = serde_json::to_vec(&entries).unwrap();
        json.resize(json.len().next_multiple_of(8), b' ');
        let mut file = std::fs::File::create(folder.join(&format!("models/{}.pt", preset.name))).unwrap();
        file.write_all(&(json.len() as u64).to_le_bytes()).unwrap();
        file.write_all(&json).unwrap();
        file.set_len(8 + json.len() as u64 + at).unwrap();
    }
}

/// The line's words with the folder before the models' names.
fn placed(words: &[String], folder: &Path) -> Vec<String> {
    let place = |word: &String| match word.strip_prefix("models/") {
        Some(name) => folder.join("models").join(name).display().to_string(),
        None => word.clone(),
    };
    words.iter().map(place).collect()
}

fn parse(command: &str, words: &[String]) -> Command {
    let all = ["guided-diffusion", command].into_iter().map(String::from).chain(words.iter().cloned());
    Cli::try_parse_from(all).unwrap_or_else(|e| panic!("{command}: {e}")).command
}

#[test]
fn every_command_takes_every_line() {
    for line in sampling_lines().iter().chain(&upsampling_lines()) {
        for command in ["sample", "convert", "info"] {
            parse(command, &line.words);
        }
    }
    for line in upsampling_lines() {
        parse("upsample", &line.words);
    }
}

#[test]
fn sampling_lines_mean_what_they_say() {
    let folder = Folder::new("lines");
    public_files(&folder);
    for line in sampling_lines() {
        let Command::Sample(args) = parse("sample", &placed(&line.words, &folder.0)) else { panic!("not sample") };
        let models = Models::of_sample(&args).unwrap_or_else(|e| panic!("{}: {e}", line.model));
        assert_eq!(models.first.found.public.map(|p| p.name), Some(line.model));
        let request = Request::sample(&args, &models, None).unwrap_or_else(|e| panic!("{}: {e}", line.model));
        let stage = &request.stages[0];
        assert_eq!(
            (request.count, request.batch(stage), stage.evaluations),
            (line.images, 4, line.steps),
            "{}",
            line.model
        );
        assert_eq!(stage.recipe.settings.guidance, line.scale, "{}", line.model);
        assert_eq!(request.precision == Precision::F16Weights, line.f16);
        assert_eq!(stage.recipe.settings.sampler == Some(Sampler::ddim()), line.steps == 25);
        let classes = if line.model.starts_with("lsun") { 0 } else { 1000 };
        assert_eq!(request.labels.len(), classes, "{}", line.model);
    }
}

#[test]
fn upsampling_lines_mean_what_they_say() {
    let folder = Folder::new("upsampling");
    public_files(&folder);
    for (line, small) in upsampling_lines().iter().zip([64, 128]) {
        let Command::Upsample(args) = parse("upsample", &placed(&line.words, &folder.0)) else {
            panic!("not upsample")
        };
        let models = Models::of_upsample(&args).unwrap_or_else(|e| panic!("{}: {e}", line.model));
        let images = |size: usize| Images::new(3, size, size, 3, vec![0.0; 3 * size * size * 3]).unwrap();
        let labels = Some(vec![7, 8, 999]);
        let request =
            Request::upsample(&args, &models, &Labeled { images: images(small), labels: labels.clone(), grid: None });
        let request = request.unwrap_or_else(|e| panic!("{}: {e}", line.model));
        let stage = &request.stages[0];
        assert_eq!((request.count, request.batch(stage), stage.evaluations, stage.low_size), (100, 4, 250, small));
        assert_eq!((request.label(0), request.label(5)), (Some(7), Some(999)), "labels travel, and repeat");
        let message = |images, labels| {
            Request::upsample(&args, &models, &Labeled { images, labels, grid: None }).expect_err("refused").to_string()
        };
        assert!(message(images(small / 2), labels.clone()).contains(&format!("enlarges {small}x{small} with 3")));
        assert!(message(images(small), None).contains("--class"));
        assert!(message(images(small), Some(vec![1, 2, 1000])).contains("0 to 999"));
    }
}

#[test]
fn published_scales_are_the_default() {
    let folder = Folder::new("scales");
    public_files(&folder);
    for (model, size, more, scale) in [
        ("64x64_diffusion", 64, "--steps 250", 1.0),
        ("128x128_diffusion", 128, "--steps 250", 0.5),
        ("256x256_diffusion", 256, "--steps 250", 1.0),
        ("256x256_diffusion_uncond", 256, "--steps 250", 10.0),
        ("512x512_diffusion", 512, "--sampler ancestral", 4.0),
        ("128x128_diffusion", 128, "--steps ddim25", 1.25),
        ("256x256_diffusion", 256, "", 2.5),
        ("512x512_diffusion", 512, "", 9.0),
        // Of 25 steps nothing was published.
        ("64x64_diffusion", 64, "", 1.0),
        ("256x256_diffusion_uncond", 256, "", 10.0),
        ("256x256_diffusion", 256, "--steps ddim25 --guidance 3", 3.0),
        ("256x256_diffusion", 256, "--steps ddim25 --guidance -0.5", -0.5),
    ] {
        let text = format!(
            "--model models/{model}.pt --classifier models/{size}x{size}_classifier.pt --class goldfish {more}"
        );
        let words: Vec<String> = text.split_whitespace().map(String::from).collect();
        let Command::Sample(args) = parse("sample", &placed(&words, &folder.0)) else { panic!("not sample") };
        let request = Request::sample(&args, &Models::of_sample(&args).unwrap(), None).unwrap();
        assert_eq!(request.stages[0].recipe.settings.guidance, Some(scale), "{model} {more}");
        assert_eq!((request.labels.as_slice(), request.class(1).as_str()), (&[1][..], "goldfish, Carassius auratus"));
    }
}

#[test]
fn the_program_itself_takes_them() {
    let folder = Folder::new("program");
    public_files(&folder);
    let run = |command: &str, words: &[String], more: &[&str]| {
        let mut process = Process::new(env!("CARGO_BIN_EXE_guided-diffusion"));
        process.arg(command).args(words).args(more).current_dir(&folder.0).output().unwrap()
    };
    for line in sampling_lines().iter().chain(&upsampling_lines()) {
        let output = run("info", &line.words, &["--json"]);
        assert!(output.status.success(), "{}: {}", line.model, String::from_utf8_lossy(&output.stderr));
        let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(info["public_file"], line.model);
    }
    for name in ["64_samples.npz", "128_samples.npz"] {
        let size: usize = name.split('_').next().unwrap().parse().unwrap();
        std::fs::write(folder.join(name), npz(size)).unwrap();
    }
    // All is settled before the adapter is looked for, which this stops at.
    for (command, lines) in [("sample", sampling_lines()), ("upsample", upsampling_lines())] {
        for line in lines {
            let output = run(command, &line.words, &["--adapter", "no such adapter"]);
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{}: {text}", line.model);
            assert!(text.contains("no such adapter"), "{}: {text}", line.model);
        }
    }
    // Flags that contradict the file are named.
    let words: Vec<String> =
        MODEL_64.replace("--num_channels 192", "--num_channels 256").split(' ').map(String::from).collect();
    let output = run("info", &words, &["--model_path", "models/64x64_diffusion.pt"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--num_channels 256 contradicts"));
    assert!(Checkpoint::open(folder.join("models/lsun_cat.pt")).is_ok());
}

/// Two black images with labels, as `numpy.savez` writes them.
fn npz(size: usize) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    archive.start_file("arr_0.npy", options).unwrap();
    archive.write_all(&Header::new(Dtype::U8, &[2, size, size, 3]).to_bytes(128)).unwrap();
    archive.write_all(&vec![0; 2 * size * size * 3]).unwrap();
    archive.start_file("arr_1.npy", options).unwrap();
    archive.write_all(&Header::new(Dtype::I64, &[2]).to_bytes(128)).unwrap();
    archive.write_all(&[5i64, 6].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
    archive.finish().unwrap().into_inner()
}

#[test]
fn a_stack_of_public_files_settles() {
    let folder = Folder::new("stack");
    public_files(&folder);
    let text = "--model models/64x64_diffusion.pt --classifier models/64x64_classifier.pt --upsampler \
                models/64_256_upsampler.pt --class goldfish,n02099601 --upsampler-steps ddim25 --seed 4 --count 6";
    let words: Vec<String> = text.split_whitespace().map(String::from).collect();
    let Command::Sample(args) = parse("sample", &placed(&words, &folder.0)) else { panic!("not sample") };
    let request = Request::sample(&args, &Models::of_sample(&args).unwrap(), None).unwrap();
    let [first, second] = &request.stages[..] else { panic!("two stages") };
    assert_eq!((first.evaluations, first.recipe.settings.seed, first.width), (25, 4, 64));
    assert_eq!((second.evaluations, second.recipe.settings.seed, second.width, second.low_size), (25, 5, 256, 64));
    assert!(
        first.recipe.settings.guidance.is_some() && second.recipe.settings.guidance.is_none(),
        "only the small images are guided"
    );
    assert_eq!((0..3).map(|i| request.label(i).unwrap()).collect::<Vec<_>>(), [1, 207, 1]);
    let parameters = request.parameters();
    assert_eq!(parameters["upsampler"]["model"], "64_256_upsampler.pt");
    assert_eq!(parameters["classifier"], "64x64_classifier.pt");
    assert!(models_role(&args) == Role::Upsampler);
    // The wrong upsampler.
    let wrong: Vec<String> = text.replace("64_256_up", "128_512_up").split_whitespace().map(String::from).collect();
    let Command::Sample(args) = parse("sample", &placed(&wrong, &folder.0)) else { panic!("not sample") };
    let error = Request::sample(&args, &Models::of_sample(&args).unwrap(), None).expect_err("sizes differ").to_string();
    assert!(error.contains("enlarges 128x128"), "{error}");
}

fn models_role(args: &guided_diffusion::cli::args::SampleArgs) -> Role {
    Models::of_sample(args).unwrap().upsampler.unwrap().config().role
}
