//! What made an image: the names under which files, reports and pages record it, and the command that makes it again.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Error;
use crate::arguments::{self, command};
use crate::device::Precision;
use crate::image::Images;
use crate::interpolate::Interpolation;
use crate::resize::Fit;
use crate::sampler::Settings;
use crate::shader::fnv1a;

/// Keyword of the PNG text that holds an image's parameters as JSON.
pub const KEYWORD: &str = "guided-diffusion";

/// One model's part. A stack has two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageRecipe {
    /// The model as messages and files name it.
    pub model: String,
    /// The program's built-in model, which a command does not name.
    pub built_in: bool,
    /// How it samples, all defaults filled in.
    pub settings: Settings,
    /// The guidance classifier as messages and files name it.
    pub classifier: Option<String>,
}

/// A file that images are made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenFile {
    /// Its name.
    pub name: String,
    /// A hash of the values in it, in hexadecimal digits, whatever the form of the file; empty where they came without one.
    pub hash: String,
}

impl GivenFile {
    /// Values that a program gave.
    pub fn unnamed(name: &str) -> Self {
        Self { name: name.into(), hash: String::new() }
    }

    /// A file of pictures. Grey ones have the hash of one channel, also where the file, or a page, has three equal ones.
    pub fn of(name: &str, images: &Images) -> Self {
        let mut pixels = images.data().chunks_exact(3);
        if images.channels() == 3 && pixels.all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]) {
            return Self::new(name, &images.data().iter().step_by(3).copied().collect::<Vec<_>>());
        }
        Self::new(name, images.data())
    }

    /// A file of that name with these values.
    pub fn new(name: &str, values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name: name.into(), hash: format!("{:016x}", fnv1a([bytes.as_slice()])) }
    }
}

/// All stages, and what they have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// One stage, or a model and its upsampler.
    pub stages: Vec<StageRecipe>,
    /// How weights are stored.
    pub precision: Precision,
    /// Images to enlarge.
    pub input: Option<GivenFile>,
    /// The first draws.
    pub noise: Option<GivenFile>,
    /// Its first draws lie between those of two seeds.
    #[serde(default)]
    pub interpolate: Option<Interpolation>,
    /// The picture that is varied, edited or inverted.
    #[serde(default)]
    pub init: Option<GivenFile>,
    /// Its mask.
    #[serde(default)]
    pub mask: Option<GivenFile>,
    /// How given pictures were brought to the model's size.
    #[serde(default)]
    pub fit: Option<Fit>,
    /// The flags that the models' configurations need.
    pub flags: Vec<String>,
}

/// One of the images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Its index in the run.
    pub index: u32,
    /// Its class, where the model has classes.
    pub label: Option<u32>,
    /// The class's name, where it has one.
    pub class: Option<&'a str>,
}

impl StageRecipe {
    fn parameters(&self) -> Value {
        let mut out = json!({ "model": self.model });
        if let Ok(Value::Object(settings)) = serde_json::to_value(&self.settings) {
            settings.into_iter().for_each(|(name, value)| out[snake_case(&name)] = value);
        }
        // A number even above 2^53: this is a file, not JavaScript.
        out["seed"] = json!(self.settings.seed);
        if let Some(classifier) = &self.classifier {
            out["classifier"] = json!(classifier);
        }
        out
    }

    /// Its arguments of `command`, named with `prefix` ("" or "upsampler-") but for the model.
    fn arguments(&self, command: u8, prefix: &str) -> Vec<String> {
        let mut out = match (self.built_in, prefix.trim_end_matches('-')) {
            (true, _) => Vec::new(),
            (false, "") => vec!["--model".into(), self.model.clone()],
            (false, stage) => vec![format!("--{stage}"), self.model.clone()],
        };
        out.extend(arguments::of(&self.settings, command, prefix));
        if let Some(classifier) = &self.classifier {
            out.extend(["--classifier".into(), classifier.clone()]);
        }
        out
    }

