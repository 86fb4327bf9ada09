//! The files that a command names: opened, their configurations found, checked for their roles, before any GPU work.

use std::path::Path;

use super::args::{SampleArgs, UpsampleArgs};
use super::classes::Classes;
use super::console::note;
use super::imagenet;
use crate::checkpoint::Checkpoint;
use crate::config::{self, Flags, Inferred, ModelConfig, Role};
use crate::session::Source;
use crate::shader::fnv1a;
use crate::{Error, Result};

/// Bytes that a file's fingerprint covers of a tensor's beginning, of its middle and of its end.
const FINGERPRINTED: u64 = 256;

/// An open file and what is in it.
#[derive(Debug)]
pub struct Opened {
    /// The file.
    pub checkpoint: Checkpoint,
    /// Its configuration.
    pub found: Inferred,
    /// The built-in model, which no file holds.
    pub built_in: bool,
}

/// The models of a run: one or two that make images, the first perhaps guided.
#[derive(Debug)]
pub struct Models {
    /// The model that works from noise, or `upsample`'s upsampler.
    pub first: Opened,
    /// The classifier that guides it.
    pub classifier: Option<Opened>,
    /// The upsampler of a stack.
    pub upsampler: Option<Opened>,
}

impl Opened {
    fn open(path: Option<&Path>, flags: &Flags) -> Result<Self> {
        let (checkpoint, found) = open_model(path, flags)?;
        for remark in &found.remarks {
            note(&format!("note: {}: {remark}", checkpoint.name()));
        }
        Ok(Self { checkpoint, found, built_in: path.is_none() })
    }

    /// Its configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.found.config
    }

    /// File and configuration, as a session takes them.
    pub fn source(&self) -> Source<'_> {
        Source { checkpoint: &self.checkpoint, config: &self.found.config }
    }

    /// Distinguishes its weights from those of another file of the same name: a hash of every tensor's name, shape and some of
    /// its values, since reading all of a large file takes long. A change of few values may go unseen.
    ///
    /// # Errors
    /// A file that was cut short meanwhile.
    pub fn fingerprint(&self) -> Result<String> {
        let mut text = Vec::new();
        for (name, info) in &self.checkpoint.header().tensors {
            text.extend(format!("{name} {:?} {:?}", info.dtype, info.shape).bytes());
            text.extend(self.checkpoint.some_bytes(name, FINGERPRINTED)?);
        }
        Ok(format!("{:016x}", fnv1a([text.as_slice()])))
    }

    /// Refuses a file that cannot play `role`.
    fn expect(self, role: Role) -> Result<Self> {
        let (name, is) = (self.checkpoint.name(), self.config().role);
        let why = match (role, is) {
            _ if role == is => return Ok(self),
            (_, Role::Upsampler) => format!(
                "{name} is an upsampler: it enlarges images and makes none by itself; use `upsample`, or give it as \
                 --upsampler"
            ),
            (_, Role::Classifier) => {
                format!("{name} is a classifier, which makes no images; give it as --classifier")
            }
            (Role::Upsampler, _) => {
                format!("{name} is a diffusion model that does not enlarge images; give an upsampler")
            }
            (_, Role::Diffusion) => format!("{name} is a diffusion model, not a {role}"),
        };
        Err(Error::Options(why))
    }
}

/// Opens a checkpoint, or the built-in model.
pub fn open_file(path: Option<&Path>) -> Result<Checkpoint> {
    match path {
        Some(path) => Checkpoint::open(path),
        None => Checkpoint::from_bytes("emoji32", include_bytes!("../../models/emoji32.safetensors").to_vec()),
    }
}

/// Opens a checkpoint, or the built-in model, and finds its configuration.
pub fn open_model(path: Option<&Path>, flags: &Flags) -> Result<(Checkpoint, Inferred)> {
    let checkpoint = open_file(path)?;
    let found = checkpoint.config(flags)?;
    Ok((checkpoint, found))
}

impl Models {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Opened> {
        [Some(&self.first), self.classifier.as_ref(), self.upsampler.as_ref()].into_iter().flatten()
    }

    /// The models of `sample`.
    ///
    /// # Errors
    /// As [`Models::open`].
    pub fn of_sample(args: &SampleArgs) -> Result<Self> {
        let files = [&args.model, &args.classifier, &args.upsampler].map(Option::as_deref);
        Self::open(files, &args.run.flags)
    }

    /// The models of a run that begins with noise: the diffusion model's file (None for the built-in one), the classifier's
    /// and the upsampler's; the first two may be among the public scripts' flags instead.
    ///
    /// # Errors
    /// What opening them gives; [`Error::Options`] for files of other roles.
    pub fn open(files: [Option<&Path>; 3], flags: &Flags) -> Result<Self> {
        let [model, classifier, upsampler] = files;
        let first = Opened::open(model.or(flags.model_path.as_deref()), flags)?.expect(Role::Diffusion)?;
        let classifier = match classifier.or(flags.classifier_path.as_deref()) {
            None => None,
            Some(path) => Some(open_classifier(path, flags, first.config())?),
        };
        let upsampler = match upsampler {
            None => None,
            Some(path) => {
                // The network's flags are those of the first model, as in the public scripts.
                let own = Flags { large_size: flags.large_size, small_size: flags.small_size, ..Flags::default() };
                Some(Opened::open(Some(path), &own).map_err(advise)?.expect(Role::Upsampler)?)
            }
        };
        Ok(Self { first, classifier, upsampler })
    }

