//! .npy arrays and .npz archives: as images to enlarge and as noise. The format is known by the name, so that each input is
//! read as both.
#![no_main]

use guided_diffusion_fuzz::npy::Header;
use guided_diffusion_fuzz::{bounded, check, input};

fn seeds() {
    check(&["seeds/array"], &["npy", "npz"], |path, bytes| match path.file_stem().and_then(|name| name.to_str()) {
        // Of these only headers are read: they are no images.
        Some("fortran" | "i8") => Header::read(&mut &bytes[..]).is_ok(),
        _ => input::images(path).is_ok(),
    });
}

libfuzzer_sys::fuzz_target!(init: seeds(), |data: &[u8]| {
    let folder = std::path::Path::new("/dev/shm");
    bounded(data.len(), 64, || Header::read(&mut &data[..]).is_ok());
    for extension in ["npy", "npz"] {
        let path = folder.join(format!("guided-diffusion-fuzz-{}.{extension}", std::process::id()));
        std::fs::write(&path, data).unwrap();
        // Deflate packs a thousand bytes into one, and 8 bits become floats, which are held twice.
        let multiple = if extension == "npz" { 16 * 1024 } else { 64 };
        bounded(data.len(), multiple, || {
            if let Ok(found) = input::images(&path) {
                assert_eq!(found.labels.map_or(found.images.count(), |labels| labels.len()), found.images.count());
                assert!(found.images.data().iter().all(|value| value.is_finite()));
            }
        });
        bounded(data.len(), multiple, || input::noise(&path, [1, 1, 2, 2]).is_ok());
        bounded(data.len(), multiple, || input::noise_count(&path).is_ok());
        std::fs::remove_file(&path).unwrap();
    }
});
