//! Settings as arguments of a command, in both directions: the command line reads them by this table, and a recipe writes
//! the command that makes its images again.

use std::fmt::Display;
use std::str::FromStr;

use crate::sampler::Settings;

/// One setting as an argument.
#[derive(Debug)]
pub struct Argument {
    /// Its name, without dashes.
    pub name: &'static str,
    /// Its name for the upsampler of a stack.
    pub upsampler: &'static str,
    /// The value's name in help texts.
    pub value: &'static str,
    /// The help text.
    pub help: &'static str,
    /// The public scripts' flag of the same meaning.
    pub public: Option<&'static str>,
    /// It concerns guidance, so that only a command that takes a classifier has it.
    pub guides: bool,
    set: fn(&mut Settings, &str) -> Result<(), String>,
    get: fn(&Settings) -> Option<String>,
}

macro_rules! arguments {
    ($($name:literal $value:literal, $public:expr, $guides:literal, $set:expr, $get:expr, $help:literal;)*) => {
        &[$(Argument {
            name: $name,
            upsampler: concat!("upsampler-", $name),
            value: $value,
            help: $help,
            public: $public,
            guides: $guides,
            set: $set,
            get: $get,
        }),*]
    };
}

/// All settings, in the order of help texts and commands; `clip_denoised` is a flag of the whole run (`--no-clip`).
#[rustfmt::skip]
pub const ARGUMENTS: &[Argument] = arguments! {
    "sampler" "NAME", Some("use_ddim"), false,
    |settings, text| read(text).map(|sampler| settings.sampler = Some(sampler)),
    |settings| settings.sampler.map(|sampler| sampler.name().into()),
    "How to step [default: ddim for ddim steps, and for the built-in model without --steps; else ancestral]";

    "steps" "SPEC", Some("timestep_respacing"), false,
    |settings, text| read(text).map(|steps| settings.steps = Some(steps)),
    |settings| settings.steps.as_ref().map(ToString::to_string),
    "Steps: a count (250), counts per section (10,20,30) or a fixed stride (ddim25) [default: ddim25 or 250]";

    "eta" "ETA", None, false,
    |settings, text| read(text).map(|eta| settings.eta = Some(eta)),
    |settings| settings.eta.filter(|eta| *eta != 0.0).map(|eta| eta.to_string()),
    "Randomness of the DDIM sampler, 0 to 1 [default: 0]";

    "seed" "N", None, false,
    |settings, text| read(text).map(|seed| settings.seed = seed),
    |settings| Some(settings.seed.to_string()),
    "Seed of all noise: the same seed gives the same images, whatever the batch or the shard";

    "guidance" "SCALE", Some("classifier_scale"), true,
    |settings, text| read(text).map(|scale| settings.guidance = Some(scale)),
    |settings| settings.guidance.map(|scale| scale.to_string()),
    "Scale of the guidance [default: the published one of a public file, else 1]";

    "guidance-interval" "LO:HI", None, true,
    |settings, text| interval(text).map(|ends| settings.guidance_interval = Some(ends)),
    |settings| settings.guidance_interval.map(|[low, high]| format!("{low}:{high}")),
    "Guide only at these timesteps of the full process, LO to HI; the classifier does not run at others";
};

impl Argument {
    /// Reads a value into `settings`.
    ///
    /// # Errors
    /// What is wrong with the text, for a message that names the argument.
    pub fn set(&self, settings: &mut Settings, text: &str) -> Result<(), String> {
        (self.set)(settings, text)
    }
}

/// The arguments of a command that gives these settings; names begin with `prefix`.
pub fn of(settings: &Settings, prefix: &str) -> Vec<String> {
    let given = ARGUMENTS.iter().filter_map(|argument| Some((argument.name, (argument.get)(settings)?)));
    given.flat_map(|(name, value)| [format!("--{prefix}{name}"), value]).collect()
}

fn read<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|e: T::Err| e.to_string())
}

fn interval(text: &str) -> Result<[u32; 2], String> {
    let ends = text.split_once(':').and_then(|(low, high)| Some([low.parse().ok()?, high.parse().ok()?]));
    ends.filter(|[low, high]| low <= high)
        .ok_or_else(|| "write LO:HI, two timesteps of the full process, such as 200:800".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_read_what_they_write() {
        let settings: Settings = serde_json::from_str(
            r#"{"sampler": "ddim", "steps": "ddim50", "eta": 0.5, "seed": 7, "guidance": 2.5, "guidanceInterval": [0, 9]}"#,
        )
        .expect("settings");
        let words = of(&settings, "");
        let mut again = Settings::default();
        for pair in words.chunks(2) {
            let argument = ARGUMENTS.iter().find(|a| format!("--{}", a.name) == pair[0]).expect("its argument");
            argument.set(&mut again, &pair[1]).expect("accepted");
        }
        assert_eq!((again, words.len()), (settings, 2 * ARGUMENTS.len()));
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
