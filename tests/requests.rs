//! What a sampling command line means, settled without a device: for fashion32, where no other model is named.
#![cfg(feature = "cli")]

use clap::Parser;
use guided_diffusion::cli::args::{Cli, Command};
use guided_diffusion::cli::models::Models;
use guided_diffusion::cli::request::Request;
use guided_diffusion::cli::stage::Stage;
use guided_diffusion::config::{Flags, Role};
use guided_diffusion::image::Grid;
use guided_diffusion::recipe::KEYWORD;
use guided_diffusion::sampler::{Degradation, Facts, Respacing, Sampler, Settings};
use guided_diffusion::{Error, Result};
use serde_json::{Value, json};

const FASHION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/fashion32.safetensors");

/// Of fashion32, whatever the line names.
fn request(line: &str) -> Result<Request> {
    settled(&format!("{line} --model {FASHION}"))
}

fn settled(line: &str) -> Result<Request> {
    let words = ["guided-diffusion", "sample"].into_iter().chain(line.split_whitespace());
    let Command::Sample(args) = Cli::try_parse_from(words).expect(line).command else { panic!("{line}") };
    Request::sample(&args, &Models::of_sample(&args)?, None)
}

fn message(line: &str) -> String {
    match request(line) {
        Err(Error::Options(message)) => message,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_built_in_defaults() {
    let r = settled("").expect("the defaults");
    assert_eq!((r.count, r.batch(&r.stages[0]), &*r.stages[0].recipe.model), (96, 16, "emoji32"));
    assert_eq!(r.grid(), Grid { rows: 12, columns: 8, by_column: true, gap: 2 });
    // The null class is not among the classes in turn.
    assert_eq!((r.label(0), r.label(11), r.label(12)), (Some(0), Some(11), Some(0)));
    let dpm = Some("dpm++2m".parse().expect("a sampler"));
    for (r, evaluations) in [(r, 8), (request("").expect("the defaults"), 4)] {
        let stage = &r.stages[0];
        assert_eq!((stage.evaluations, stage.recipe.settings.sampler), (evaluations, dpm));
        assert_eq!(stage.recipe.settings.grid.as_ref().map(Vec::len), Some(evaluations));
    }
    assert_eq!(request("--sampler ddim").expect("possible").stages[0].recipe.settings.eta, Some(0.0));
}

#[test]
fn steps_alone_choose_a_sampler_that_is_good_with_them() {
    for (line, sampler, steps, grid) in [
        ("--steps 5", "dpm++2m", "5", Some(5)),
        ("--steps 7", "dpm++2m", "7", None),
        ("--steps 49", "dpm++2m", "49", None),
        ("--steps 50", "ancestral", "50", None),
        ("--steps 10,20", "ancestral", "10,20", None),
        ("--steps ddim10", "ddim", "ddim10", None),
        ("--grid 960,20", "dpm++2m", "2", Some(2)),
        ("--grid none", "dpm++2m", "20", Some(0)),
        ("--grid none --steps 5", "dpm++2m", "5", Some(0)),
        // The public scripts' own.
        ("--timestep_respacing 25", "ancestral", "25", None),
        ("--timestep_respacing 25 --use_ddim True", "ddim", "25", None),
    ] {
        let r = request(line).expect(line);
        let settings = &r.stages[0].recipe.settings;
        let (is, of) =
            (settings.sampler.expect("settled").name(), settings.steps.as_ref().expect("settled").to_string());
        assert_eq!((is, &*of, settings.grid.as_ref().map(Vec::len)), (sampler, steps, grid), "{line}");
        let command = r.texts().into_iter().find(|(k, _)| k == "Comment").expect("a command").1;
        let again = request(command.strip_prefix("guided-diffusion sample ").expect("a command")).expect(&command);
        assert_eq!(again.texts(), r.texts(), "{command}");
    }
}

/// A process whose length no stride divides so gets the nearest count that is not larger.
#[test]
fn guided_models_of_every_length_have_a_default() {
    let mut config = conformance::tiny(Role::Diffusion);
    for (all, kept) in [(1000, "ddim25"), (64, "ddim22"), (40, "ddim20"), (30, "ddim15"), (21, "ddim21")] {
        config.diffusion.diffusion_steps = all;
        let settings = Settings::default().resolve(&Facts::new(&config, true)).expect(kept);
        assert_eq!(settings.steps.expect("settled").to_string(), kept, "of {all}");
    }
    let one = Settings { steps: Some(Respacing::Sections(vec![1])), ..Settings::default() };
    let message = one.resolve(&Facts::new(&config, true)).expect_err("a single step").to_string();
    assert!(message.contains("steps 1: sampling needs at least 2 steps"), "{message}");
}

/// Neither repaint's repetitions nor the steps that a strength leaves out count.
#[test]
fn few_steps_of_the_process_are_cautioned_against() {
    let models = Models::open([Some(FASHION.as_ref()), None, None], &Flags::default()).expect("fashion32");
    let edit = Some(Degradation { mask: true, ..Degradation::default() });
    for (sampler, steps, edit, strength, cautioned) in [
        ("repaint", 25, edit, None, true),
        ("repaint", 250, edit, None, false),
        ("ancestral", 25, None, None, true),
        ("heun", 25, None, None, true),
        ("ancestral", 250, None, Some(0.1), false),
    ] {
        let sampler = Some(sampler.parse().expect("a sampler"));
        let steps = Some(Respacing::Sections(vec![steps]));
        let settings = Settings { sampler, steps, edit, strength, ..Settings::default() };
        let stage = Stage::new(&models.first, None, &settings, None).expect("possible");
        let cautions = stage.cautions(models.first.config()).concat();
        assert_eq!(cautions.contains("fewer than 50 steps"), cautioned, "{settings:?}");
    }
}

#[test]
fn batches_are_balanced() {
    for (count, most, batch) in [(80, 16, 16), (17, 16, 9), (5, 16, 5), (1, 1, 1), (33, 16, 11)] {
        let r = request(&format!("--count {count} --batch {most}")).expect("possible");
        assert_eq!(r.batch(&r.stages[0]), batch);
    }
}

#[test]
fn shards_and_first_choose_indices() {
    let all = request("--count 10").expect("ten");
    let parts: Vec<u32> =
        (0..3).flat_map(|i| request(&format!("--count 10 --shard {i}/3")).expect("a part").indices).collect();
    assert_eq!(parts, all.indices.collect::<Vec<_>>());
    assert_eq!(request("--first 7 --count 2").expect("two").indices, 7..9);
    assert!(message("--first 4294967295 --count 2").contains("indices end"));
    assert!(message("--count 1 --shard 0/2").contains("empty"));
}

#[test]
fn a_record_makes_its_image_again() {
    let r = request("--class 3,9 --count 4 --steps 50 --seed 5 --no-clip").expect("four");
    let record = r.record(3);
    let of = |keyword: &str| record.texts.iter().find(|(k, _)| k == keyword).map(|(_, t)| t.clone()).expect(keyword);
    let line = of("Comment");
    let again = request(line.strip_prefix("guided-diffusion sample ").expect("a command")).expect("accepted");
    assert_eq!(again.record(3), record);
    assert_eq!((again.indices.clone(), again.label(3)), (3..4, r.label(3)));
    let parameters: Value = serde_json::from_str(&of(KEYWORD)).expect("JSON");
    assert_eq!((&parameters["label"], &parameters["index"]), (&json!(9), &json!(3)));
    let whole = r.texts().into_iter().find(|(k, _)| k == "Comment").expect("a command").1;
    let whole = request(whole.strip_prefix("guided-diffusion sample ").expect("a command")).expect("accepted");
    assert_eq!(whole.texts(), r.texts());
}

#[test]
fn a_command_repeats_what_the_device_and_the_draws_need() {
    for line in ["--precision f16 --tensor-cores --count 1", "--interpolate 3,18446744073709551615,4 --class 9"] {
        let r = request(line).expect(line);
        let command = r.texts().into_iter().find(|(k, _)| k == "Comment").expect("a command").1;
        let again = request(command.strip_prefix("guided-diffusion sample ").expect("a command")).expect(&command);
        assert_eq!((again.texts(), again.record(0)), (r.texts(), r.record(0)), "{command}");
        assert!(command.contains(line.split(' ').next().expect("a word")), "{command}");
    }
    assert!(message("--interpolate 1,2,3 --count 4").contains("makes 3 images"));
}

#[test]
fn the_public_scripts_flags_mean_the_same() {
    let line = "--batch_size 4 --num_samples 100 --timestep_respacing ddim25 --use_ddim True --clip_denoised False \
                --noise_schedule linear --num_head_channels 64";
    let r = request(line).expect("accepted");
    let stage = &r.stages[0];
    assert_eq!((r.batch(stage), r.count, stage.recipe.settings.clips()), (4, 100, false));
    let settings = &stage.recipe.settings;
    assert_eq!((settings.sampler, &settings.steps), (Some(Sampler::ddim()), &Some(Respacing::Ddim(25))));
    // They decide the configuration, so that the command repeats them.
    let command = r.texts().into_iter().find(|(k, _)| k == "Comment").expect("a command").1;
    assert!(command.contains("--num_head_channels 64 --noise_schedule linear"), "{command}");
}

#[test]
fn impossible_requests() {
    assert!(message("--eta 0.5 --sampler ancestral").contains("choose sampler ddim"));
    assert!(message("--sampler ddim --eta 2").contains("between 0"));
    assert!(message("--steps 1001").contains("at most 1000"));
    assert!(message("--steps ddim60").contains("ddim59"));
    assert!(message("--class boots").contains("Ankle boot") || message("--class boots").contains("no names"));
    assert!(message("--batch_size 0").contains("1 to 4096"));
    assert!(message("--num_samples 0").contains("at least 1"));
    assert!(message("--num_samples 99999999999").contains("at most"));
    assert!(message("--guidance 2").contains("--classifier"));
    assert!(message("--guidance-interval 0:9").contains("--classifier"));
    assert!(message("--classifier_scale 2").contains("--classifier"));
}
