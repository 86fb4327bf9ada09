//! Tuning: what is measured, how a tuning cache gets into plans, and what the files of one run mean to the next.

mod common;

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use common::folder::Folder;
use common::gpu::{adapters, on_each, open};
use common::{cases_of, model_config};
use guided_diffusion::config::{ModelConfig, presets};
use guided_diffusion::device::{Caps, Precision};
use guided_diffusion::gpu::tuner::TuneOptions;
use guided_diffusion::gpu::{Cache, Gpu};
use guided_diffusion::graph::fuse;
use guided_diffusion::model::sampling_graph;
use guided_diffusion::op::Op;
use guided_diffusion::op::variant::{GemmTile, Variant};
use guided_diffusion::plan::tuning::{Tunable, TuningCache, VariantOverrides, tunable};
use guided_diffusion::plan::{Plan, PlanOptions};
use guided_diffusion::shader::Kernel;
use guided_diffusion::{Checkpoint, Session, SessionOptions};
use pollster::block_on;

fn config() -> ModelConfig {
    let mut config = model_config(&cases_of("unet")[0]["config"]);
    config.unet.num_res_blocks = 1;
    config.unet.channel_mult = vec![1.0, 1.0];
    config
}

fn kernels(plan: &Plan) -> Vec<Kernel> {
    plan.kernels().into_iter().cloned().collect()
}

/// A clock that ticks a second a look: all candidates take equally long, and nothing depends on the machine.
///
/// Each thread has its own, since adapters are tested side by side, and the readings of one must not pass as time of another.
fn ticks() -> f64 {
    thread_local!(static LOOKS: Cell<f64> = const { Cell::new(0.0) });
    LOOKS.replace(LOOKS.get() + 1.0)
}

/// Every tuning key with its last variant, which no default is.
fn last_variants(caps: &Caps) -> (TuningCache, VariantOverrides) {
    let graph = fuse::fuse(&sampling_graph(&config(), None, 1, None, None).unwrap()).unwrap();
    let (mut tuning, mut overrides) = (TuningCache::default(), VariantOverrides::new());
    for tunable in tunable(&graph, caps) {
        let variant = *tunable.variants.last().unwrap();
        tuning.insert(Precision::F32, &tunable.key, variant);
        overrides.insert(tunable.key, variant);
    }
    (tuning, overrides)
}

#[test]
fn the_cache_decides_and_what_it_does_not_know_is_the_default() {
    let (caps, config) = (Caps::webgpu_defaults(), config());
    let plan = |options: &SessionOptions| Session::plan(&caps, &config, None, options).unwrap();
    let default = SessionOptions::default();
    let (tuning, overrides) = last_variants(&caps);
    assert!(tuning.len() > 5, "{tuning:?}");
    let forced = SessionOptions { plan: PlanOptions { overrides, ..PlanOptions::default() }, ..default.clone() };
    let tuned = SessionOptions { tuning: tuning.clone(), ..default.clone() };
    assert_eq!(kernels(&plan(&tuned)), kernels(&plan(&forced)));
    assert_ne!(kernels(&plan(&tuned)), kernels(&plan(&default)));

    // Another precision, another batch: nothing is known of those.
    for other in [
        SessionOptions { batch: 2, ..default.clone() },
        SessionOptions {
            plan: PlanOptions { precision: Precision::F16Weights, ..PlanOptions::default() },
            ..default.clone()
        },
    ] {
        let with = SessionOptions { tuning: tuning.clone(), ..other.clone() };
        assert_eq!(kernels(&plan(&with)), kernels(&plan(&other)));
    }

    // A plan's explicit overrides come first.
    let all = VariantOverrides::from([("*".into(), Variant::Naive)]);
    let explicit = PlanOptions { overrides: all, ..PlanOptions::default() };
    let with = SessionOptions { tuning, plan: explicit.clone(), ..default.clone() };
    assert_eq!(kernels(&plan(&with)), kernels(&plan(&SessionOptions { plan: explicit, ..default })));
}

#[test]
fn a_cache_is_untrusted_input() {
    let (tuning, _) = last_variants(&Caps::webgpu_defaults());
    let json = tuning.to_json("this device");
    assert_eq!(TuningCache::parse(json.as_bytes(), "this device"), Ok(Some(tuning)));
    assert_eq!(TuningCache::parse(json.as_bytes(), "another"), Ok(None), "measured elsewhere");
    let earlier = br#"{"device":"another","choices":{"a":"b"}}"#;
    assert_eq!(TuningCache::parse(earlier, "this device"), Ok(None), "of an earlier version");

    for cut in (0..json.len()).step_by(97) {
        assert!(TuningCache::parse(&json.as_bytes()[..cut], "this device").is_err(), "{cut} bytes");
    }
    let long = "x".repeat(3000);
    let many: Vec<String> = (0..20_001).map(|i| format!("\"{i}\":\"\"")).collect();
    for variants in [
        "[]".into(),
        "{\"a\":1}".into(),
        format!("{{\"a\":\"{long}\"}}"),
        format!("{{\"{long}\":\"\"}}"),
        format!("{{{}}}", many.join(",")),
        "[".repeat(100_000),
    ] {
        let json = format!("{{\"device\":\"d\",\"variants\":{variants}}}");
        assert!(TuningCache::parse(json.as_bytes(), "d").is_err(), "{}", &json[..60.min(json.len())]);
    }

    // Variants that are unknown or not legal for the key change nothing.
    let graph = fuse::fuse(&sampling_graph(&config(), None, 1, None, None).unwrap()).unwrap();
    let caps = Caps::webgpu_defaults();
    let strange: Vec<String> = tunable(&graph, &caps)
        .iter()
        .zip(["", "Winograd(9)", "\\u0000", "Only"].iter().cycle())
        .map(|(tunable, variant)| format!("{:?}:\"{variant}\"", format!("f32: {}", tunable.key)))
        .collect();
    let json = format!("{{\"device\":\"d\",\"variants\":{{{}}}}}", strange.join(","));
    let strange = TuningCache::parse(json.as_bytes(), "d").unwrap().unwrap();
    assert_eq!(strange.overrides(&graph, &caps, Precision::F32), VariantOverrides::new());
}

