//! .pt files: as they come (zip and legacy), and as the pickle inside a well-formed zip file.
#![no_main]

use guided_diffusion_fuzz::checkpoint::Checkpoint;
use guided_diffusion_fuzz::{bounded, check, use_file, zip};

fn seeds() {
    // What these hold is refused: a module, a lone tensor, other types, several state dicts.
    let refused = ["module", "tensor", "double", "integers", "training", "training_averages", "training_legacy"];
    check(&["../tests/fixtures/pt"], &["pt"], |path, _| {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        Checkpoint::open(path).is_ok() != refused.contains(&name)
    });
    check(&["seeds/pickle"], &["pkl"], |_, bytes| {
        Checkpoint::from_bytes("seed", zip(&[("m/data.pkl", bytes), ("m/data/0", &[0; 96]), ("m/data/1", &[0; 14])]))
            .is_ok()
    });
}

libfuzzer_sys::fuzz_target!(init: seeds(), |data: &[u8]| {
    bounded(data.len(), 64, || use_file(data.to_vec()));
    bounded(data.len(), 64, || use_file(zip(&[("m/data.pkl", data), ("m/data/0", &[0; 96]), ("m/data/1", &[0; 14])])));
});
