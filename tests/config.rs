//! Configurations: the 15 public files, inference from metadata, shapes and flags, and what hostile values get.

mod common;

use std::collections::BTreeMap;

use guided_diffusion::checkpoint::{Checkpoint, Header};
use guided_diffusion::config::presets::{self, FAMILIES, PRESETS};
use guided_diffusion::config::{
    Flags, ModelConfig, NoiseSchedule, Origin, Pool, ProcessKind, Role, check, infer, parameters,
};
use sha2::{Digest, Sha256};

fn preset(name: &str) -> ModelConfig {
    presets::by_name(name).unwrap().config()
}

fn header(config: &ModelConfig) -> Header {
    Checkpoint::synthetic(config, 0).unwrap().header().clone()
}

fn message<T: std::fmt::Debug>(result: guided_diffusion::Result<T>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn public_files_have_the_published_parameters() {
    let cases = common::cases_of("preset");
    assert_eq!(cases.len(), PRESETS.len());
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let preset = presets::by_name(name).unwrap();
        let config = preset.config();
        assert_eq!(config.unet, common::unet_config(&case["config"]), "{name}");
        assert_eq!(config.role.as_str(), case["role"], "{name}");
        assert_eq!(config.diffusion.diffusion_steps, case["diffusion"]["diffusion_steps"].as_u64().unwrap() as usize);
        assert_eq!(
            config.diffusion.noise_schedule,
            case["diffusion"]["noise_schedule"].as_str().unwrap().parse().unwrap()
        );
        assert_eq!(config.diffusion.learn_sigma, case["diffusion"]["learn_sigma"].as_bool().unwrap());
        common::check_parameters(&config, &case);
    }
}

#[test]
fn public_files_are_known_by_their_tensors() {
    for preset in &PRESETS {
        for file in [format!("models/{}.pt", preset.name), "renamed.safetensors".into()] {
            let found = infer(&file, &header(&preset.config()), &Flags::default()).unwrap();
            assert_eq!(found.config, preset.config());
            assert!(matches!(found.origin, Origin::PublicFile(_)));
            // The five unconditional 256x256 networks share shapes; the file's name distinguishes them.
            if file.contains(preset.name) || preset.config().unet.num_classes != 0 {
                assert_eq!(found.public.unwrap().name, preset.name);
            }
        }
    }
}

#[test]
fn every_small_network_is_read_from_its_shapes() {
    for case in common::cases_of("unet").iter().chain(&common::cases_of("classifier")) {
        let config = common::model_config(&case["config"]);
        let name = case["name"].as_str().unwrap();
        let (c, is_upsampler) = (&config.unet, config.role == Role::Upsampler);
        let flags = Flags {
            image_size: (!is_upsampler).then_some(c.image_size),
            large_size: is_upsampler.then_some(c.image_size),
            num_heads: Some(c.num_heads),
            num_head_channels: Some(if c.num_head_channels == 0 { -1 } else { c.num_head_channels as i64 }),
            classifier_num_head_channels: Some(c.num_head_channels),
            noise_schedule: Some(NoiseSchedule::Linear),
            use_new_attention_order: Some(c.use_new_attention_order),
            ..Flags::default()
        };
        let mut found = infer("unknown.pt", &header(&config), &flags).unwrap();
        if config.role == Role::Classifier {
            found.config.diffusion.learn_sigma = config.diffusion.learn_sigma;
        }
        // Of the public upsamplers, which are among them, the table knows it.
        found.config.small_size = config.small_size;
        let order = &mut found.config.unet.attention_resolutions;
        order.sort_by(|a, b| b.cmp(a));
        order.retain(|r| c.attention_resolutions.contains(r));
        assert_eq!(found.config, config, "{name}");
    }
}

