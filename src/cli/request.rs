//! What a sampling command means: arguments, the model's configuration and the defaults, settled before any GPU work.

use std::ops::Range;
use std::path::Path;

use serde_json::{Value, json};

use super::args::{SampleArgs, Sampler};
use super::classes::Classes;
use super::output::Record;
use super::{PARAMETERS, input};
use crate::config::{ModelConfig, Role};
use crate::image::Grid;
use crate::plan::Precision;
use crate::sampler::respace::Respacing;
use crate::sampler::schedule::{Method, Schedule};
use crate::{Error, Result};

/// Images a class where the built-in model is asked for nothing in particular.
const BUILT_IN_COLUMNS: u32 = 8;
/// Images at a time that keep a GPU busy: sixteen of 32x32, or as many pixels of another size.
const BATCH_PIXELS: usize = 16 * 32 * 32;
/// Classes that a grid gives a row each; more would be a tower.
const MAX_ROWS: usize = 64;

/// A settled run.
#[derive(Debug, Clone)]
pub struct Request {
    /// The model as messages and files name it.
    pub model: String,
    /// How to step.
    pub method: Method,
    /// Which steps.
    pub respacing: Respacing,
    /// How many those are.
    pub steps: usize,
    /// Seed of all noise.
    pub seed: u64,
    /// Clip the predicted image at each step.
    pub clip: bool,
    /// How weights are stored.
    pub precision: Precision,
    /// Classes to take in turn, or empty.
    pub labels: Vec<u32>,
    /// Indices of the images to make, in the whole run.
    pub indices: Range<u32>,
    /// Index of the whole run's first image.
    pub first: u32,
    /// Images of the whole run.
    pub count: u32,
    /// Images at a time.
    pub batch: u32,
    /// The noise file's name, where there is one.
    pub noise: Option<String>,
    class_names: Vec<String>,
    /// Arguments that make these images again, but for the ones that choose images and outputs.
    command: Vec<String>,
}

impl Request {
    /// Settles `args` for a model.
    ///
    /// # Errors
    /// [`Error::Options`] for what this model cannot do.
    pub fn new(args: &SampleArgs, model: &str, config: &ModelConfig) -> Result<Self> {
        let flags = &args.flags;
        match config.role {
            Role::Diffusion => {}
            Role::Upsampler => {
                return Err(Error::Options(format!(
                    "{model} is an upsampler: it enlarges images and makes none by itself"
                )));
            }
            Role::Classifier => {
                return Err(Error::Options(format!("{model} is a classifier: it judges images and makes none")));
            }
        }
        let built_in = args.model().is_none();
        let asked = args.sampler.or(flags.use_ddim.map(|ddim| if ddim { Sampler::Ddim } else { Sampler::Ancestral }));
        let spec = args.steps.as_deref().or(flags.timestep_respacing.as_deref());
        let (sampler, respacing) = Sampler::resolve(asked, spec, built_in, config.diffusion.diffusion_steps)?;
        let method = match (sampler, args.eta) {
            (Sampler::Ddim, eta) => Method::Ddim { eta: eta.unwrap_or(0.0) },
            (Sampler::Ancestral, None) => Method::Ancestral,
            (Sampler::Ancestral, Some(_)) => {
                return Err(Error::Options("--eta belongs to the DDIM sampler; add --sampler ddim".into()));
            }
        };
        let clip = !args.no_clip && flags.clip_denoised != Some(false);
        let schedule = Schedule::new(&config.diffusion, &respacing)?;
        // Refuses an impossible eta here, before anything is opened.
        schedule.steps(method, clip)?;

        let labels = Classes { count: config.classes(), names: &config.class_names }.select(&args.class)?;
        let size = config.unet.image_size.max(1);
        let usual = (BATCH_PIXELS / size.saturating_mul(size)).clamp(1, 16) as u32;
        let batch = match args.batch.map(|n| n as usize).or(flags.batch_size) {
            None => usual,
            Some(n) => small(n, "a batch").and_then(|n| match n {
                1..=4096 => Ok(n),
                _ => Err(Error::Options(format!("a batch of {n} images; give 1 to 4096"))),
            })?,
        };
        let count = match (args.count.map(|n| n as usize).or(flags.num_samples), &args.noise) {
            (Some(n), _) => small(n, "a run")?,
            (None, Some(file)) => small(input::noise_count(file)?, "a noise file")?,
            (None, None) if built_in => (labels.len() as u32).max(1).saturating_mul(BUILT_IN_COLUMNS),
            (None, None) => batch,
        };
        let end = args.first.checked_add(count).ok_or_else(|| {
            Error::Options(format!("images {} to {} + {count}: indices end at {}", args.first, args.first, u32::MAX))
        })?;
        let part = args.shard.map_or(0..count, |shard| shard.range(count));
        let indices = args.first + part.start..args.first + part.end;
        if count == 0 || indices.is_empty() {
            return Err(Error::Options(match args.shard {
                Some(shard) if count > 0 => {
                    format!("shard {}/{} of {count} images is empty; use fewer shards", shard.index, shard.of)
                }
                _ => "no image was asked for; --count must be at least 1".into(),
            }));
        }
        debug_assert!(indices.end <= end, "a shard lies within the run");
        let precision = match args.device.precision {
            Some(precision) => precision.into(),
            None if flags.use_fp16 == Some(true) => Precision::F16Weights,
            None => Precision::F32,
        };
        let mut request = Self {
            model: model.into(),
            method,
            steps: schedule.len(),
            respacing,
            seed: args.seed,
            clip,
            precision,
            batch: balanced(indices.len() as u32, batch),
            labels,
            indices,
            first: args.first,
            count,
            noise: args.noise.as_deref().map(file_name),
            class_names: config.class_names.clone(),
            command: Vec::new(),
        };
        request.command = request.arguments(args.model());
        Ok(request)
    }

