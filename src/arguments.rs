//! Settings as arguments of a command, in both directions: the command line reads them by this table, and a recipe writes
//! the command that makes its images again.

use std::fmt::Display;
use std::str::FromStr;

use crate::sampler::Settings;

/// The commands that have an argument, and the second stage of a stack: each a bit.
pub mod command {
    /// `sample`.
    pub const SAMPLE: u8 = 1;
    /// The upsampler of `sample`.
    pub const SECOND: u8 = 2;
    /// `upsample`.
    pub const UPSAMPLE: u8 = 4;
    /// `edit`.
    pub const EDIT: u8 = 8;
    /// `invert`.
    pub const INVERT: u8 = 16;
    /// `nll`.
    pub const NLL: u8 = 32;
    /// All that make images.
    pub const MAKE: u8 = SAMPLE | SECOND | UPSAMPLE | EDIT;
}

use self::command::{EDIT, INVERT, MAKE, NLL, SAMPLE};

/// One setting as an argument.
#[derive(Debug)]
pub struct Argument {
    /// Its name, without dashes.
    pub name: &'static str,
    /// Its name for the upsampler of a stack.
    pub upsampler: &'static str,
    /// The value's name in help texts.
    pub value: &'static str,
    /// The value where none is given; such an argument takes one only after "=".
    pub missing: Option<&'static str>,
    /// The help text.
    pub help: &'static str,
    /// The public scripts' flag of the same meaning.
    pub public: Option<&'static str>,
    /// The commands that have it, of [`command`].
    pub commands: u8,
    access: Access,
}

/// How a setting is read and written.
#[derive(Debug)]
struct Access {
    set: fn(&mut Settings, &str) -> Result<(), String>,
    get: fn(&Settings) -> Option<String>,
}

/// A field that reads and prints itself.
macro_rules! field {
    ($field:ident $(. $inner:ident)?) => {
        Access {
            set: |settings, text| read(text).map(|value| settings.$field$(.get_or_insert_default().$inner)? = Some(value)),
            get: |settings| settings.$field.as_ref()$(.and_then(|inner| inner.$inner.as_ref()))?.map(ToString::to_string),
        }
    };
}

/// A field that is a list, with commas.
macro_rules! list {
    ($field:ident) => {
        Access {
            set: |settings, text| {
                text.split(',')
                    .map(|part| read(part.trim()))
                    .collect::<Result<_, _>>()
                    .map(|list| settings.$field = Some(list))
            },
            get: |settings| {
                let words = |list: &Vec<_>| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
                settings.$field.as_ref().map(words)
            },
        }
    };
}

macro_rules! arguments {
    ($($name:literal $value:literal $(= $missing:literal)?, $public:expr, $commands:expr, $access:expr, $help:literal;)*) => {
        &[$(Argument {
            name: $name,
            upsampler: concat!("upsampler-", $name),
            value: $value,
            missing: [$(Some($missing),)? None][0],
            help: $help,
            public: $public,
            commands: $commands,
            access: $access,
        }),*]
    };
}