/// The public code's tensors: digest of the sorted lines "name [shape]", and their number.
#[test]
fn consistency_models_are_known_by_their_attention_and_name() {
    for preset in FAMILIES.iter().filter(|p| p.process() != ProcessKind::Discrete) {
        let config = preset.config();
        let mut lines: Vec<_> =
            parameters(&config).unwrap().iter().map(|(name, shape)| format!("{name} {shape:?}")).collect();
        lines.sort();
        let hex: String = Sha256::digest(lines.join("\n")).iter().map(|b| format!("{b:02x}")).collect();
        let (want, tensors) = match config.unet.image_size {
            64 => ("552f1014715461c13276992d104668e16d6a7fd0d9ca77536799b4351772021b", 541),
            _ => ("2cff620a7caf33646f03e0e6bda6397efca384e3ed6d7df82b5a00df9018b3da", 566),
        };
        assert_eq!((hex.as_str(), lines.len()), (want, tensors), "{}", preset.name);
        let file = header(&config);
        let found = infer(&format!("models/{}.pt", preset.name), &file, &Flags::default()).unwrap();
        assert_eq!((&found.config, found.public), (&config, Some(preset)));
        // Tensors do not distinguish EDM's files from consistency models.
        let text = message(infer("renamed.pt", &file, &Flags::default()));
        assert!(text.contains("--process edm or --process consistency"), "{text}");
        for process in [ProcessKind::Edm, ProcessKind::Consistency] {
            let found = infer("renamed.pt", &file, &Flags { process: Some(process), ..Flags::default() }).unwrap();
            assert_eq!((found.config.diffusion.process, found.public), (process, None));
            let mut kept = file.clone();
            kept.metadata = BTreeMap::from([("adm".to_owned(), found.config.to_metadata().unwrap())]);
            assert_eq!(infer("kept.safetensors", &kept, &Flags::default()).unwrap().config, found.config);
        }
    }
}

#[test]
fn files_of_other_projects_are_known_by_name() {
    for preset in FAMILIES {
        let config = preset.config();
        let file = header(&config);
        let found = infer(&format!("{}.pt", preset.name), &file, &Flags::default()).unwrap();
        assert_eq!((found.config, found.public), (config, Some(preset)), "{}", preset.name);
    }
    // Anybody's model may have these tensors.
    let file = header(&presets::by_name("cifar10_uncond_50M_500K").unwrap().config());
    assert!(message(infer("mine.pt", &file, &Flags::default())).contains("--noise_schedule"));
    let wrong = Flags { process: Some(ProcessKind::Edm), ..Flags::default() };
    let text = message(infer("64x64_diffusion.pt", &header(&preset("64x64_diffusion")), &wrong));
    assert!(text.contains("process edm"), "{text}");
}

#[test]
fn metadata_round_trips() {
    let mut config = preset("64x64_classifier");
    config.class_names = (0..1000).map(|i| format!("class {i}")).collect();
    assert_eq!(ModelConfig::from_metadata(&config.to_metadata().unwrap()).unwrap(), config);

    // As the training script writes it: -1 or 0 heads, extra fields, no optional ones.
    let json = r#"{"kind": "diffusion", "image_size": 32, "in_channels": 1, "model_channels": 64, "out_channels": 2,
        "num_res_blocks": 1, "channel_mult": [1, 1, 2], "attention_resolutions": [16, 8], "num_classes": 10, "num_heads": 4,
        "num_head_channels": 32, "resblock_updown": true, "use_scale_shift_norm": true, "use_new_attention_order": false,
        "dropout": 0.0, "pool": "", "diffusion_steps": 1000, "noise_schedule": "cosine", "learn_sigma": true,
        "predict_xstart": true, "train_images": 19072}"#;
    let config = ModelConfig::from_metadata(json).unwrap();
    assert!(config.diffusion.predict_xstart && config.unet.pool.is_none());
    let mut with = header(&config);
    with.metadata = BTreeMap::from([("adm".to_owned(), json.to_owned())]);
    let found = infer("fashion.safetensors", &with, &Flags::default()).unwrap();
    assert_eq!((found.config, found.origin), (config, Origin::Metadata));

    assert!(
        message(ModelConfig::from_metadata(&json.replace("\"pool\": \"\"", "\"pool\": \"max\""))).contains("\"max\"")
    );
    assert!(message(ModelConfig::from_metadata(&json.replace("\"image_size\": 32,", ""))).contains("image_size"));
    assert!(message(ModelConfig::from_metadata("[")).contains("adm metadata"));
}

