//! safetensors files: as they come, as a header before zeros, and as configuration metadata.
#![no_main]

use guided_diffusion_fuzz::checkpoint::{Checkpoint, Header, Stream};
use guided_diffusion_fuzz::config::ModelConfig;
use guided_diffusion_fuzz::{bounded, check, use_file};

fn seeds() {
    check(&["../tests/fixtures/pt"], &["safetensors"], |path, _| Checkpoint::open(path).is_ok());
    check(&["seeds/checkpoint"], &["json"], |path, bytes| match std::str::from_utf8(bytes) {
        Ok(text) if path.ends_with("adm.json") => ModelConfig::from_metadata(text).is_ok(),
        _ => Checkpoint::from_bytes("seed", framed(bytes, 16)).is_ok(),
    });
}

libfuzzer_sys::fuzz_target!(init: seeds(), |data: &[u8]| {
    bounded(data.len(), 64, || use_file(data.to_vec()));
    // The length field is a hurdle for mutations; supply it, and data for tensors to lie in.
    for file in [framed(data, 0), framed(data, 16)] {
        bounded(file.len(), 64, || Header::parse("fuzz", &file, u64::MAX).is_ok());
        bounded(file.len(), 64, || stream(&file));
        bounded(file.len(), 64, || use_file(file.clone()));
    }
    if let Ok(text) = std::str::from_utf8(data) {
        bounded(text.len(), 64, || ModelConfig::from_metadata(text).is_ok());
    }
});

/// A header with its length, before zeros.
fn framed(header: &[u8], zeros: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header, &vec![0; zeros]].concat()
}

/// Feeds a file in pieces, as far as it is one. What it describes but does not hold is not asked for.
fn stream(bytes: &[u8]) {
    let mut stream = Stream::new("fuzz", Some(bytes.len() as u64));
    for mut piece in bytes.chunks(7) {
        while !piece.is_empty() {
            let Ok(used) = stream.push(piece) else { return };
            piece = &piece[used..];
            while stream.is_ready() {
                if stream.take().is_err() {
                    return;
                }
            }
        }
    }
    let _ = stream.finish();
}
