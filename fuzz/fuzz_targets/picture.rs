//! JPEGs, and PNGs: pixels and the texts that say how an image was made, as files hold them and as the text alone.
#![no_main]

use guided_diffusion_fuzz::recipe::{self, Recipe};
use guided_diffusion_fuzz::{bounded, check, input, png};

fn seeds() {
    check(&["seeds/picture"], &["png", "jpg", "json"], |path, bytes| {
        let texts = png::read(std::io::Cursor::new(bytes)).map(|(_, texts)| texts).unwrap_or_default();
        match path.file_name().and_then(|name| name.to_str()) {
            Some("recipe.json") => serde_json::from_slice::<Recipe>(bytes).is_ok(),
            Some("recipe.png") => texts.iter().any(|(keyword, _)| keyword == recipe::KEYWORD),
            _ => input::images(path).is_ok(),
        }
    });
}

libfuzzer_sys::fuzz_target!(init: seeds(), |data: &[u8]| {
    // Deflate packs a thousand bytes into one, and a bit of a palette becomes four bytes, of which three are copied.
    bounded(data.len(), 64 * 1024, || {
        if let Ok((picture, texts)) = png::read(std::io::Cursor::new(data)) {
            assert_eq!(picture.bytes.len(), picture.height * picture.width * picture.channels);
            texts.iter().for_each(|(_, text)| recipe(text));
        }
    });
    // A bit of a JPEG may be a block of 64 pixels, whose coefficients and floats take 33 bytes each.
    if data.starts_with(&[0xff, 0xd8]) {
        let path = std::path::PathBuf::from(format!("/dev/shm/guided-diffusion-fuzz-{}.jpg", std::process::id()));
        std::fs::write(&path, data).unwrap();
        bounded(data.len(), 32 * 1024, || input::images(&path).is_ok());
        std::fs::remove_file(&path).unwrap();
    }
    if let Ok(text) = std::str::from_utf8(data) {
        bounded(data.len(), 256, || recipe(text));
    }
});

/// What the page and an upsampler do with a recipe.
fn recipe(text: &str) {
    if let Ok(recipe) = serde_json::from_str::<Recipe>(text) {
        let _ = recipe::texts(&recipe.parameters(), &recipe.command_for(Some("3"), 1, 2));
    }
}