#[test]
fn lacking_flags_are_named_together() {
    let mut config = preset("256x256_diffusion");
    config.unet.channel_mult = vec![1.0, 2.0, 2.0];
    let text = message(infer("mine.pt", &header(&config), &Flags::default()));
    for flag in ["--image_size", "--num_heads or --num_head_channels", "--noise_schedule", "mine.pt"] {
        assert!(text.contains(flag), "{text}");
    }
    let flags = Flags {
        image_size: Some(128),
        num_heads: Some(4),
        noise_schedule: Some(NoiseSchedule::Cosine),
        ..Flags::default()
    };
    let found = infer("mine.pt", &header(&config), &flags).unwrap();
    // Attention stays where the blocks have it: at 1/8, 1/16 and 1/32 of the size there was, so at no level of three.
    assert_eq!(found.config.unet.attention_resolutions, Vec::<usize>::new());
    assert!(found.remarks.iter().any(|r| r.contains("use_new_attention_order False")), "{:?}", found.remarks);
}

#[test]
fn contradictions_name_the_flag() {
    let file = header(&preset("256x256_diffusion"));
    let no = |flags: Flags| message(infer("256x256_diffusion.pt", &file, &flags));
    let d = Flags::default;
    assert!(no(Flags { num_channels: Some(192), ..d() }).contains("--num_channels 192"));
    assert!(no(Flags { num_res_blocks: Some(3), ..d() }).contains("--num_res_blocks 3"));
    assert!(no(Flags { class_cond: Some(false), ..d() }).contains("--class_cond False"));
    assert!(no(Flags { learn_sigma: Some(false), ..d() }).contains("--learn_sigma False"));
    assert!(no(Flags { resblock_updown: Some(false), ..d() }).contains("--resblock_updown False"));
    assert!(no(Flags { use_scale_shift_norm: Some(false), ..d() }).contains("--use_scale_shift_norm False"));
    assert!(no(Flags { channel_mult: Some(vec![1.0, 2.0]), ..d() }).contains("--channel_mult"));
    assert!(no(Flags { attention_resolutions: Some(vec![16]), ..d() }).contains("--attention_resolutions"));
    assert!(no(Flags { num_head_channels: Some(48), ..d() }).contains("num_head_channels 48"));
    assert!(no(Flags { num_heads: Some(0), ..d() }).contains("num_heads 0"));
    assert!(no(Flags { num_heads_upsample: Some(2), ..d() }).contains("--num_heads_upsample 2"));
    assert!(no(Flags { diffusion_steps: Some(0), ..d() }).contains("diffusion_steps"));
    let classifier = header(&preset("64x64_classifier"));
    let text = message(infer("c.pt", &classifier, &Flags { classifier_depth: Some(2), ..d() }));
    assert!(text.contains("--classifier_depth 2"), "{text}");
    let text = message(infer("c.pt", &classifier, &Flags { classifier_pool: Some(Pool::Spatial), ..d() }));
    assert!(text.contains("--classifier_pool spatial"), "{text}");
    // The base model's flags do not concern a classifier.
    let base =
        Flags { num_channels: Some(192), num_heads: Some(4), image_size: Some(64), class_cond: Some(true), ..d() };
    assert_eq!(infer("c.pt", &classifier, &base).unwrap().config.unet, preset("64x64_classifier").unet);
}

#[test]
fn tensors_that_differ_are_listed_in_one_error() {
    let config = preset("64x64_classifier");
    let mut bad = header(&config);
    bad.tensors.remove("out.2.c_proj.bias");
    bad.tensors.remove("time_embed.2.bias");
    let wrong = bad.tensors.get_mut("middle_block.1.qkv.weight").unwrap();
    wrong.shape = vec![1, 2, 3];
    let info = wrong.clone();
    bad.tensors.insert("surplus\u{1b}[2J".into(), info);
    let text = message(check("c.pt", &bad, &config));
    assert!(text.contains("missing: out.2.c_proj.bias [1000]"), "{text}");
    assert!(text.contains("missing: time_embed.2.bias [512]"), "{text}");
    assert!(
        text.contains("misshapen: middle_block.1.qkv.weight is [1, 2, 3], the configuration needs [1536, 512, 1]"),
        "{text}"
    );
    assert!(text.contains("extra: surplus\\u{1b}[2J"), "{text}");
    assert_eq!(text.lines().count(), 5, "{text}");
    // Inference, without metadata, finds the same faults.
    let text = message(infer("c.pt", &bad, &Flags::default()));
    assert!(text.contains("missing: time_embed.2.bias"), "{text}");
}

