//! Any bytes as a checkpoint (safetensors or .pt): parsed, configured, and every tensor read.
#![no_main]

use guided_diffusion::checkpoint::Checkpoint;
use guided_diffusion::config::Overrides;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(checkpoint) = Checkpoint::from_bytes("fuzz", data.to_vec()) else { return };
    let _ = checkpoint.config(&Overrides::default());
    for (name, info) in &checkpoint.header().tensors {
        // A tensor may repeat its storage by strides of 0; what that takes in memory is the caller's choice.
        if info.byte_len() <= 1 << 20 {
            let _ = checkpoint.tensor_f32(name);
        }
    }
});
