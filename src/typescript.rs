//! The browser package's types of the settings, written from the Rust types: web/package/src/generated/settings.ts. The test
//! fails where the file is not what the types say; `UPDATE_TYPES=1 cargo test --release --lib typescript` writes it.

use std::fmt::Write;

use serde_json::json;
use ts_rs::{Config, TS};

use crate::config::{DiffusionConfig, ProcessKind, presets};
use crate::sampler::registry::Kind;
use crate::sampler::{Degradation, Facts, Sampler, Settings};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/web/package/src/generated/settings.ts");

fn text() -> String {
    let mut out =
        String::from("/** How to sample. Written from the Rust types by src/typescript.rs; not to be edited. */\n\n");
    out += "/** The samplers: name, what it is, the processes that it samples from, how many steps it makes of each by default, and the settings of `Settings` that it takes and not all do. */\n";
    out += "export const samplers = [\n";
    for entry in Sampler::all().filter(|sampler| sampler.is_free()).map(Sampler::entry) {
        let (name, summary) = (json!(entry.name), json!(entry.summary));
        let (kinds, options) = (json!(entry.kinds), json!(entry.options));
        let steps: Vec<String> = entry.kinds.iter().map(|kind| usual_steps(entry.name, *kind)).collect();
        let steps = steps.join(", ");
        writeln!(
            out,
            "  {{ name: {name}, summary: {summary}, kinds: {kinds}, steps: {{ {steps} }}, options: {options} }},"
        )
        .expect("a string");
    }
    out += "] as const;\n\nexport type SamplerName = (typeof samplers)[number]['name'];\n\n";
    let given: Vec<String> =
        Sampler::all().filter(|sampler| !sampler.is_free()).map(|sampler| json!(sampler.name()).to_string()).collect();
    out += "/** Samplers that only begin with a given picture: two that edit it, and one that takes it to noise. */\n";
    out += &format!("export type EditorName = {};\n\n", given.join(" | "));
    let config = Config::default();
    out += "/** What is known of the picture that an edit is given. */\n";
    out += &format!("export {}\n\n", Degradation::decl(&config));
    out += "/** How to sample; what is left out takes the model's default. */\n";
    out + "export " + &Settings::decl(&config) + "\n"
}

/// What the settings' own defaults are for a model of 1000 steps, or of noise levels, as a property of an object.
fn usual_steps(sampler: &str, kind: Kind) -> String {
    let mut config = presets::by_name("64x64_diffusion").expect("a public file").config();
    match kind {
        Kind::Discrete => {}
        Kind::Edm => config.diffusion = DiffusionConfig::of_noise_levels(ProcessKind::Edm),
        Kind::Consistency => config.diffusion = DiffusionConfig::of_noise_levels(ProcessKind::Consistency),
    }
    let settings = Settings { sampler: Some(sampler.parse().expect("its name")), ..Settings::default() };
    let steps = settings.resolve(&Facts::new(&config, false)).expect("its defaults").steps.expect("settled");
    format!("{}: {}", config.diffusion.process.as_str(), steps.count())
}

#[test]
fn the_packages_types_are_fresh() {
    let wanted = text();
    if std::env::var_os("UPDATE_TYPES").is_some() {
        std::fs::create_dir_all(std::path::Path::new(FILE).parent().expect("a folder")).expect("created");
        std::fs::write(FILE, &wanted).expect("written");
    }
    let have = std::fs::read_to_string(FILE).unwrap_or_default();
    assert_eq!(
        have, wanted,
        "web/package/src/generated/settings.ts is not fresh; src/typescript.rs says how to write it"
    );
}
