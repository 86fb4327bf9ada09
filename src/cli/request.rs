//! What a sampling command means: arguments, the models' configurations and the defaults, settled before any GPU work.

use std::ops::Range;
use std::path::Path;

use serde_json::{Value, json};

use super::args::{RunArgs, SampleArgs, UpsampleArgs};
use super::classes::{Classes, in_turn};
use super::given::Pictures;
use super::input::{self, Labeled};
use super::models::Models;
use super::output::Record;
use super::settings::UpsamplerSettings;
use super::stage::Stage;
use super::values::{file_name, given, index};
use crate::config::classes_in_turn;
use crate::device::Precision;
use crate::image::Grid;
use crate::interpolate::Interpolation;
use crate::recipe::{self, GivenFile, Recipe, Subject};
use crate::resize::Fit;
use crate::sampler::{Sampler, Settings};
use crate::{Error, Result};

/// Images per class where the built-in model is asked for nothing in particular.
const BUILT_IN_COLUMNS: u32 = 8;
/// Classes that get a row each in a grid, and a place in its parameters, at most; more would make it unreadably tall.
const MAX_ROWS: usize = 64;

/// Images to enlarge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The file.
    pub file: GivenFile,
    /// How many it holds; image k of the run is made from number k modulo this.
    pub count: u32,
}

/// A settled run.
#[derive(Debug, Clone)]
pub struct Request {
    /// One stage, or a model and its upsampler.
    pub stages: Vec<Stage>,
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
    /// The noise file, where there is one; its hash is known once it was read.
    pub noise: Option<GivenFile>,
    /// The first draws lie between those of two seeds.
    pub interpolate: Option<Interpolation>,
    /// Images that `upsample` starts from.
    pub input: Option<Input>,
    /// The pictures that are varied, edited or inverted, and their mask.
    init: Option<GivenFile>,
    mask: Option<GivenFile>,
    /// How given pictures were brought to the model's size.
    fit: Option<Fit>,
    class_names: Vec<String>,
    /// `--class` of the whole run's command, where it is not what the command would take anyway.
    class_words: Option<String>,
    /// The flags that the models' configurations, the device and the input need.
    flags: Vec<String>,
}

impl Request {
    /// Settles the arguments of `sample`, which varies `pictures` where they are given.
    ///
    /// # Errors
    /// [`Error::Options`] for what these models cannot do.
    pub fn sample(args: &SampleArgs, models: &Models, pictures: Option<&Pictures>) -> Result<Self> {
        let run = &args.run;
        let settings = run.settings(&args.settings.settings)?;
        if settings.strength.is_some() && pictures.is_none() {
            return Err(Error::Options("--strength needs a picture to begin with; give it as --init".into()));
        }
        if models.classifier.is_none()
            && models.first.config().null_class.is_none()
            && (settings.guidance.is_some() || settings.guidance_interval.is_some())
        {
            return Err(Error::Options("guidance needs a classifier; give its file as --classifier".into()));
        }
        let mut stages = vec![Stage::new(&models.first, models.classifier.as_ref(), &settings, batch(run))?];
        if let Some(pictures) = pictures {
            pictures.check(&stages[0].recipe.settings, stages[0].shape())?;
        }
        if let Some(upsampler) = &models.upsampler {
            let UpsamplerSettings { settings: own, seed_given } = &args.upsampler_settings;
            let seed = if *seed_given { own.seed } else { settings.seed.wrapping_add(1) };
            let first = models.first.config().unet.image_size;
            let low_size = upsampler.low_size([first, first, stages[0].channels])?;
            // Images of another size are enlarged by the same factor.
            let scale = upsampler.config().unet.image_size / low_size.max(1);
            let size = settings.size.map(|size| size.map(|side| side.saturating_mul(scale)));
            let own = Settings { seed, size, clip_denoised: settings.clip_denoised, ..own.clone() };
            let most = args.upsampler_batch.map(|n| n as usize).or(batch(run));
            stages.push(Stage { low_size, ..Stage::new(upsampler, None, &own, most)? });
        }
        let (classes, class_names) = models.classes()?;
        let labels = match pictures {
            Some(pictures) => models.labels(&run.class, &pictures.init.name, pictures.given.labels.as_deref())?,
            None => Classes::new(classes, &class_names, models.null_class()).select(&run.class)?,
        };
        let usual = match &run.noise {
            None if args.interpolate.is_some() => args.interpolate.map_or(0, |interpolation| interpolation.count),
            None if pictures.is_some() => index(pictures.map_or(0, Pictures::count), "pictures")?,
            Some(file) => index(input::noise_count(file)?, "a noise file")?,
            None if models.first.built_in => (labels.len() as u32).max(1).saturating_mul(BUILT_IN_COLUMNS),
            None => stages[0].batch,
        };
        let request = Self { stages, labels, class_names, interpolate: args.interpolate, ..Self::of_run(run, usual)? };
        let request = request.with_pictures(pictures);
        if let Some(wanted) = args.interpolate.filter(|interpolation| interpolation.count != request.count) {
            let (count, n) = (request.count, wanted.count);
            return Err(Error::Options(format!(
                "--interpolate {wanted} makes {n} images, not {count}; leave --count out"
            )));
        }
        Ok(request.with_class_words(&classes_in_turn(classes, models.null_class())))
    }