#[test]
fn other_files_are_no_diffusion_model() {
    let mut other = header(&preset("64x64_classifier"));
    other.tensors.retain(|name, _| name.starts_with("middle_block"));
    let text = message(infer("bert.safetensors", &other, &Flags::default()));
    assert!(text.contains("not a guided-diffusion network") && text.contains("time_embed.0.weight"), "{text}");
    let text = message(infer("empty", &Header::default(), &Flags::default()));
    assert!(text.contains("not a guided-diffusion network"), "{text}");
    // The encoder of a network, without a head.
    let mut other = header(&preset("64x64_classifier"));
    other.tensors.retain(|name, _| !name.starts_with("out."));
    assert!(message(infer("x", &other, &Flags::default())).contains("head"));
    // Shapes that would overflow anything.
    let mut other = header(&preset("64x64_classifier"));
    for name in ["time_embed.0.weight", "input_blocks.0.0.weight", "input_blocks.1.0.out_layers.0.weight"] {
        let info = other.tensors.get_mut(name).unwrap();
        info.shape.iter_mut().for_each(|d| *d = usize::MAX / 2);
        infer("x", &other, &Flags::default()).unwrap_err();
    }
}

#[test]
fn invalid_configurations_name_the_field() {
    let bad = |change: &dyn Fn(&mut ModelConfig)| {
        let mut config = preset("64x64_diffusion");
        change(&mut config);
        message(config.validate())
    };
    assert!(bad(&|c| c.unet.image_size = 0).contains("image_size is 0"));
    assert!(bad(&|c| c.unet.image_size = 60).contains("multiple of 8"));
    assert!(bad(&|c| c.unet.image_size = usize::MAX).contains("image_size"));
    assert!(bad(&|c| c.unet.in_channels = 0).contains("in_channels"));
    assert!(bad(&|c| c.unet.model_channels = usize::MAX).contains("num_channels"));
    assert!(bad(&|c| c.unet.model_channels = 40).contains("multiple of 32"));
    assert!(bad(&|c| c.unet.num_res_blocks = 0).contains("num_res_blocks"));
    assert!(bad(&|c| c.unet.channel_mult = vec![]).contains("channel_mult"));
    assert!(bad(&|c| c.unet.channel_mult = vec![1.0; 100]).contains("channel_mult"));
    assert!(bad(&|c| c.unet.channel_mult = vec![f64::NAN]).contains("channel_mult holds NaN"));
    assert!(bad(&|c| c.unet.channel_mult = vec![1e300]).contains("channel_mult"));
    assert!(bad(&|c| c.unet.channel_mult = vec![-1.0]).contains("channel_mult"));
    assert!(bad(&|c| c.unet.channel_mult = vec![1e-9]).contains("level 0 would have 0 channels"));
    assert!(bad(&|c| c.unet.attention_resolutions = vec![0]).contains("attention_resolutions"));
    assert!(bad(&|c| c.unet.num_head_channels = 50).contains("num_head_channels 50"));
    assert!(bad(&|c| (c.unet.num_head_channels, c.unet.num_heads) = (0, 0)).contains("num_heads 0"));
    for (channels, heads, words) in [
        (6, 1, "num_head_channels 6"),
        (2, 1, "num_head_channels 2"),
        (0, 1, "num_heads 1 gives attention heads of 576 channels"),
        (0, 192, "num_heads 192 gives attention heads of 2 channels"),
    ] {
        let text = bad(&|c| (c.unet.num_head_channels, c.unet.num_heads) = (channels, heads));
        assert!(text.contains(words) && text.contains("multiple of 4, at most 512"), "{text}");
    }
    let text = bad(&|c| {
        c.unet.attention_resolutions = Vec::new();
        c.unet.num_head_channels = 768;
    });
    assert!(text.contains("num_head_channels 768") && text.contains("at most 512"), "{text}");
    let text = bad(&|c| (c.unet.channel_mult, c.unet.num_res_blocks) = (vec![1.0; 5], 64));
    assert!(text.contains("num_res_blocks 64 at 5 levels makes 655 residual blocks; at most 256"), "{text}");
    for steps in [2, 20] {
        let linear =
            bad(&|c| (c.diffusion.noise_schedule, c.diffusion.diffusion_steps) = (NoiseSchedule::Linear, steps));
        assert!(linear.contains("at least 21"), "{linear}");
    }
    assert!(bad(&|c| c.diffusion.diffusion_steps = 100_001).contains("from 2 to 100000"));
    assert!(bad(&|c| c.unet.num_classes = usize::MAX).contains("num_classes"));
    assert!(bad(&|c| c.unet.out_channels = 5).contains("out_channels is 5"));
    assert!(bad(&|c| c.unet.pool = Some(Pool::Spatial)).contains("pool"));
    assert!(bad(&|c| c.role = Role::Upsampler).contains("twice the image's"));
    assert!(bad(&|c| c.role = Role::Classifier).contains("classifier_pool"));
    assert!(bad(&|c| c.diffusion.diffusion_steps = 1).contains("diffusion_steps"));
    assert!(bad(&|c| c.class_names = vec!["cat".into()]).contains("class_names holds 1"));
    assert!(bad(&|c| (c.unet.model_channels, c.unet.num_res_blocks) = (16_384, 30)).contains("parameters"));
}

