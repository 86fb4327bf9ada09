//! safetensors files: as they come, as a header before zeros, and as configuration metadata.
#![no_main]

use guided_diffusion_fuzz::checkpoint::{Header, Stream};
use guided_diffusion_fuzz::config::ModelConfig;
use guided_diffusion_fuzz::{bounded, use_file};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bounded(data.len(), 64, || use_file(data.to_vec()));
    // The length field is a hurdle for mutations; supply it, and data for tensors to lie in.
    let framed = |zeros: usize| [&(data.len() as u64).to_le_bytes()[..], data, &vec![0; zeros]].concat();
    use_file(framed(0));
    use_file(framed(16));
    let _ = Header::parse("fuzz", &framed(0), u64::MAX);
    stream(&framed(16));
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = ModelConfig::from_metadata(text);
    }
});

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