    /// The error for an image with values that are not finite: possible causes, the likeliest first.
    pub fn not_finite(&self, image: u32, precision: Precision, adapter: &str) -> Error {
        let mut causes = Vec::new();
        if let Some(scale) = self.settings.guidance {
            causes.push(format!("the guidance scale {scale:?} is too large (lower the guidance)"));
        }
        if precision == Precision::F16 {
            causes.push(format!(
                "its activations exceed float16's {} (use precision f16-weights or f32)",
                half::f16::MAX
            ));
        }
        if precision.stores_f16() {
            causes.push("its weights lose too much as float16 (use precision f32)".into());
        }
        causes.push(format!("the file's weights are damaged, or the driver of {adapter} is broken"));
        Error::NotFinite(format!(
            "image {image} by {} at precision {} holds infinities or NaN: {}",
            self.model,
            precision.as_str(),
            causes.join("; or ")
        ))
    }
}

impl Recipe {
    /// The parameters as files and reports hold them: the first stage's, and the upsampler's within.
    pub fn parameters(&self) -> Value {
        let mut out = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "precision": self.precision.as_str(),
        });
        for (k, stage) in self.stages.iter().enumerate() {
            match (k, stage.parameters()) {
                (0, Value::Object(own)) => own.into_iter().for_each(|(key, value)| out[key] = value),
                (_, own) => out["upsampler"] = own,
            }
        }
        if let Some(interpolate) = &self.interpolate {
            out["interpolate"] = json!(interpolate);
        }
        for (name, GivenFile { name: file, hash }) in self.files() {
            out[name] = json!(file);
            if !hash.is_empty() {
                out[format!("{name}_hash")] = json!(hash);
            }
        }
        if let Some(fit) = self.fit {
            out["fit"] = json!(fit);
        }
        out
    }

    /// The parameters of one image.
    pub fn parameters_of(&self, subject: &Subject<'_>) -> Value {
        let mut out = self.parameters();
        out["index"] = json!(subject.index);
        if let Some(label) = subject.label {
            out["label"] = json!(label);
        }
        if let Some(class) = subject.class {
            out["class"] = json!(class);
        }
        out
    }

    /// The files that are given, by what they are.
    fn files(&self) -> impl Iterator<Item = (&'static str, &GivenFile)> {
        let all = [("input", &self.input), ("init", &self.init), ("mask", &self.mask), ("noise", &self.noise)];
        all.into_iter().filter_map(|(name, file)| Some((name, file.as_ref()?)))
    }

    /// The command that makes these images: its name and its bit of [`command`].
    fn verb(&self) -> (&'static str, u8) {
        let settings = self.stages.first().map(|stage| &stage.settings);
        match settings {
            _ if self.input.is_some() => ("upsample", command::UPSAMPLE),
            Some(settings) if self.init.is_some() && settings.edit.is_some() => ("edit", command::EDIT),
            Some(settings) if self.init.is_some() && settings.strength.is_none() => ("invert", command::INVERT),
            _ => ("sample", command::SAMPLE),
        }
    }

    /// Arguments that make these images again, but for the ones that choose images and outputs.
    pub fn command(&self) -> Vec<String> {
        let mut out: Vec<String> = vec!["guided-diffusion".into()];
        let (verb, first) = self.verb();
        out.push(verb.into());
        for (stage, (command, prefix)) in self.stages.iter().zip([(first, ""), (command::SECOND, "upsampler-")]) {
            out.extend(stage.arguments(command, prefix));
        }
        let mut add = |name: &str, value: &str| out.extend([name.to_string(), value.to_string()]);
        let mut expected = Vec::new();
        for (name, GivenFile { name: file, hash }) in self.files() {
            let name = if name == "init" && first != command::SAMPLE { "input" } else { name };
            add(&format!("--{name}"), file);
            expected.extend((!hash.is_empty()).then(|| format!("{name}={hash}")));
        }
        if !expected.is_empty() {
            add("--expect", &expected.join(","));
        }
        if let Some(fit) = self.fit {
            add("--fit", fit.as_str());
        }
        if self.precision != Precision::F32 {
            add("--precision", self.precision.as_str());
        }
        if let Some(interpolate) = &self.interpolate {
            add("--interpolate", &interpolate.to_string());
        }
        if self.stages.iter().any(|stage| !stage.settings.clips()) {
            out.push("--no-clip".into());
        }
        out.extend(self.flags.iter().cloned());
        out
    }

    /// The command that makes the images of the given choice: a class, the first index and how many.
    pub fn command_for(&self, class: Option<&str>, first: u32, count: u32) -> Vec<String> {
        let mut out = self.command();
        if let Some(class) = class {
            out.extend(["--class".into(), class.into()]);
        }
        out.extend(["--first".into(), first.to_string(), "--count".into(), count.to_string()]);
        out
    }

    /// What one image's PNG says about it, keywords and texts.
    pub fn texts_of(&self, subject: &Subject<'_>) -> Vec<(String, String)> {
        let class = subject.label.map(|label| label.to_string());
        texts(&self.parameters_of(subject), &self.command_for(class.as_deref(), subject.index, 1))
    }
}