    /// Settles the arguments of `edit` and `invert`, whose settings are `own`.
    ///
    /// # Errors
    /// [`Error::Options`] for what these models cannot do.
    pub fn of_pictures(run: &RunArgs, own: &Settings, models: &Models, pictures: &Pictures) -> Result<Self> {
        let stage = Stage::new(&models.first, models.classifier.as_ref(), &run.settings(own)?, batch(run))?;
        // Pictures that do not fit are refused before any GPU work.
        pictures.check(&stage.recipe.settings, stage.shape())?;
        let (classes, class_names) = models.classes()?;
        let labels = models.labels(&run.class, &pictures.init.name, pictures.given.labels.as_deref())?;
        let usual = match &run.noise {
            Some(file) => index(input::noise_count(file)?, "a noise file")?,
            None => index(pictures.count(), "pictures")?,
        };
        let request = Self { stages: vec![stage], labels, class_names, ..Self::of_run(run, usual)? };
        let all = classes_in_turn(classes, models.null_class());
        Ok(request.with_pictures(Some(pictures)).with_class_words(&all))
    }

    fn with_pictures(self, pictures: Option<&Pictures>) -> Self {
        match pictures {
            None => self,
            Some(Pictures { init, mask, fit, .. }) => {
                Self { init: Some(init.clone()), mask: mask.clone(), fit: *fit, ..self }
            }
        }
    }

    /// Settles the arguments of `upsample` for the images in `input`.
    ///
    /// # Errors
    /// [`Error::Options`] for what this model cannot do.
    pub fn upsample(args: &UpsampleArgs, models: &Models, input: &Labeled) -> Result<Self> {
        let (run, upsampler, images) = (&args.run, &models.first, &input.images);
        let mut stage = Stage::new(upsampler, None, &run.settings(&args.settings.settings)?, batch(run))?;
        let shape = [images.height(), images.width(), images.channels()];
        let path = args.input().unwrap_or(Path::new(""));
        input.check_grid(&file_name(path), [upsampler.config().low_size(); 2])?;
        stage.low_size = upsampler.low_size(shape)?;
        let file = given(&run.expect, "input", path, GivenFile::of(&file_name(path), images))?;
        let count = index(images.count(), "an input")?;
        let (classes, class_names) = models.classes()?;
        let labels = models.labels(&run.class, &file.name, input.labels.as_deref())?;
        let rest = count.saturating_sub(run.first);
        let request = Self::of_run(run, if rest == 0 { count } else { rest })?;
        let input = Some(Input { file, count });
        let request = Self { stages: vec![stage], labels, class_names, input, fit: args.fit, ..request };
        let all = classes_in_turn(classes, models.null_class());
        Ok(if run.class.is_empty() { request } else { request.with_class_words(&all) })
    }

    /// What is the same for every command; `usual` is the number of images where the arguments give none.
    fn of_run(run: &RunArgs, usual: u32) -> Result<Self> {
        let flags = &run.flags;
        let count = match run.count.map(|n| n as usize).or(flags.num_samples) {
            Some(n) => index(n, "a run")?,
            None => usual,
        };
        let end = run.first.checked_add(count).ok_or_else(|| {
            Error::Options(format!("images {} to {} + {count}: indices end at {}", run.first, run.first, u32::MAX))
        })?;
        let part = run.shard.map_or(0..count, |shard| shard.range(count));
        let indices = run.first + part.start..run.first + part.end;
        if count == 0 || indices.is_empty() {
            return Err(Error::Options(match run.shard {
                Some(shard) if count > 0 => {
                    format!("shard {}/{} of {count} images is empty; use fewer shards", shard.index, shard.of)
                }
                _ => "no image was asked for; --count must be at least 1".into(),
            }));
        }
        debug_assert!(indices.end <= end, "a shard lies within the run");
        let precision = match run.device.precision {
            Some(precision) => precision,
            None if flags.use_fp16 == Some(true) => Precision::F16Weights,
            None => Precision::F32,
        };
        let tensor_cores = run.device.tensor_cores.then(|| "--tensor-cores".to_owned());
        Ok(Self {
            stages: Vec::new(),
            precision,
            labels: Vec::new(),
            indices,
            first: run.first,
            count,
            noise: run.noise.as_deref().map(|path| GivenFile::unnamed(&file_name(path))),
            interpolate: None,
            input: None,
            init: None,
            mask: None,
            fit: None,
            class_names: Vec::new(),
            class_words: None,
            flags: flags.arguments().into_iter().chain(tensor_cores).collect(),
        })
    }

