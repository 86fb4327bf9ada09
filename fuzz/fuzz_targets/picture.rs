//! PNGs: pixels and the texts that say how an image was made, as files hold them and as the text alone.
#![no_main]

use guided_diffusion_fuzz::recipe::{self, Recipe};
use guided_diffusion_fuzz::{bounded, png};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // Deflate packs a thousand bytes into one; the pixels are held three times, and so are texts.
    bounded(data.len(), 16 * 1024, || {
        if let Ok((picture, texts)) = png::read(std::io::Cursor::new(data)) {
            assert_eq!(picture.bytes.len(), picture.height * picture.width * picture.channels);
            texts.iter().for_each(|(_, text)| recipe(text));
        }
    });
    if let Ok(text) = std::str::from_utf8(data) {
        recipe(text);
    }
});

/// What the page and an upsampler do with a recipe.
fn recipe(text: &str) {
    if let Ok(recipe) = serde_json::from_str::<Recipe>(text) {
        let _ = recipe::texts(&recipe.parameters(), &recipe.command_for(Some("3"), 1, 2));
    }
}