/// A command as a line for a POSIX shell.
pub fn line(command: &[String]) -> String {
    command.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

/// What a PNG says, keywords and texts, of images with these parameters that this command makes again.
pub fn texts(parameters: &Value, command: &[String]) -> Vec<(String, String)> {
    vec![
        ("Software".into(), concat!("guided-diffusion ", env!("CARGO_PKG_VERSION")).into()),
        (KEYWORD.into(), parameters.to_string()),
        ("Comment".into(), line(command)),
    ]
}

/// A name of the settings' JSON as files spell it.
fn snake_case(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_uppercase() { format!("_{}", c.to_ascii_lowercase()) } else { c.into() };
    name.chars().map(letter).collect()
}

/// A word as a POSIX shell takes it.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,=+:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::{Respacing, Sampler};

    #[test]
    fn words_for_a_shell() {
        assert_eq!(
            (quote("a-b,1"), quote("a b"), quote("it's")),
            ("a-b,1".into(), "'a b'".into(), r"'it'\''s'".into())
        );
    }

    #[test]
    fn a_recipe_survives_as_text() {
        let settings = Settings {
            sampler: Some(Sampler::ddim()),
            steps: Some(Respacing::Sections(vec![10, 20])),
            eta: Some(0.5),
            // Beyond what a JavaScript number holds exactly.
            seed: u64::MAX,
            guidance: Some(2.5),
            guidance_interval: Some([200, 800]),
            ..Settings::default()
        };
        let stage = StageRecipe {
            model: "base.safetensors".into(),
            built_in: false,
            settings,
            classifier: Some("classifier.pt".into()),
        };
        let parameters = stage.parameters();
        assert_eq!((&parameters["guidance_interval"], &parameters["seed"]), (&json!([200, 800]), &json!(u64::MAX)));
        let recipe = Recipe {
            stages: vec![stage],
            precision: Precision::F32,
            input: None,
            noise: None,
            interpolate: None,
            init: Some(GivenFile::new("it's me.png", &[0.5])),
            mask: Some(GivenFile::unnamed("mask")),
            fit: Some(Fit::Pad),
            flags: Vec::new(),
        };
        let grey = Images::from_u8(1, 1, 2, 1, &[3, 200]).expect("a picture");
        let colours = Images::from_u8(1, 1, 2, 3, &[3, 3, 3, 200, 200, 200]).expect("a picture");
        assert_eq!(GivenFile::of("x", &grey), GivenFile::of("x", &colours), "a page knows no grey pictures");
        let text = serde_json::to_string(&recipe).expect("JSON");
        assert_eq!(serde_json::from_str::<Recipe>(&text).expect("a recipe"), recipe);
    }
}