    /// The model of `upsample`.
    ///
    /// # Errors
    /// What opening it gives; [`Error::Options`] for a file of another role.
    pub fn of_upsample(args: &UpsampleArgs) -> Result<Self> {
        let flags = &args.run.flags;
        let Some(path) = args.model.as_deref().or(flags.model_path.as_deref()) else {
            return Err(Error::Options("give the upsampler's file as --model".into()));
        };
        let first = Opened::open(Some(path), flags)?.expect(Role::Upsampler)?;
        Ok(Self { first, classifier: None, upsampler: None })
    }

    /// The number of classes that a run chooses from, and their names: the first model's, else the classifier's, else
    /// the upsampler's.
    ///
    /// # Errors
    /// [`Error::Options`] where two of them know different numbers of classes.
    pub fn classes(&self) -> Result<(usize, Vec<String>)> {
        let all: Vec<&Opened> = self.all().filter(|m| m.config().classes() > 0).collect();
        // A classifier does not know the null class.
        let Some(count) = all.iter().map(|m| m.config().classes()).min() else { return Ok((0, Vec::new())) };
        let shown = all[0].config().shown_classes();
        if let Some(other) = all.iter().find(|m| m.config().shown_classes() != shown) {
            return Err(Error::Options(format!(
                "{} knows {shown} classes, {} {} classes (null classes aside): give files of the same classes",
                all[0].checkpoint.name(),
                other.checkpoint.name(),
                other.config().shown_classes(),
            )));
        }
        // Where the null class is not among them, its name is the last one and left out.
        let names = all.iter().find_map(|m| m.config().class_names.get(..count));
        let names = names.unwrap_or(imagenet::names(count)).to_vec();
        Ok((count, names))
    }

    /// The class that stands for none in particular, unless a classifier guides, which does not know it.
    pub fn null_class(&self) -> Option<u32> {
        let null = self.all().find_map(|model| model.config().null_class)?;
        self.all().all(|model| !(1..=null as usize).contains(&model.config().classes())).then_some(null)
    }

    /// The classes of given images, in turn: those that `--class` names (`words`), else the images'
    /// `own`.
    ///
    /// # Errors
    /// [`Error::Options`] for classes that the models do not know, or where they need some and the images in `name` say none.
    pub fn labels(&self, words: &[String], name: &str, own: Option<&[u32]>) -> Result<Vec<u32>> {
        let (classes, class_names) = self.classes()?;
        match own {
            _ if !words.is_empty() => Classes::new(classes, &class_names, self.null_class()).select(words),
            // They travel on to the output, though this model does not look at them.
            Some(labels) if classes == 0 => Ok(labels.to_vec()),
            Some(labels) => match labels.iter().find(|label| **label as usize >= classes) {
                None => Ok(labels.to_vec()),
                Some(label) => Err(Error::Options(format!(
                    "{name}: class {label}; this model has classes 0 to {}; give others as --class",
                    classes - 1
                ))),
            },
            None if classes == 0 => Ok(Vec::new()),
            None => match self.null_class() {
                Some(class) => {
                    let class_name = Classes::new(classes, &class_names, None).name(class);
                    note(&format!(
                        "note: {name} does not say its images' classes; {class_name:?} is taken, which stands for none in \
                         particular, and --class gives others"
                    ));
                    Ok(vec![class])
                }
                None => Err(Error::Options(format!(
                    "{name} does not say its images' classes, which this model needs; give --class, one or one per image"
                ))),
            },
        }
    }
}

/// Opens a classifier for `model`.
fn open_classifier(path: &Path, flags: &Flags, model: &ModelConfig) -> Result<Opened> {
    let opened = Opened::open(Some(path), flags)?;
    let (name, header) = (opened.checkpoint.name(), opened.checkpoint.header());
    let found = config::infer_classifier(name, header, flags, model)?;
    Opened { found, ..opened }.expect(Role::Classifier)
}

/// In a stack no flag reaches the upsampler's network.
fn advise(error: Error) -> Error {
    match error {
        Error::Config(message) => Error::Config(format!(
            "{message}\nin a stack these flags are the first model's; turn the upsampler into a file that carries its \
             configuration: guided-diffusion convert FILE --large_size ..."
        )),
        other => other,
    }
}

impl Opened {
    /// The input size of this upsampler for images of `given` (height, width, channels): what the file or a flag says
    /// (`small_size`) or, for a public file, a quarter of its output; any that divides the output where nothing says it.
    ///
    /// # Errors
    /// [`Error::Options`] for images that it does not take.
    pub fn low_size(&self, given: [usize; 3]) -> Result<usize> {
        let (name, size) = (self.checkpoint.name(), self.config().unet.image_size);
        let wanted = self.config().small_size.or_else(|| self.found.public.map(|_| size / 4));
        let [height, width, channels] = given;
        let refuse = |wants: String| {
            Err(Error::Options(format!(
                "images of {width}x{height} with {channels} channels: {name} enlarges {wants}; `upsample --fit crop` or `--fit \
                 pad` bring images to its size"
            )))
        };
        let own = self.config().image_channels();
        match wanted {
            Some(low) if [low, low, own] != given => refuse(format!("{low}x{low} with {own} channels")),
            None if height != width || channels != own || height >= size || !size.is_multiple_of(height.max(1)) => {
                refuse(format!("squares with {own} channels to {size}x{size}, by a whole factor"))
            }
            _ => Ok(height),
        }
    }
}