    /// Notes the `--class` that chooses these labels; `all` are those of none.
    fn with_class_words(mut self, all: &[u32]) -> Self {
        let all = self.labels == all;
        let words: Vec<String> = self.labels.iter().map(u32::to_string).collect();
        // Upsampling takes the input's own classes where none are given.
        self.class_words =
            (!words.is_empty() && (!all || self.input.is_some() || self.init.is_some())).then(|| words.join(","));
        self
    }

    /// The run of the first stage alone.
    pub fn first_stage(&self) -> Self {
        Self { stages: self.stages.iter().take(1).cloned().collect(), ..self.clone() }
    }

    /// Images at a time in a stage: as many runs as its batch needs, with the least padding.
    pub fn batch(&self, stage: &Stage) -> u32 {
        balanced(self.indices.len() as u32, stage.batch)
    }

    /// What made the images.
    fn recipe(&self) -> Recipe {
        Recipe {
            stages: self.stages.iter().map(|stage| stage.recipe.clone()).collect(),
            precision: self.precision,
            input: self.input.as_ref().map(|input| input.file.clone()),
            noise: self.noise.clone(),
            interpolate: self.interpolate,
            init: self.init.clone(),
            mask: self.mask.clone(),
            fit: self.fit,
            flags: self.flags.clone(),
        }
    }

    /// The command that samples back from an inversion's `noise`, its model's file being `model`.
    pub fn back(&self, model: &str, noise: &Path) -> String {
        let noise = Some(GivenFile::unnamed(&noise.display().to_string()));
        let mut recipe = Recipe { init: None, fit: None, noise, ..self.recipe() };
        for stage in &mut recipe.stages {
            stage.settings.sampler = Some(Sampler::ddim());
            if !stage.built_in {
                stage.model = model.into();
            }
        }
        let count = self.indices.len() as u32;
        recipe::line(&recipe.command_for(self.class_words.as_deref(), self.indices.start, count))
    }

    /// The class of image `index`, where the model has classes.
    pub fn label(&self, index: u32) -> Option<u32> {
        in_turn(&self.labels, index)
    }

    /// A class's name, or its number.
    pub fn class(&self, label: u32) -> String {
        Classes::new(self.class_names.len(), &self.class_names, None).name(label)
    }

    /// The run's parameters, as files and reports hold them.
    pub fn parameters(&self) -> Value {
        self.recipe().parameters()
    }

    /// Whether the first draws are given for the whole run, so that only the whole run makes an image of it again.
    fn draws_belong_to_the_run(&self) -> bool {
        self.noise.is_some() || self.interpolate.is_some()
    }

    /// What is said about image `index`.
    pub fn record(&self, index: u32) -> Record {
        let label = self.label(index);
        let class = label.filter(|_| !self.class_names.is_empty()).map(|label| self.class(label));
        let (recipe, subject) = (self.recipe(), Subject { index, label, class: class.as_deref() });
        let texts = match self.draws_belong_to_the_run() {
            false => recipe.texts_of(&subject),
            true => {
                let word = label.map(|label| label.to_string());
                let command = recipe.command_for(word.as_deref(), self.first, self.count);
                recipe::texts(&recipe.parameters_of(&subject), &command)
            }
        };
        Record { index: u64::from(index), label, class: class.unwrap_or_default(), texts }
    }

    /// What is said about a grid of all images.
    pub fn texts(&self) -> Vec<(String, String)> {
        let recipe = self.recipe();
        let mut parameters = recipe.parameters();
        parameters["first"] = json!(self.indices.start);
        parameters["count"] = json!(self.indices.len());
        if (1..=MAX_ROWS).contains(&self.labels.len()) {
            parameters["labels"] = json!(self.labels);
        }
        let (first, count) = match self.draws_belong_to_the_run() {
            true => (self.first, self.count),
            false => (self.indices.start, self.indices.len() as u32),
        };
        recipe::texts(&parameters, &recipe.command_for(self.class_words.as_deref(), first, count))
    }

    /// One row per class where that gives a full grid, else nearly a square.
    pub fn grid(&self) -> Grid {
        // An input has one label per image, not one per row.
        let classes = if self.input.is_none() && self.init.is_none() { self.labels.len() } else { 0 };
        let (count, gap) = (self.indices.len(), 2);
        if (2..=MAX_ROWS).contains(&classes) && count.is_multiple_of(classes) {
            return Grid { rows: classes, columns: count / classes, by_column: true, gap };
        }
        let columns = (count as f64).sqrt().ceil().max(1.0) as usize;
        Grid { rows: count.div_ceil(columns), columns, by_column: false, gap }
    }
}

/// Images at a time that were asked for.
fn batch(run: &RunArgs) -> Option<usize> {
    run.batch.map(|n| n as usize).or(run.flags.batch_size)
}

/// The batch that makes `count` images in as few runs as `most` at a time would, with the least padding.
fn balanced(count: u32, most: u32) -> u32 {
    count.div_ceil(count.div_ceil(most.max(1)).max(1))
}
