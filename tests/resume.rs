//! Runs that are killed and continue, runs in parts, and what is refused of both: on tiny synthetic models, with the bytes of
//! an undisturbed run. On the adapter that wgpu finds first, or the first of `TEST_ADAPTERS`.
#![cfg(feature = "cli")]

mod common;

use std::process::Stdio;

use common::folder::Folder;
use common::tiny::models;
use guided_diffusion::cli::input;

const BASE: &str = "sample --model base.safetensors --steps 2 --class 3,5 --seed 11";
const STACK: &str = "sample --model base.safetensors --classifier judge.safetensors --upsampler up.safetensors --steps 2 \
                     --upsampler-steps ddim2 --class 3,5 --seed 11";

fn words<'a>(text: &'a str, more: &'a str) -> Vec<&'a str> {
    text.split_whitespace().chain(more.split_whitespace()).collect()
}

fn bytes(folder: &Folder, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).expect(name)
}

/// Batches that a journal lists.
fn batches(folder: &Folder, journal: &str) -> usize {
    std::fs::read(folder.join(journal)).map_or(0, |text| text.iter().filter(|byte| **byte == b'\n').count())
}

/// Starts a run until its journal has grown by `lines`, and kills it. False where it was done before.
fn killed_after(folder: &Folder, arguments: &[&str], journal: &str, lines: usize) -> bool {
    let before = batches(folder, journal);
    let mut command = folder.command(arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    while batches(folder, journal) < before + lines {
        if child.try_wait().expect("a child").is_some() {
            return false;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().expect("killed");
    child.wait().expect("a child");
    true
}

/// An edit's settings and the values of its files belong to the run.
#[test]
fn a_killed_edit_goes_on_and_another_does_not() {
    let folder = models("resume-edit");
    folder.ok(&words(BASE, "--count 1 --out x.png"));
    folder.ok(&words(BASE, "--count 1 --seed 12 --out y.png"));
    let edit = |more| words("edit --model base.safetensors --colourise --steps 2 --count 90 --batch 2 --class 3", more);
    folder.ok(&edit("--input x.png --out whole.npz"));
    let arguments = edit("--input x.png --out killed.npz");
    assert!(killed_after(&folder, &arguments, "killed.npz.partial/journal", 3));
    for (other, said) in [
        (edit("--input x.png --out killed.npz --upscale 1 --sigma-y 0.5"), "enlarges nothing"),
        (edit("--input x.png --out killed.npz --sigma-y 0.5"), "sigma_y"),
        (edit("--input x.png --out killed.npz --colourise=luma"), "colourise"),
        (edit("--input y.png --out killed.npz"), "other init"),
    ] {
        let text = folder.refused(2, &other);
        assert!(text.contains(said), "{text}");
    }
    folder.ok(&arguments);
    assert_eq!(bytes(&folder, "killed.npz"), bytes(&folder, "whole.npz"));
}

#[test]
fn a_killed_run_goes_on_to_the_bytes_of_an_undisturbed_one() {
    let folder = models("resume");
    let run = |out| words(BASE, out);
    folder.ok(&run("--count 90 --batch 2 --out whole.npz"));
    let arguments = run("--count 90 --batch 2 --out killed.npz");
    let mut kills = 0;
    while kills < 3 && killed_after(&folder, &arguments, "killed.npz.partial/journal", 3) {
        kills += 1;
        assert!(!folder.join("killed.npz").exists(), "no half file is under the final name");
    }
    assert_eq!(kills, 3);
    // Another process of the same weights is another run, and flags say which.
    let text = folder.refused(2, &run("--count 90 --batch 2 --noise_schedule cosine --out killed.npz"));
    assert!(text.contains("noise_schedule \"linear\", here \"cosine\""), "{text}");
    // Another run is refused, as long as the first one's images lie there, and so is a second process.
    let text = folder.refused(2, &run("--count 90 --batch 2 --eta 0.5 --sampler ddim --out killed.npz"));
    let by = format!("by `guided-diffusion {}", arguments.join(" "));
    assert!(text.contains("eta") && text.contains(&by) && text.contains("--restart"), "{text}");
    let text = folder.refused(2, &run("--count 90 --shard 0/2 --out killed.npz"));
    assert!(text.contains("end 90, here 45"), "{text}");
    // This process stands for the one that is at it: the lock ends with the process that holds it.
    let held = std::fs::File::options().write(true).open(folder.join("killed.npz.partial/journal")).expect("there");
    held.lock().expect("the killed process holds it no more");
    // Not impossible arguments: a retry may succeed.
    assert!(folder.refused(1, &arguments).contains("another process"));
    drop(held);
    folder.ok(&arguments);
    assert_eq!(bytes(&folder, "killed.npz"), bytes(&folder, "whole.npz"));
    let models = ["base.safetensors", "judge.safetensors", "up.safetensors"];
    assert_eq!(
        folder.names(),
        [&models[..1], &["judge.safetensors", "killed.npz", "up.safetensors", "whole.npz"]].concat()
    );
    // A model that was trained on meanwhile is another one.
    assert!(killed_after(&folder, &arguments, "killed.npz.partial/journal", 2));
    std::fs::copy(folder.join("base.safetensors"), folder.join("old")).expect("copied");
    common::tiny::write(&folder, "base.safetensors", &conformance::tiny(guided_diffusion::config::Role::Diffusion), 9);
    assert!(folder.refused(2, &arguments).contains("weights"));
    // So is one of which only the end of a tensor differs.
    let mut file = bytes(&folder, "old");
    let end = file.len() - 4;
    file[end..].copy_from_slice(&0.5f32.to_le_bytes());
    std::fs::write(folder.join("base.safetensors"), file).expect("written");
    assert!(folder.refused(2, &arguments).contains("weights"));
    std::fs::rename(folder.join("old"), folder.join("base.safetensors")).expect("renamed");
    folder.ok(&arguments);
    assert_eq!(bytes(&folder, "killed.npz"), bytes(&folder, "whole.npz"));
}

#[test]
fn a_stack_goes_on_in_either_stage() {
    let folder = models("resume-stack");
    folder.ok(&words(STACK, "--count 30 --batch 2 --upsampler-batch 2 --out whole.npz --small-out small.npy"));
    let arguments = words(STACK, "--count 30 --batch 2 --upsampler-batch 2 --out killed --small-out half.npy");
    let journal = "killed/.partial-0-30/journal";
    assert!(killed_after(&folder, &arguments, journal, 4));
    // The second stage: its lines follow the first one's fifteen.
    assert!(killed_after(&folder, &arguments, journal, 16));
    assert!(!folder.join("half.npy").exists());
    folder.ok(&arguments);
    assert_eq!(bytes(&folder, "half.npy"), bytes(&folder, "small.npy"));
    let [whole, killed] = ["whole.npz", "killed"].map(|name| input::images(&folder.join(name)).expect(name));
    assert_eq!((&whole.labels, &whole.images), (&killed.labels, &killed.images));
    assert_eq!(std::fs::read_dir(folder.join("killed")).expect("there").count(), 30, "pictures and nothing else");
}

/// The steps of finished images are kept as the images are, and what a dead process half wrote goes.
#[test]
fn a_killed_trajectory_goes_on() {
    let folder = models("resume-trajectory");
    for kind in ["png", "apng"] {
        let run = |name: &str| format!("--count 60 --batch 2 --out {name}.npz --trajectory {name}.{kind}");
        let [whole, killed] = ["whole", "killed"].map(run);
        folder.ok(&words(BASE, &whole));
        let arguments = words(BASE, &killed);
        assert!(killed_after(&folder, &arguments, "killed.npz.partial/journal", 3));
        std::fs::write(folder.join(&format!(".killed.{kind}.99999999.0.tmp")), "half").expect("written");
        assert!(!folder.join(&format!("killed.{kind}")).exists());
        let said = folder.ok(&[&arguments[..], &["--json"]].concat());
        let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        assert!(report["finished_before"].as_u64().is_some_and(|n| n >= 4), "{said}");
        for kind in ["npz", kind] {
            assert_eq!(bytes(&folder, &format!("killed.{kind}")), bytes(&folder, &format!("whole.{kind}")), "{kind}");
        }
        assert!(folder.names().iter().all(|name| !name.contains(".partial") && !name.ends_with(".tmp")));
    }
    // Begun without it, its finished images have no steps.
    assert!(killed_after(&folder, &words(BASE, "--count 60 --batch 2 --out x.npz"), "x.npz.partial/journal", 3));
    let text = folder.refused(2, &words(BASE, "--count 60 --batch 2 --out x.npz --trajectory x.png"));
    assert!(text.contains("their steps were not kept"), "{text}");
    // Begun with it, and continued without it, a run leaves the steps that were kept.
    let run = |more| words(BASE, "--count 60 --batch 2 --out y.npz").into_iter().chain(more).collect::<Vec<_>>();
    assert!(killed_after(&folder, &run(vec!["--trajectory", "y.png"]), "y.npz.partial/journal", 3));
    folder.ok(&run(Vec::new()));
    assert_eq!(bytes(&folder, "y.npz"), bytes(&folder, "whole.npz"));
    assert!(folder.join("y.png.partial").exists() && !folder.join("y.npz.partial").exists());
}

/// What a resumed inversion reports covers the images that it made, and it says how many these are.
#[test]
fn a_killed_inversion_says_what_its_error_covers() {
    let folder = models("resume-invert");
    folder.ok(&words(BASE, "--count 40 --out pictures"));
    let arguments =
        words("invert --model base.safetensors --steps 2 --class 3 --input pictures --batch 2 --out x.npy", "--json");
    assert!(killed_after(&folder, &arguments, "x.npy.partial/journal", 3));
    let report: serde_json::Value = serde_json::from_str(&folder.ok(&arguments)).expect("JSON");
    let number = |value: &serde_json::Value| value.as_u64().expect("a number");
    assert_eq!(number(&report["finished_before"]) + number(&report["error_levels"]["images"]), 40, "{report}");
}

#[test]
fn parts_merge_into_the_bytes_of_the_whole() {
    let folder = models("merge");
    let run = |out| words(BASE, out);
    folder.ok(&run("--count 12 --first 4 --batch 2 --out whole.npz"));
    for part in ["0", "1", "2"] {
        let arguments = format!("--count 12 --first 4 --batch 2 --shard {part}/3 --out part{part}.npz");
        folder.ok(&words(BASE, &arguments));
    }
    let said = folder.ok(&words("merge part2.npz part0.npz part1.npz --out all.npz", ""));
    assert!(said.contains("12 images of 3 parts"), "{said}");
    assert_eq!(bytes(&folder, "all.npz"), bytes(&folder, "whole.npz"));
    folder.ok(&run("--count 12 --first 4 --batch 2 --seed 1 --shard 1/3 --out other.npz"));
    folder.ok(&run("--count 12 --first 4 --batch 2 --out pictures"));
    std::fs::write(folder.join("short.npz"), &bytes(&folder, "part0.npz")[..100]).expect("written");
    std::fs::copy(folder.join("part1.npz"), folder.join("copy.npz")).expect("copied");
    let before = bytes(&folder, "part0.npz");
    for (arguments, part) in [
        ("part0.npz part2.npz --out x.npz", "4 of 12 images are missing: 8 to 11"),
        ("part0.npz part1.npz ./part1.npz part2.npz --out x.npz", "./part1.npz: this part is given twice"),
        ("part0.npz part1.npz copy.npz part2.npz --out x.npz", "is there already of"),
        ("part0.npz part1.npz part2.npz --out ./part0.npz", "./part0.npz: --out is one of the parts"),
        ("part0.npz other.npz part2.npz --out x.npz", "one run: seed 11, here 1"),
        ("part0.npz part1.npz part2.npz --count 13 --out x.npz", "parts of a run of 12 images"),
        ("part0.npz pictures --out x.npz", "are not parts of one run"),
        ("part0.npz --out x.png", ".npz"),
        ("pictures --count 13 --out x.npz", "1 of 13 images are missing: 16"),
    ] {
        let text = folder.refused(2, &words("merge", arguments));
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(bytes(&folder, "part0.npz"), before);
    for (part, words_of_it) in [("none.npz", "none.npz"), ("short.npz", "short.npz: this .npz archive is cut short")] {
        let text = folder.refused(1, &words("merge part0.npz --out x.npz", part));
        assert!(text.contains(words_of_it), "{text}");
    }
    // A part of this run that is begun, found beside the others, and by its name; and one of another run.
    let begun = |out| format!("{BASE} --count 12 --first 4 --batch 2 --shard 1/3 --out {out}.npz");
    assert!(killed_after(&folder, &words(&begun("begun"), ""), "begun.npz.partial/journal", 1));
    assert!(killed_after(
        &folder,
        &words(&begun("odd").replace("seed 11", "seed 12"), ""),
        "odd.npz.partial/journal",
        1
    ));
    let text = folder.refused(2, &words("merge part0.npz part2.npz --out x.npz", ""));
    let by = format!("(begun.npz.partial is there, begun by `guided-diffusion {}", begun("begun"));
    assert!(text.contains(&by) && text.contains("that part is unfinished") && !text.contains("odd"), "{text}");
    let text = folder.refused(1, &words("merge part0.npz begun.npz part2.npz --out x.npz", ""));
    assert!(text.contains("begun.npz: begun.npz.partial is there, begun by `guided-diffusion sample"), "{text}");
    let one = folder.ok(&words("merge whole.npz --out one.npz", ""));
    assert!(one.contains("12 images of 1 part\n"), "{one}");
    folder.ok(&words("merge pictures --out pictures.npz", ""));
    let [whole, merged] = ["whole.npz", "pictures.npz"].map(|name| input::images(&folder.join(name)).expect(name));
    assert_eq!((whole.labels, whole.images), (merged.labels, merged.images));
}

/// The command of the Kubernetes example, as its pods run it: one is killed in the middle and replaced, one comes while its
/// predecessor still runs on a lost node.
#[cfg(unix)]
#[test]
fn the_kubernetes_examples_command_continues_and_merges() {
    let folder = models("resume-kubernetes");
    let manifest = include_str!("../examples/cluster/kubernetes.yaml");
    let block = manifest.split_once("- >\n").and_then(|(_, rest)| rest.split_once("resources:")).expect("a command").0;
    let block = block.split_whitespace().collect::<Vec<_>>().join(" ");
    // Kubernetes itself replaces $(NAME) by a variable of that name, and $$ by $: there is neither.
    assert!(!block.contains("$$") && !block.contains("$(SHARDS)") && !block.contains("$(JOB_"), "{block}");
    let arguments = "--model /data/64x64_diffusion.safetensors --count 50000 --batch 16";
    assert!(block.contains(arguments));
    let base = BASE.strip_prefix("sample ").expect("arguments");
    // The adapter of what it is compared with.
    let adapter = std::env::var_os("TEST_ADAPTERS")
        .map_or(String::new(), |_| format!(" --adapter '{}'", common::gpu::adapters()[0]));
    let block = block.replace(arguments, &format!("{base} --count 24 --batch 2{adapter}"));
    let block = block.replace("/data", folder.0.to_str().expect("a path"));
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_guided-diffusion"));
    let path = format!("{}:/usr/bin:/bin", program.parent().expect("a folder").display());
    let pod = |index: usize, block: &str| {
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", block]).current_dir(&folder.0).env("PATH", &path).env("GUIDED_DIFFUSION_CACHE", "");
        command.env("SHARDS", "3").env("JOB_COMPLETION_INDEX", index.to_string());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let run = |index| pod(index, &block).status().expect("a shell").code();
    for index in [0, 2] {
        assert_eq!(run(index), Some(0), "pod {index}");
    }
    let journal = "samples/part00001.npz.partial/journal";
    let mut victim = pod(1, &block).spawn().expect("a shell");
    while batches(&folder, journal) < 2 {
        assert!(victim.try_wait().expect("a child").is_none(), "it was done before it was killed");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    victim.kill().expect("killed");
    victim.wait().expect("a child");
    let held = std::fs::File::options().write(true).open(folder.join(journal)).expect("there");
    held.lock().expect("the killed process holds it no more");
    assert_eq!(run(1), Some(1), "counts as a failure of its index, and is tried again");
    drop(held);
    assert_eq!(
        pod(1, &block.replace("--steps", "--stepz")).status().expect("a shell").code(),
        Some(2),
        "fails the job"
    );
    assert_eq!(run(1), Some(0));
    let again = pod(1, &block).stderr(Stdio::piped()).output().expect("a shell");
    assert_eq!(again.status.code(), Some(0), "and again when all is done");
    assert!(String::from_utf8_lossy(&again.stderr).contains("part00001.npz is there already: it is taken as it is"));
    assert_eq!(std::fs::read_dir(folder.join("samples")).expect("there").count(), 3, "the parts and nothing else");
    let parts: Vec<String> = (0..3).map(|k| format!("samples/part0000{k}.npz")).collect();
    folder.ok(&words("merge --out all.npz", &parts.join(" ")));
    folder.ok(&words(BASE, "--count 24 --batch 2 --out whole.npz"));
    assert_eq!(bytes(&folder, "all.npz"), bytes(&folder, "whole.npz"));
}

/// Slurm's own part is scripts/test-cluster.sh's.
#[cfg(unix)]
#[test]
fn the_slurm_example_says_its_usage_and_what_is_done() {
    let folder = Folder::new("resume-slurm");
    std::fs::create_dir(folder.join("parts")).expect("made");
    std::fs::write(folder.join("parts/part00002.npz"), b"").expect("written");
    let job = |arguments: &[&str], task: Option<&str>| {
        let mut command = std::process::Command::new("bash");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cluster/slurm.sh")).args(arguments);
        command.current_dir(&folder.0).env("PROGRAM", "/bin/false").env_remove("SLURM_ARRAY_TASK_ID");
        let output = command.envs(task.map(|task| ("SLURM_ARRAY_TASK_ID", task))).output().expect("a shell");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (arguments, task, done, words) in [
        (&[][..], Some("2"), false, "usage: sbatch --array="),
        (&["parts"], None, false, "usage: sbatch --array="),
        (
            &["parts"],
            Some("2"),
            true,
            "parts/part00002.npz is there already: it is taken as it is; remove it or give another",
        ),
    ] {
        let (success, text) = job(arguments, task);
        assert!(success == done && text.contains(words), "{arguments:?} {task:?}: {text}");
    }
}

/// Weights that overflow: the clipping of the predicted x_0 does not hide it, and nothing comes under the final name.
#[test]
fn images_of_a_broken_network_are_refused() {
    let folder = models("resume-broken");
    let mut file = bytes(&folder, "base.safetensors");
    let header = 8 + u64::from_le_bytes(file[..8].try_into().expect("8 bytes")) as usize;
    let json: serde_json::Value = serde_json::from_slice(&file[8..header]).expect("a header");
    let offset = |k: usize| header + json["out.2.weight"]["data_offsets"][k].as_u64().expect("an offset") as usize;
    let (from, to) = (offset(0), offset(1));
    file[from..to].chunks_exact_mut(4).for_each(|weight| weight.copy_from_slice(&f32::MAX.to_le_bytes()));
    std::fs::write(folder.join("broken.safetensors"), file).expect("written");
    for clipping in ["", "--threshold", "--no-clip", "--sampler ancestral"] {
        let run = words("sample --model broken.safetensors --steps 2 --class 3 --count 2 --out broken.npz", clipping);
        let text = folder.refused(1, &run);
        assert!(text.contains("image 0") && text.contains("infinities or NaN"), "{clipping}: {text}");
        assert!(!folder.join("broken.npz").exists());
    }
    folder.ok(&words(BASE, "--count 1 --out x.png"));
    let text = folder.refused(1, &words("nll --model broken.safetensors --steps 2 --class 3 --input x.png", ""));
    assert!(text.contains("infinities or NaN"), "{text}");
}