/// All settings, in the order of help texts and commands; `clip_denoised` is a flag of the whole run (`--no-clip`), and a mask a
/// file.
#[rustfmt::skip]
pub const ARGUMENTS: &[Argument] = arguments! {
    "sampler" "NAME", Some("use_ddim"), MAKE, field!(sampler),
    "How to step";

    "steps" "SPEC", Some("timestep_respacing"), MAKE | INVERT | NLL,
    Access {
        set: |settings, text| read(text).map(|steps| settings.steps = Some(steps)),
        get: |settings| settings.steps.as_ref().filter(|_| settings.times().is_none()).map(ToString::to_string),
    },
    "Steps: a count (250), counts per section (10,20,30) or a fixed stride (ddim25)";

    "grid" "T,...", Some("timestep_respacing"), MAKE | INVERT,
    Access {
        set: |settings, text| match text {
            "none" => { settings.grid = Some(Vec::new()); Ok(()) }
            _ => (list!(grid).set)(settings, text),
        },
        get: |settings| match settings.grid.as_deref() {
            Some([]) => Some("none".into()),
            _ => (list!(grid).get)(settings),
        },
    },
    "The timesteps themselves in place of --steps, descending, such as 960,640,320 (sigma-space: noise levels); none: the sampler's own, though the file has a grid of its own";

    "eta" "ETA", None, MAKE,
    Access {
        set: |settings, text| read(text).map(|eta| settings.eta = Some(eta)),
        get: |settings| settings.eta.filter(|eta| *eta != 0.0 || settings.edit.is_some()).map(|eta| eta.to_string()),
    },
    "Randomness of ddim, 0 to 1 [default: 0], and of ddnm [default: 0.85]";

    "seed" "N", None, MAKE | INVERT | NLL,
    Access {
        set: |settings, text| read(text).map(|seed| settings.seed = seed),
        get: |settings| Some(settings.seed.to_string()),
    },
    "Seed of all noise: the same seed gives the same images, whatever the batch or the shard";

    "guidance" "SCALE", Some("classifier_scale"), SAMPLE | EDIT, field!(guidance),
    "Scale of the guidance, by a classifier, or by the null class of a model that has one (1: none) [default: the published one of a public file, else 1]";

    "guidance-interval" "LO:HI", None, SAMPLE | EDIT,
    Access {
        set: |settings, text| interval(text).map(|ends| settings.guidance_interval = Some(ends)),
        get: |settings| settings.guidance_interval.map(|[low, high]| format!("{low}:{high}")),
    },
    "Guide only at these timesteps of the full process, LO to HI; the classifier does not run at others";

    "strength" "S", None, SAMPLE, field!(strength),
    "How much of --init is made anew: the share of the steps, rounded to whole ones, above 0 (a little) to 1 (all)";

    "threshold" "BOOL" = "true", None, MAKE, field!(threshold),
    "Dynamic thresholding in place of clipping: the predicted image divided by the 0.995 quantile of its absolute values";

    "size" "WxH", None, SAMPLE | EDIT | INVERT | NLL,
    Access {
        set: |settings, text| size(text).map(|size| settings.size = Some(size)),
        get: |settings| settings.size.map(|[width, height]| format!("{width}x{height}")),
    },
    "Width and height of the images, multiples of 2 for each halving in the network (4 for the built-in model); the further from those that the model was trained on, the worse [default: the model's own]";

    "at" "I,...", None, SAMPLE | EDIT, list!(at),
    "Consistency models: places on the grid of --steps levels, ascending from 0 [default: the published ones of a public file, else 0,22,39 of 40]";

    "churn" "S", None, SAMPLE, field!(churn),
    "Sigma-space: noise added before each step (EDM's S_churn) [default: 0]";

    "churn-min" "SIGMA", None, SAMPLE, field!(churn_min),
    "The lowest noise level that is churned [default: 0]";

    "churn-max" "SIGMA", None, SAMPLE, field!(churn_max),
    "The highest noise level that is churned [default: none]";

    "churn-noise" "S", None, SAMPLE, field!(churn_noise),
    "Standard deviation of churned noise [default: 1]";

    "analytic-start" "BOOL" = "true", None, SAMPLE, field!(analytic_start),
    "ipndm: the first slope without an evaluation";

    "denoise" "BOOL" = "true", None, SAMPLE, field!(denoise),
    "ipndm: a last evaluation that removes the noise of the lowest level";

    "colourise" "MIX" = "grey", None, EDIT, field!(edit.colourise),
    "Make the colours of a grey picture, whose values are the mean of the channels (grey), or luma, as of old photographs and most programs' grey pictures (=luma)";

    "upscale" "K", None, EDIT, field!(edit.upscale),
    "Enlarge the picture K times";

    "jump-length" "N", None, EDIT, field!(jump_length),
    "Steps of one jump back up [default: repaint 10, ddnm 1]";

    "jump-repeats" "N", None, EDIT, field!(jump_repeats),
    "How often each part of the walk is made [default: repaint 10, ddnm 1]";

    "sigma-y" "S", None, EDIT, field!(sigma_y),
    "ddnm: standard deviation of the noise in the picture, in its range of -1 to 1 [default: 0]";
};