#[test]
fn every_tuning_key_is_measured_once() {
    on_each(|gpu| {
        let (config, options) = (config(), SessionOptions::default());
        let graph = fuse::fuse(&sampling_graph(&config, None, 1, None, None).unwrap()).unwrap();
        let keys = tunable(&graph, gpu.caps()).len();
        let mut tuning = TuningCache::default();
        let run = |tuning: &mut TuningCache, budget, settle| {
            let how = TuneOptions { budget, settle, clock: ticks, ..TuneOptions::default() };
            block_on(Session::tune(gpu, &config, None, &options, tuning, &how)).unwrap()
        };
        let tune = |tuning: &mut TuningCache, budget| run(tuning, budget, true);
        let unsettled = run(&mut tuning, Some(0.0), false);
        assert_eq!((unsettled.left, tuning.len()), (keys, 0), "what was measured before would be lost");
        let none = tune(&mut tuning, Some(0.0));
        assert_eq!((none.tuned.len(), none.left, tuning.len()), (0, keys, keys));
        let chosen = tuning.overrides(&graph, gpu.caps(), Precision::F32);
        assert_eq!(chosen, VariantOverrides::new(), "what the budget leaves keeps the default");
        let again = tune(&mut tuning, None);
        assert_eq!((again.tuned.len(), again.left), (0, 0), "it was left for good");

        let mut tuning = TuningCache::default();
        let all = tune(&mut tuning, None);
        assert_eq!((all.tuned.len(), all.left, tuning.len()), (keys, 0, keys));
        for tuned in &all.tuned {
            assert!(tuned.chosen == 0 && tuned.count > 0, "equal times keep the default: {tuned:?}");
            assert!(tuned.seconds.len() > 1 && tuned.seconds.iter().all(|(_, s)| s.is_finite()), "all run: {tuned:?}");
        }
        // A few at a time, by a clock that ticks at every look, come to the same.
        let mut slowly = TuningCache::default();
        let how = TuneOptions { budget: None, settle: false, most: Some(2), clock: ticks, resolution: 1.0 / 20.0 };
        let mut step = || block_on(Session::tune(gpu, &config, None, &options, &mut slowly, &how)).unwrap();
        assert_eq!((step().tuned.len(), step().left), (2, keys - 4));
        while !step().tuned.is_empty() {}
        assert_eq!(slowly, tuning);
        // A session by the table passes its own check.
        let checkpoint = Checkpoint::synthetic(&config, 1).unwrap();
        let options = SessionOptions { tuning, ..options };
        let session = block_on(Session::load(gpu, &checkpoint, &config, &options)).unwrap();
        assert_eq!(session.warnings(), &[] as &[String]);
        assert_eq!(session.tuned(), 0, "it holds the defaults");
        let options = SessionOptions { tuning: last_variants(gpu.caps()).0, ..options };
        assert!(block_on(Session::load(gpu, &checkpoint, &config, &options)).unwrap().tuned() > 5);
    });
}

thread_local!(static COMPILING: RefCell<Option<Arc<Gpu>>> = const { RefCell::new(None) });

/// A clock on which each compilation by the thread's device takes ten seconds, and nothing else any time.
fn compilations() -> f64 {
    COMPILING.with_borrow(|gpu| gpu.as_ref().map_or(0.0, |gpu| 10.0 * gpu.pipelines_created() as f64))
}

#[test]
fn compiling_counts_against_the_budget() {
    let gpu = open(&adapters()[0]);
    COMPILING.set(Some(gpu.clone()));
    let (config, options) = (config(), SessionOptions::default());
    let graph = fuse::fuse(&sampling_graph(&config, None, 1, None, None).unwrap()).unwrap();
    let keys = tunable(&graph, gpu.caps()).len();
    // How many compilations a budget allows: none, the first, whose time nobody knows; then none for which less than ten
    // seconds are left, whatever they have been spent on.
    for (budget, begun) in [(0.0, 0), (5.0, 1), (15.0, 1), (25.0, 2), (30.0, 2)] {
        let before = gpu.pipelines_created();
        let how = TuneOptions { budget: Some(budget), clock: compilations, ..TuneOptions::default() };
        let mut tuning = TuningCache::default();
        let report = block_on(Session::tune(&gpu, &config, None, &options, &mut tuning, &how)).unwrap();
        assert_eq!(gpu.pipelines_created() - before, begun, "{budget} s");
        assert_eq!((report.tuned.len(), report.left, tuning.len()), (0, keys, keys), "{budget} s");
    }
}

