//! Loading and converting go tensor by tensor: the process never holds much more than the largest one.
//!
//! A file of its own, because the system's high-water mark is the whole process's.

#![cfg(target_os = "linux")]

use std::ops::ControlFlow;

use guided_diffusion::checkpoint::{Checkpoint, DType};
use guided_diffusion::config::{Flags, convert, presets};

/// The most memory this process ever had resident, in MiB; mapped pages of files count.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn conversion_and_loading_stay_small() {
    let folder = std::env::temp_dir().join(format!("guided-diffusion-memory-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (wide, half) = (folder.join("wide.safetensors"), folder.join("half.safetensors"));
    let config = presets::by_name("128x128_classifier").unwrap().config();
    let go = |_, _| ControlFlow::Continue(());
    let before = peak();
    convert(&Checkpoint::synthetic(&config, 0).unwrap(), &config, None, &wide, go).unwrap();
    let source = Checkpoint::open(&wide).unwrap();
    let megabytes = |path| std::fs::metadata(path).unwrap().len() >> 20;
    assert!(megabytes(&wide) > 150);
    convert(&source, &config, Some(DType::F16), &half, go).unwrap();
    let made = Checkpoint::open(&half).unwrap();
    assert_eq!(made.config(&Flags::default()).unwrap().config, config);
    for name in made.header().tensors.keys() {
        let (a, b) = (source.tensor_f32(name).unwrap(), made.tensor_f32(name).unwrap());
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= a.abs() * 5e-4 + 1e-7), "{name}");
    }
    let (grown, largest) =
        (peak() - before, source.header().tensors.values().map(|i| i.byte_len()).max().unwrap() >> 20);
    std::fs::remove_dir_all(folder).unwrap();
    assert!(grown <= largest as u64 + 64, "{grown} MiB for tensors of up to {largest} MiB");
    println!("{grown} MiB, largest tensor {largest} MiB");
}