impl Argument {
    /// Reads a value into `settings`.
    ///
    /// # Errors
    /// What is wrong with the text, for a message that names the argument.
    pub fn set(&self, settings: &mut Settings, text: &str) -> Result<(), String> {
        (self.access.set)(settings, text)
    }
}

/// The arguments of `command` that give these settings; names begin with `prefix`.
pub fn of(settings: &Settings, command: u8, prefix: &str) -> Vec<String> {
    let own = ARGUMENTS.iter().filter(|argument| argument.commands & command != 0);
    let given = own.filter_map(|argument| Some((argument, (argument.access.get)(settings)?)));
    given
        .flat_map(|(Argument { name, missing, .. }, value)| match missing {
            Some(_) => vec![format!("--{prefix}{name}={value}")],
            None => vec![format!("--{prefix}{name}"), value],
        })
        .collect()
}

fn read<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|e: T::Err| e.to_string())
}

fn size(text: &str) -> Result<[usize; 2], String> {
    let sides = text.split_once(['x', 'X']).and_then(|(w, h)| Some([w.trim().parse().ok()?, h.trim().parse().ok()?]));
    sides.ok_or_else(|| "write WIDTHxHEIGHT in pixels, such as 64x32".into())
}

fn interval(text: &str) -> Result<[u32; 2], String> {
    let ends = text.split_once(':').and_then(|(low, high)| Some([low.parse().ok()?, high.parse().ok()?]));
    ends.filter(|[low, high]| low <= high)
        .ok_or_else(|| "write LO:HI, two timesteps of the full process, such as 200:800".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every setting once, whether they go together or not.
    const ALL: &str = r#"{"sampler": "ddim", "grid": [960, 0.5], "eta": 0.5, "seed": 7, "guidance": 2.5,
        "guidanceInterval": [0, 9], "strength": 0.25, "threshold": true, "size": [64, 32], "at": [0, 22, 39], "churn": 1,
        "churnMin": 2, "churnMax": 3, "churnNoise": 1.003, "analyticStart": true, "denoise": false,
        "edit": {"colourise": "luma", "upscale": 4}, "jumpLength": 5, "jumpRepeats": 6, "sigmaY": 0.1}"#;

    #[test]
    fn arguments_read_what_they_write() {
        let settings: Settings = serde_json::from_str(ALL).expect("settings");
        let words = of(&settings, u8::MAX, "");
        let (mut again, mut count, mut words) = (Settings::default(), 0, words.iter());
        while let Some(word) = words.next() {
            let (name, value) = word.split_once('=').unwrap_or_else(|| (word, words.next().expect("its value")));
            let argument = ARGUMENTS.iter().find(|a| format!("--{}", a.name) == name).expect("its argument");
            argument.set(&mut again, value).expect("accepted");
            count += 1;
        }
        // All but the steps, in whose place the grid is.
        assert_eq!((again, count), (settings, ARGUMENTS.len() - 1));
    }

    #[test]
    fn sizes_are_a_width_and_a_height() {
        assert_eq!((size("64x32"), size("4X8")), (Ok([64, 32]), Ok([4, 8])));
        for text in ["", "64", "x", "64x", "-4x8", "4.5x8", "1x2x3", "64x99999999999999999999"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn intervals_have_two_ends_in_order() {
        assert_eq!(interval("0:999"), Ok([0, 999]));
        assert_eq!(interval("7:7"), Ok([7, 7]));
        for text in ["", "5", "9:1", "-1:5", "a:b", "0.5:1", "1:2:3", "0:99999999999"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