/// On a GPU, sums beyond an invocation's registers spill: what would do so is no candidate (docs/gpu-report.md).
#[test]
fn what_spills_is_not_measured() {
    let model = presets::by_name("128x128_diffusion").unwrap().config();
    let guide = presets::by_name("128x128_classifier").unwrap().config();
    let graph = fuse::fuse(&sampling_graph(&model, Some(&guide), 1, None, None).unwrap()).unwrap();
    let gpu = Caps { shader_f16: true, ..Caps::webgpu_defaults() };
    let vec4s = |tile: GemmTile| tile.rows * tile.columns4;
    for (wide_registers, precision, most) in
        [(false, Precision::F32, 8), (true, Precision::F32, 16), (false, Precision::F16, 8), (true, Precision::F16, 8)]
    {
        let caps = Caps { wide_registers, subgroup: Some(32), ..gpu.clone() }.at(precision);
        let (mut largest, mut rows) = (0, 0);
        for Tunable { node, variants, .. } in tunable(&graph, &caps) {
            let gradient = matches!(&node.op, Op::Conv2d(conv) if conv.transposed);
            for variant in variants {
                match variant {
                    Variant::Gemm(tile) if !gradient => largest = largest.max(vec4s(tile)),
                    Variant::Winograd(2, tile) if !gradient => largest = largest.max(vec4s(tile)),
                    // Both multiply in float32 at every precision.
                    Variant::Gemm(tile) | Variant::Winograd(_, tile) => {
                        assert!(vec4s(tile) <= if wide_registers { 16 } else { 8 })
                    }
                    Variant::Attention(tile) if tile.workgroup => rows = rows.max(tile.queries),
                    Variant::Attention(tile) => assert!(tile.queries <= 4, "{tile:?}"),
                    Variant::Block => panic!("{} by blocks", node.name),
                    Variant::Naive | Variant::Serial => {}
                }
            }
        }
        assert_eq!((largest, rows), (most, 4), "{wide_registers} {precision:?}");
    }
}

#[test]
fn what_a_folder_remembers_is_for_its_device_alone() {
    let folder = Folder::new("cache");
    let cache = Cache::new(folder.join("not/yet/there"));
    let gpu = open(&adapters()[0]);
    assert_eq!(cache.tuning(&gpu).unwrap(), TuningCache::default(), "no file is not an error");
    cache.load_pipelines(&gpu).unwrap();
    let (tuning, _) = last_variants(gpu.caps());
    cache.store_tuning(&gpu, &tuning).unwrap();
    assert_eq!(cache.tuning(&gpu).unwrap(), tuning);
    // More is added to what is there.
    let mut more = TuningCache::default();
    more.insert(Precision::F16Weights, "another key", Variant::Naive);
    cache.store_tuning(&gpu, &more).unwrap();
    assert_eq!(cache.tuning(&gpu).unwrap().len(), tuning.len() + 1);

    let checkpoint = Checkpoint::synthetic(&config(), 1).unwrap();
    block_on(Session::load(&gpu, &checkpoint, &config(), &SessionOptions::default())).unwrap();
    cache.store_pipelines(&gpu).unwrap();
    let files = |extension: &str| -> Vec<_> {
        let entries = std::fs::read_dir(cache.folder()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect()
    };
    assert_eq!(files("json").len(), 1);
    assert_eq!(files("tmp"), [] as [std::path::PathBuf; 0]);

    // Another driver's files are as if they were not there; damaged ones are errors, and are replaced.
    let table = &files("json")[0];
    let text = std::fs::read_to_string(table).unwrap();
    std::fs::write(table, text.replace(&gpu.fingerprint(), "another driver")).unwrap();
    assert_eq!(cache.tuning(&gpu).unwrap(), TuningCache::default());
    std::fs::write(table, &text[..text.len() / 2]).unwrap();
    assert!(cache.tuning(&gpu).is_err());
    cache.store_tuning(&gpu, &tuning).unwrap();
    assert_eq!(cache.tuning(&gpu).unwrap(), tuning);
    for compiled in files("pipelines") {
        let mut data = std::fs::read(&compiled).unwrap();
        *data.last_mut().unwrap() ^= 1;
        std::fs::write(&compiled, data).unwrap();
        let fresh = open(&adapters()[0]);
        assert!(cache.load_pipelines(&fresh).is_err(), "a wrong checksum");
        // It works all the same, and stores what is sound.
        block_on(Session::load(&fresh, &checkpoint, &config(), &SessionOptions::default())).unwrap();
        cache.store_pipelines(&fresh).unwrap();
        cache.load_pipelines(&open(&adapters()[0])).unwrap();
    }
}
