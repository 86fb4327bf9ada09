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
    use_file(framed(data, 0));
    use_file(framed(data, 16));
    let _ = Header::parse("fuzz", &framed(data, 0), u64::MAX);
    stream(&framed(data, 16));
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = ModelConfig::from_metadata(text);
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