#[test]
fn guidance_scales_are_the_published_ones() {
    let scale = presets::guidance_scale;
    let ancestral = [("64x64", 1.0), ("128x128", 0.5), ("256x256", 1.0), ("512x512", 4.0)];
    for (size, want) in ancestral {
        assert_eq!(scale(&format!("{size}_diffusion"), false, 250), Some(want));
    }
    assert_eq!(scale("256x256_diffusion_uncond", false, 250), Some(10.0));
    assert_eq!(scale("128x128_diffusion", true, 25), Some(1.25));
    assert_eq!(scale("256x256_diffusion", true, 25), Some(2.5));
    assert_eq!(scale("512x512_diffusion", true, 25), Some(9.0));
    assert_eq!(scale("lsun_cat", false, 250), None);
}

/// Lines of the public README, as they stand there.
#[cfg(feature = "cli")]
#[test]
fn pasted_readme_lines_parse() {
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }
    let parse =
        |line: &str| Line::try_parse_from(line.split_whitespace()).unwrap_or_else(|e| panic!("{line}: {e}")).flags;
    let samples = "--batch_size 4 --num_samples 100 --timestep_respacing 250";
    let base = "--class_cond True --diffusion_steps 1000 --learn_sigma True --num_res_blocks 2 --resblock_updown True \
                --use_fp16 True --use_scale_shift_norm True --noise_schedule linear";
    let f = parse(&format!(
        "classifier_sample.py --attention_resolutions 32,16,8 --class_cond True --diffusion_steps 1000 --dropout 0.1 --image_size 64 \
         --learn_sigma True --noise_schedule cosine --num_channels 192 --num_head_channels 64 --num_res_blocks 3 --resblock_updown True \
         --use_new_attention_order True --use_fp16 True --use_scale_shift_norm True --classifier_scale 1.0 --classifier_path \
         models/64x64_classifier.pt --classifier_depth 4 --model_path models/64x64_diffusion.pt {samples}"
    ));
    assert_eq!(f.attention_resolutions.as_deref(), Some(&[32, 16, 8][..]));
    assert_eq!((f.use_fp16, f.classifier_depth, f.timestep_respacing.as_deref()), (Some(true), Some(4), Some("250")));
    assert_eq!(infer("m.pt", &header(&preset("64x64_diffusion")), &f).unwrap().config, preset("64x64_diffusion"));
    assert_eq!(infer("c.pt", &header(&preset("64x64_classifier")), &f).unwrap().config, preset("64x64_classifier"));

    let f = parse(&format!(
        "super_res_sample.py {base} --attention_resolutions 32,16 --large_size 512 --small_size 128 --num_channels 192 \
         --num_head_channels 64 --model_path models/128_512_upsampler.pt {samples} --base_samples 128_samples.npz"
    ));
    assert_eq!(infer("m.pt", &header(&preset("128_512_upsampler")), &f).unwrap().config, preset("128_512_upsampler"));

    // The other lines differ from one another in these.
    for (name, own) in [
        ("128x128_diffusion", "--image_size 128 --num_channels 256 --num_heads 4"),
        ("256x256_diffusion", "--image_size 256 --num_channels 256 --num_head_channels 64"),
        ("512x512_diffusion", "--image_size 512 --num_channels 256 --num_head_channels 64"),
        ("64_256_upsampler", "--large_size 256 --small_size 64 --num_channels 192 --num_heads 4"),
    ] {
        let f =
            parse(&format!("x {base} --attention_resolutions 32,16,8 {own} {samples} --model_path models/{name}.pt"));
        let found = infer("m.pt", &header(&preset(name)), &f).unwrap();
        assert_eq!((found.config, found.remarks.len()), (preset(name), 0), "{name}");
    }
    let uncond = "--image_size 256 --num_channels 256 --num_head_channels 64 --dropout 0.1";
    let line = format!("x {base} --attention_resolutions 32,16,8 {uncond} {samples}")
        .replace("--class_cond True", "--class_cond False");
    for name in ["256x256_diffusion_uncond", "lsun_bedroom"] {
        assert_eq!(infer(name, &header(&preset(name)), &parse(&line)).unwrap().config, preset(name));
    }

    let f = parse(
        "x --image_size 128 --classifier_attention_resolutions 32,16,8 --classifier_depth 2 --classifier_width 128 --classifier_pool \
         attention --classifier_resblock_updown True --classifier_use_scale_shift_norm True --classifier_scale 1.0 --classifier_use_fp16 \
         True --batch_size 4 --num_samples 50000 --timestep_respacing ddim25 --use_ddim True --num_head_channels -1",
    );
    assert_eq!(f.use_ddim, Some(true));
    assert_eq!(infer("c.pt", &header(&preset("128x128_classifier")), &f).unwrap().config, preset("128x128_classifier"));
    assert!(Line::try_parse_from(["x", "--use_fp16", "maybe"]).is_err());
}

