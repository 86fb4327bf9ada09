//! The library's readers, included as source: what needs no GPU needs no GPU library, and building one with a fuzzer's
//! instrumentation would take most of CI's minutes.
#![allow(dead_code, unused_imports, missing_docs, reason = "each target uses a part")]

// The package's requests name the library as others do.
extern crate self as guided_diffusion;

#[path = "../../src/arguments.rs"]
pub mod arguments;
#[path = "../../src/checkpoint/mod.rs"]
pub mod checkpoint;
#[path = "../../src/config/mod.rs"]
pub mod config;
#[path = "../../src/device.rs"]
pub mod device;
#[path = "../../src/error.rs"]
pub mod error;
#[path = "../../src/graph/mod.rs"]
pub mod graph;
#[path = "../../src/image.rs"]
pub mod image;
#[path = "../../src/cli/input.rs"]
pub mod input;
#[path = "../../src/interpolate.rs"]
pub mod interpolate;
#[path = "../../src/model/mod.rs"]
pub mod model;
#[path = "../../src/cli/npy.rs"]
pub mod npy;
#[path = "../../src/op/mod.rs"]
pub mod op;
#[path = "../../src/order.rs"]
pub mod order;
#[path = "../../src/plan/mod.rs"]
pub mod plan;
#[path = "../../src/png.rs"]
pub mod png;
#[path = "../../src/recipe.rs"]
pub mod recipe;
#[path = "../../web/src/request.rs"]
pub mod request;
#[path = "../../src/resize.rs"]
pub mod resize;
#[path = "../../src/sampler/mod.rs"]
pub mod sampler;
#[path = "../../src/shader/mod.rs"]
pub mod shader;
#[path = "../../src/tensor.rs"]
pub mod tensor;

mod memory;

pub use error::{Error, Result};
pub use image::Images;
pub use memory::{bounded, measured};

use std::path::Path;

use checkpoint::Checkpoint;
use config::Flags;

/// What each target does first: its seeds must be read as what they are, so that every format is reached, and memory must be
/// counted. `reads`: by the file's name and bytes, whether its reader takes it.
///
/// # Panics
/// They are not, or it is not.
pub fn check(folders: &[&str], extensions: &[&str], reads: impl Fn(&Path, &[u8]) -> bool) {
    let (held, took) = measured(|| vec![1u8; 1 << 20]);
    assert!(took >= held.len(), "memory is not counted: {took} bytes for {}", held.len());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in folders {
        for entry in std::fs::read_dir(root.join(folder)).expect("a folder of seeds").flatten() {
            let path = entry.path();
            let extension = path.extension().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if extensions.contains(&extension.as_str()) {
                let bytes = std::fs::read(&path).expect("a seed");
                assert!(reads(&path, &bytes), "the seed {} is not read", path.display());
                found.push(extension);
            }
        }
    }
    let missing: Vec<_> = extensions.iter().filter(|wanted| !found.iter().any(|one| one == *wanted)).collect();
    assert!(missing.is_empty(), "no seeds of {missing:?}");
}

/// Everything that a program does with a file it was given. Errors are fine; panics and exhaustion are not.
pub fn use_file(bytes: Vec<u8>) {
    let len = bytes.len();
    let Ok(file) = Checkpoint::from_bytes("fuzz", bytes) else { return };
    let header = file.header();
    // Hostile tables may point every tensor at the same bytes: reading them all is bounded work, not a defect.
    for (name, info) in header.in_file_order().into_iter().take(64) {
        assert!(info.range.start <= info.range.end && info.range.end <= len as u64, "{name} leaves the file");
        assert!(info.byte_len() <= len, "{name} is larger than the file");
        if let Ok(values) = file.tensor_f32(name) {
            assert_eq!(values.len(), info.elements());
            assert!(values.iter().all(|v| v.is_finite()));
        }
        let _ = file.tensor_f16(name);
    }
    if let Ok(found) = file.config(&Flags::default()) {
        assert!(found.config.validate().is_ok());
        let json = found.config.to_metadata().unwrap();
        assert_eq!(config::ModelConfig::from_metadata(&json).unwrap(), found.config);
    }
}

/// A zip file of stored entries, as torch.save writes it.
pub fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let (size, len) = ((data.len() as u32).to_le_bytes(), (name.len() as u16).to_le_bytes());
        directory.extend([b"PK\x01\x02".as_slice(), &[0; 16], &size, &size, &len, &[0; 12]].concat());
        directory.extend([&(out.len() as u32).to_le_bytes()[..], name.as_bytes()].concat());
        out.extend([b"PK\x03\x04".as_slice(), &[0; 14], &size, &size, &len, &[0; 2]].concat());
        out.extend([name.as_bytes(), data].concat());
    }
    let (at, count) = (out.len() as u32, (entries.len() as u16).to_le_bytes());
    let size = (directory.len() as u32).to_le_bytes();
    out.extend(directory);
    out.extend([b"PK\x05\x06\0\0\0\0".as_slice(), &count, &count, &size, &at.to_le_bytes(), &[0; 2]].concat());
    out
}
