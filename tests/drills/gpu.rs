//! Drills of the device: lost and without memory. A Vulkan layer fails on purpose (gpu_faults.c).

use std::process::{Command, Output};

use conformance::tiny;
use guided_diffusion::config::Role;

use crate::common::folder::Folder;
use crate::common::tiny::{models, write};
use crate::{RUN, bytes, counted, library, text, words};

/// What the layer counts and fails at.
const CALLS: [&str; 4] = ["submit", "memory", "buffer", "pipeline"];

/// The program with a faulty driver: `fault` is a variable of gpu_faults.c and its value.
fn faulty(folder: &Folder, arguments: &[&str], fault: (&str, &str)) -> Command {
    let layers = library("libgpu_faults.so");
    let mut command = folder.command(arguments);
    command.env("VK_INSTANCE_LAYERS", "VK_LAYER_DRILL_faults").env("VK_LAYER_PATH", layers.parent().expect("a folder"));
    command.env(fault.0, fault.1);
    command
}

fn with_fault(folder: &Folder, arguments: &[&str], fault: (&str, &str)) -> Output {
    faulty(folder, arguments, fault).output().expect("started")
}

/// How often a run makes each of the calls.
fn counts(folder: &Folder, arguments: &[&str]) -> [usize; 4] {
    let output = with_fault(folder, arguments, ("DRILL_COUNT", "counts"));
    assert!(output.status.success(), "{}", text(&output));
    let counts = bytes(folder, "counts");
    std::fs::remove_file(folder.join("counts")).expect("there");
    CALLS.map(|call| counted(&counts, call))
}

/// About `most` of the numbers from 1 to `count`, with the first and the last.
pub fn spread(count: usize, most: usize) -> Vec<usize> {
    let mut chosen: Vec<usize> = (0..most).map(|i| 1 + i * (count - 1) / (most - 1)).collect();
    chosen.dedup();
    chosen
}

/// A run of the smallest network with all kinds of calls, since each loss costs two loads; its images are whole.npz.
const LOST: &str = "sample --model base.safetensors --steps 2 --class 3,5 --count 2 --batch 1 --seed 11";

pub fn smallest(name: &str) -> Folder {
    let folder = Folder::new(name);
    let mut config = tiny(Role::Diffusion);
    config.unet.channel_mult = vec![1.0];
    config.unet.attention_resolutions = Vec::new();
    write(&folder, "base.safetensors", &config, 0);
    folder.ok(&words(LOST, "--out whole.npz --trajectory whole.png"));
    folder
}

/// Whether that run, whose device is lost at a call, continues to the same bytes; else there was no device yet, which is an error.
fn continues(folder: &Folder, call: &str, at: usize) -> bool {
    let lost = words(LOST, "--out lost.npz --trajectory lost.png");
    let output = with_fault(folder, &lost, ("DRILL_LOSE", &format!("{call}:{at}")));
    let said = text(&output);
    if output.status.code() == Some(1) && said.contains("gave no device") {
        assert_eq!(folder.names(), ["base.safetensors", "whole.npz", "whole.png"], "{call} {at}");
        return false;
    }
    assert!(output.status.success() && said.contains("opening it again"), "{call} {at}: {said}");
    for kind in ["npz", "png"] {
        let (made, whole) = (format!("lost.{kind}"), format!("whole.{kind}"));
        assert_eq!(bytes(folder, &made), bytes(folder, &whole), "{call} {at}: {kind}");
        std::fs::remove_file(folder.join(&made)).expect("there");
    }
    true
}

#[test]
fn a_device_lost_at_every_submission() {
    let folder = smallest("drill-lost");
    let [submissions, ..] = counts(&folder, &words(LOST, "--out whole.npz --trajectory whole.png"));
    assert!((1..=submissions).all(|at| continues(&folder, "submit", at)));
    // Lost for good: the run ends, and what it finished stays for the next one.
    let lost = words(LOST, "--out lost.npz --trajectory lost.png");
    let last = format!("submit:{submissions}");
    let output = faulty(&folder, &lost, ("DRILL_LOSE", &last)).env("DRILL_LOSE_AGAIN", "1").output().expect("started");
    let said = text(&output);
    assert!(output.status.code() == Some(1) && said.matches("opening it again").count() == 1, "{said}");
    assert!(!folder.join("lost.npz").exists() && folder.join("lost.npz.partial").exists());
    let again = with_fault(&folder, &lost, ("DRILL_COUNT", "counts"));
    assert!(again.status.success() && text(&again).contains("1 of 2 images are finished already"), "{}", text(&again));
    assert_eq!(bytes(&folder, "lost.npz"), bytes(&folder, "whole.npz"));
    println!(
        "a lost device: at each of {submissions} submissions of a run, opened again, the same bytes; lost for good, the next run \
         continues"
    );
}