#[test]
fn an_upsamplers_input_is_what_flags_the_file_or_the_table_say() {
    let (mut config, d) = (preset("64_256_upsampler"), Flags::default);
    config.small_size = Some(128);
    let mut file = header(&config);
    file.metadata = BTreeMap::from([("adm".to_owned(), config.to_metadata().unwrap())]);
    let of = |file: &Header, flags: Flags| infer("u.pt", file, &flags).unwrap().config.low_size();
    assert_eq!(of(&file, d()), 128);
    assert_eq!(of(&file, Flags { small_size: Some(32), ..d() }), 32);
    assert_eq!(of(&file, Flags { large_size: Some(512), ..d() }), 256, "the factor stays");
    assert_eq!(of(&header(&config), d()), 64, "a public file's");
    for wrong in [0, 3, 256] {
        assert!(message(infer("u.pt", &file, &Flags { small_size: Some(wrong), ..d() })).contains("small_size is"));
    }
}

#[test]
fn the_projects_own_models_carry_their_configuration() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for path in files.filter(|p| p.extension().is_some_and(|e| e == "safetensors")) {
        let model = Checkpoint::open(&path).unwrap();
        let found = model.config(&Flags::default()).unwrap();
        assert_eq!(found.origin, Origin::Metadata);
        if found.config.role == Role::Upsampler {
            let half = found.config.unet.image_size / 2;
            assert_eq!(found.config.low_size(), half, "{}: not a quarter of its output", path.display());
        }
        for name in model.header().tensors.keys() {
            model.tensor_f32(name).unwrap();
        }
    }
}
