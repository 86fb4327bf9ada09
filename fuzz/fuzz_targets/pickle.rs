//! .pt files: as they come (zip and legacy), and as the pickle inside a well-formed zip file.
#![no_main]

use guided_diffusion_fuzz::{bounded, use_file, zip};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bounded(data.len(), 64, || use_file(data.to_vec()));
    bounded(data.len(), 64, || use_file(zip(&[("m/data.pkl", data), ("m/data/0", &[0; 96]), ("m/data/1", &[0; 14])])));
});