#[test]
fn a_device_lost_while_it_is_set_up() {
    let folder = smallest("drill-set-up");
    let [_, blocks, buffers, pipelines] = counts(&folder, &words(LOST, "--out whole.npz --trajectory whole.png"));
    let (mut again, mut refused) = (0, 0);
    for (call, moments) in
        [("memory", spread(blocks, 3)), ("buffer", spread(buffers, 5)), ("pipeline", spread(pipelines, 5))]
    {
        for at in moments {
            *(if continues(&folder, call, at) { &mut again } else { &mut refused }) += 1;
        }
    }
    assert!(again > refused, "only opening itself has nothing to open again");
    println!(
        "a lost device: at {} moments of opening, allocating and compiling: {again} times opened again, the same bytes, {refused} \
         errors while it was opened, with nothing left",
        again + refused
    );
}

#[test]
fn a_device_lost_while_tuning() {
    let folder = smallest("drill-tuning");
    let run = |out: &str, fault: (&str, &str)| {
        let mut command = faulty(&folder, &words(LOST, &format!("--tune-budget 2 --out {out}")), fault);
        let output = command.env("GUIDED_DIFFUSION_CACHE", "cache").output().expect("started");
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    // Tuning comes first.
    let said = run("lost.npz", ("DRILL_LOSE", "submit:5"));
    assert!(said.contains("opening it again"), "{said}");
    // By the kernels that were found fastest then, and are remembered, the same command makes the same bytes.
    run("again.npz", ("DRILL_COUNT", "counts"));
    assert_eq!(bytes(&folder, "lost.npz"), bytes(&folder, "again.npz"));
    println!("a device lost while kernels are measured: opened again, measured again, and the run continues");
}

#[test]
fn an_allocation_refused() {
    let folder = models("drill-memory");
    // The driver's memory is taken in blocks, of which a small model needs one and the built-in one several; buffers lie in them.
    let (mut refused, mut evaded, mut leaner) = ([0; 2], [0; 2], [0; 2]);
    for run in [RUN, "sample --steps ddim2 --count 16 --batch 16"] {
        let [_, blocks, buffers, _] = counts(&folder, &words(run, "--out whole.npz"));
        let names = folder.names();
        for (kind, call, moments) in [(0, "memory", spread(blocks, blocks.max(2))), (1, "buffer", spread(buffers, 5))] {
            for at in moments {
                let fault = ("DRILL_REFUSE", format!("{call}:{at}"));
                let output = with_fault(&folder, &words(run, "--out refused.npz"), (fault.0, &fault.1));
                let said = text(&output);
                if output.status.success() {
                    let (made, whole) = (bytes(&folder, "refused.npz"), bytes(&folder, "whole.npz"));
                    if said.contains("transform their weights at each step instead") {
                        // By other kernels: a few values are rounded the other way.
                        let equal = made.iter().zip(&whole).filter(|(made, whole)| made == whole).count();
                        assert!(made.len() == whole.len() && 10 * equal >= 9 * whole.len(), "{call} {at}: {equal}");
                        leaner[kind] += 1;
                    } else {
                        // The driver's allocator has found room in another block; then nothing is lost.
                        assert_eq!(made, whole, "{call} {at}");
                        evaded[kind] += 1;
                    }
                    std::fs::remove_file(folder.join("refused.npz")).expect("there");
                } else {
                    assert_eq!(output.status.code(), Some(1), "{call} {at}: {said}");
                    assert!(said.contains("memory") && !said.contains("panicked"), "{call} {at}: {said}");
                    refused[kind] += 1;
                }
                assert_eq!(folder.names(), names, "{call} {at} left something");
            }
        }
    }
    println!(
        "an allocation refused: {} of two models' blocks of memory: {} errors with nothing left, {} times another block, {} times \
         planned again for less; the first, the last and three between of their buffers: {} errors with nothing left, {} times \
         without loss, {} times planned again",
        refused[0] + evaded[0] + leaner[0],
        refused[0],
        evaded[0],
        leaner[0],
        refused[1],
        evaded[1],
        leaner[1]
    );
    assert!(leaner[0] + leaner[1] > 0, "no session was planned again");
}