    fn arguments(&self, model: Option<&Path>) -> Vec<String> {
        let mut out: Vec<String> = ["guided-diffusion", "sample"].map(String::from).to_vec();
        let mut add = |name: &str, value: String| out.extend([name.to_string(), value]);
        if let Some(path) = model {
            add("--model", file_name(path));
        }
        match self.method {
            Method::Ancestral => add("--sampler", "ancestral".into()),
            Method::Ddim { eta } => {
                add("--sampler", "ddim".into());
                if eta != 0.0 {
                    add("--eta", eta.to_string());
                }
            }
        }
        add("--steps", self.respacing.to_string());
        add("--seed", self.seed.to_string());
        if self.precision == Precision::F16Weights {
            add("--precision", "f16-weights".into());
        }
        if let Some(noise) = &self.noise {
            add("--noise", noise.clone());
        }
        if !self.clip {
            out.push("--no-clip".into());
        }
        out
    }

    /// The class of image `index`, where the model has classes.
    pub fn label(&self, index: u32) -> Option<u32> {
        let at = (index as usize).checked_rem(self.labels.len())?;
        self.labels.get(at).copied()
    }

    /// A class's name, or its number.
    pub fn class(&self, label: u32) -> String {
        Classes { count: self.class_names.len(), names: &self.class_names }.name(label)
    }

    /// The run's parameters, as files and reports hold them.
    pub fn parameters(&self) -> Value {
        let mut out = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "model": self.model,
            "sampler": match self.method { Method::Ancestral => "ancestral", Method::Ddim { .. } => "ddim" },
            "steps": self.respacing.to_string(),
            "seed": self.seed,
            "clip_denoised": self.clip,
            "precision": match self.precision { Precision::F32 => "f32", Precision::F16Weights => "f16-weights" },
        });
        if let Method::Ddim { eta } = self.method {
            out["eta"] = json!(eta);
        }
        if let Some(noise) = &self.noise {
            out["noise"] = json!(noise);
        }
        out
    }

    /// What is said about image `index`.
    pub fn record(&self, index: u32) -> Record {
        let label = self.label(index);
        let mut parameters = self.parameters();
        parameters["index"] = json!(index);
        let mut command = self.command.clone();
        if let Some(label) = label {
            parameters["label"] = json!(label);
            if !self.class_names.is_empty() {
                parameters["class"] = json!(self.class(label));
            }
            command.extend(["--class".to_string(), label.to_string()]);
        }
        // A noise file's rows belong to the whole run, so only that makes image `index` again.
        let (first, count) = if self.noise.is_some() { (self.first, self.count) } else { (index, 1) };
        command.extend(["--first".into(), first.to_string(), "--count".into(), count.to_string()]);
        Record {
            index: u64::from(index),
            label,
            class: label.filter(|_| !self.class_names.is_empty()).map(|l| self.class(l)).unwrap_or_default(),
            texts: texts(&parameters, &command),
        }
    }

    /// What is said about a grid of all images.
    pub fn texts(&self) -> Vec<(String, String)> {
        let mut parameters = self.parameters();
        parameters["first"] = json!(self.indices.start);
        parameters["count"] = json!(self.indices.len());
        let mut command = self.command.clone();
        if !self.labels.is_empty() {
            parameters["labels"] = json!(self.labels);
            let labels: Vec<String> = self.labels.iter().map(u32::to_string).collect();
            command.extend(["--class".into(), labels.join(",")]);
        }
        let (first, count) = if self.noise.is_some() {
            (self.first, self.count)
        } else {
            (self.indices.start, self.indices.len() as u32)
        };
        command.extend(["--first".into(), first.to_string(), "--count".into(), count.to_string()]);
        texts(&parameters, &command)
    }

    /// A row a class where that gives a full grid, else nearly a square.
    pub fn grid(&self) -> Grid {
        let (count, classes) = (self.indices.len(), self.labels.len());
        let gap = 2;
        if (2..=MAX_ROWS).contains(&classes) && count.is_multiple_of(classes) {
            return Grid { rows: classes, columns: count / classes, by_column: true, gap };
        }
        let columns = (count as f64).sqrt().ceil().max(1.0) as usize;
        Grid { rows: count.div_ceil(columns), columns, by_column: false, gap }
    }
}

/// The batch that makes `count` images in as few runs as `most` at a time would, with the least padding.
fn balanced(count: u32, most: u32) -> u32 {
    count.div_ceil(count.div_ceil(most.max(1)).max(1))
}

