//! Texts: the public scripts' flags, tuning caches, the package's requests, settings of samplers.
#![no_main]

use guided_diffusion_fuzz::config::Flags;
use guided_diffusion_fuzz::plan::tuning::TuningCache;
use guided_diffusion_fuzz::request::{BatchRequest, LoadRequest, parse};
use guided_diffusion_fuzz::sampler::Respacing;
use guided_diffusion_fuzz::sampler::settings::Settings;
use guided_diffusion_fuzz::{bounded, check};

fn seeds() {
    check(&["seeds/text"], &["json", "txt"], |path, bytes| {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        match path.file_stem().and_then(|name| name.to_str()) {
            Some("batch") => parse::<BatchRequest>(text).is_ok(),
            Some("flags") => text.parse::<Flags>().is_ok(),
            Some("load") => parse::<LoadRequest>(text).is_ok(),
            Some("settings") => serde_json::from_str::<Settings>(text).is_ok(),
            Some("tuning") => matches!(TuningCache::parse(bytes, "a device"), Ok(Some(_))),
            _ => false,
        }
    });
}

libfuzzer_sys::fuzz_target!(init: seeds(), |data: &[u8]| {
    bounded(data.len(), 256, || {
        let device = "a device";
        if let Ok(Some(found)) = TuningCache::parse(data, device) {
            let again = TuningCache::parse(found.to_json(device).as_bytes(), device);
            assert_eq!(again, Ok(Some(found)));
        }
        let Ok(text) = std::str::from_utf8(data) else { return };
        if let Ok(flags) = text.parse::<Flags>() {
            let again = flags.arguments().join(" ").parse::<Flags>();
            assert!(again.is_ok() || text.contains(['\'', '"', '\\']), "{:?}", flags.arguments());
        }
        let _ = text.parse::<Respacing>();
        let _ = parse::<LoadRequest>(text);
        let _ = parse::<BatchRequest>(text);
        let _ = serde_json::from_str::<Settings>(text);
    });
});
