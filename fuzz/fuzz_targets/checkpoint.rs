//! safetensors files: as they come, as a header before zeros, and as configuration metadata.
#![no_main]

use guided_diffusion_fuzz::checkpoint::Header;
use guided_diffusion_fuzz::config::ModelConfig;
use guided_diffusion_fuzz::use_file;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    use_file(data.to_vec());
    // The length field is a hurdle for mutations; supply it, and data for tensors to lie in.
    let framed = |zeros: usize| [&(data.len() as u64).to_le_bytes()[..], data, &vec![0; zeros]].concat();
    use_file(framed(0));
    use_file(framed(16));
    let _ = Header::parse("fuzz", &framed(0), u64::MAX);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = ModelConfig::from_metadata(text);
    }
});