/// A count that is an image index.
fn small(n: usize, what: &str) -> Result<u32> {
    u32::try_from(n).map_err(|_| Error::Options(format!("{what} of {n} images; {} is the most", u32::MAX)))
}

fn file_name(path: &Path) -> String {
    // Without the folder: pictures are published, and paths tell about their maker.
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn texts(parameters: &Value, command: &[String]) -> Vec<(String, String)> {
    let quoted: Vec<String> = command.iter().map(|word| quote(word)).collect();
    vec![
        ("Software".into(), concat!("guided-diffusion ", env!("CARGO_PKG_VERSION")).into()),
        (PARAMETERS.into(), parameters.to_string()),
        ("Comment".into(), quoted.join(" ")),
    ]
}

/// A word as a POSIX shell takes it.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,=+:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Command};
    use crate::cli::open_model;
    use clap::Parser;

    fn request(line: &str) -> Result<Request> {
        let words = ["guided-diffusion", "sample"].into_iter().chain(line.split_whitespace());
        let Command::Sample(args) = Cli::try_parse_from(words).expect(line).command else { panic!("{line}") };
        let (_, found) = open_model(None, &args.flags).expect("the built-in model");
        Request::new(&args, "fashion32", &found.config)
    }

    fn message(line: &str) -> String {
        match request(line) {
            Err(Error::Options(message)) => message,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_built_in_defaults() {
        let r = request("").expect("the defaults");
        assert_eq!((r.count, r.batch, r.steps, r.method), (80, 16, 25, Method::Ddim { eta: 0.0 }));
        assert_eq!(r.grid(), Grid { rows: 10, columns: 8, by_column: true, gap: 2 });
        assert_eq!((r.label(0), r.label(9), r.label(10)), (Some(0), Some(9), Some(0)));
    }

    #[test]
    fn batches_are_balanced() {
        for (count, most, batch) in [(80, 16, 16), (17, 16, 9), (5, 16, 5), (1, 1, 1), (33, 16, 11)] {
            assert_eq!(request(&format!("--count {count} --batch {most}")).expect("possible").batch, batch);
        }
    }

    #[test]
    fn shards_and_first_choose_indices() {
        let all = request("--count 10").expect("ten");
        let parts: Vec<u32> =
            (0..3).flat_map(|i| request(&format!("--count 10 --shard {i}/3")).expect("a part").indices).collect();
        assert_eq!(parts, all.indices.collect::<Vec<_>>());
        assert_eq!(request("--first 7 --count 2").expect("two").indices, 7..9);
        assert!(message("--first 4294967295 --count 2").contains("indices end"));
        assert!(message("--count 1 --shard 0/2").contains("empty"));
    }

    #[test]
    fn a_record_makes_its_image_again() {
        let r = request("--class 3,9 --count 4 --steps 50 --seed 5 --no-clip").expect("four");
        let record = r.record(3);
        let of =
            |keyword: &str| record.texts.iter().find(|(k, _)| k == keyword).map(|(_, t)| t.clone()).expect(keyword);
        let line = of("Comment");
        let again = request(line.strip_prefix("guided-diffusion sample ").expect("a command")).expect("accepted");
        assert_eq!(again.record(3), record);
        assert_eq!((again.indices.clone(), again.label(3)), (3..4, r.label(3)));
        let parameters: Value = serde_json::from_str(&of(PARAMETERS)).expect("JSON");
        assert_eq!((&parameters["label"], &parameters["index"]), (&json!(9), &json!(3)));
        let whole = r.texts().into_iter().find(|(k, _)| k == "Comment").expect("a command").1;
        let whole = request(whole.strip_prefix("guided-diffusion sample ").expect("a command")).expect("accepted");
        assert_eq!(whole.texts(), r.texts());
    }

    #[test]
    fn the_public_scripts_flags_mean_the_same() {
        let line = "--batch_size 4 --num_samples 100 --timestep_respacing ddim25 --use_ddim True --clip_denoised False";
        let r = request(line).expect("accepted");
        assert_eq!((r.batch, r.count, r.clip), (4, 100, false));
        assert_eq!((r.method, r.respacing), (Method::Ddim { eta: 0.0 }, Respacing::Ddim(25)));
    }

    #[test]
    fn impossible_requests() {
        assert!(message("--eta 0.5 --sampler ancestral").contains("--sampler ddim"));
        assert!(message("--eta 2").contains("between 0"));
        assert!(message("--steps 1001").contains("at most 1000"));
        assert!(message("--steps ddim60").contains("ddim59"));
        assert!(message("--class boots").contains("Ankle boot") || message("--class boots").contains("no names"));
        assert!(message("--batch_size 0").contains("1 to 4096"));
        assert!(message("--num_samples 0").contains("at least 1"));
        assert!(message("--num_samples 99999999999").contains("the most"));
    }

    #[test]
    fn words_for_a_shell() {
        assert_eq!(
            (quote("a-b,1"), quote("a b"), quote("it's")),
            ("a-b,1".into(), "'a b'".into(), r"'it'\''s'".into())
        );
    }
}
