//! The public scripts' flags, under their own names, so that a line of the public README can be pasted as it is.
//!
//! One table: a row is a field of [`Flags`], the flag of the command line, the word of a text ([`Flags::from_str`], for
//! callers without a command line) and what a command must repeat. A flag overrides what the file's metadata or the table of
//! public files says; shapes are never overridden, a flag that contradicts them is an error.

use std::path::PathBuf;
use std::str::FromStr;

use super::{NoiseSchedule, Pool, ProcessKind};
use crate::error::{Error, Result};

/// Longest part of a user's text that a message quotes.
const SHOWN: usize = 40;

/// What a flag is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// Files and the run.
    Run,
    /// What tensor shapes decide: the flag can only agree with them.
    Shapes,
    /// What shapes do not show: the flag decides, so that a command must repeat it.
    Rest,
    /// Training; accepted and ignored.
    Training,
}

/// A row of the table.
struct Flag {
    name: &'static str,
    /// The value's name in the help.
    #[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "the command line's help"))]
    value: &'static str,
    about: About,
    #[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "the command line's help"))]
    help: &'static str,
    set: fn(&mut Flags, &str) -> Result<(), String>,
    get: fn(&Flags) -> Option<String>,
}

macro_rules! flags {
    ($($name:ident: $type:ty, $value:literal, $about:ident, $help:literal;)*) => {
        /// The public scripts' flags, each where it was given.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct Flags {
            $(#[doc = $help] pub $name: Option<$type>,)*
        }

        /// In the order of the help.
        const TABLE: &[Flag] = &[$(Flag {
            name: stringify!($name),
            value: $value,
            about: About::$about,
            help: $help,
            set: |flags, text| {
                flags.$name = Some(Value::read(text)?);
                Ok(())
            },
            get: |flags| flags.$name.as_ref().map(Value::text),
        },)*];
    };
}

flags! {
    model_path: PathBuf, "FILE", Run, "The diffusion model's file.";
    classifier_path: PathBuf, "FILE", Run, "The classifier's file.";
    base_samples: PathBuf, "FILE", Run, "The images to upsample (.npz).";
    num_samples: usize, "N", Run, "Images in all.";
    batch_size: usize, "N", Run, "Images at a time.";
    timestep_respacing: String, "SPEC", Run, "Steps to keep: 250, 10,20,30 or ddim25.";
    use_ddim: bool, "BOOL", Run, "Sample with DDIM.";
    clip_denoised: bool, "BOOL", Run, "Clip the predicted x_0 to [-1, 1] at every step.";
    classifier_scale: f64, "SCALE", Run, "Guidance scale.";

    image_size: usize, "PIXELS", Rest, "Height and width of the images.";
    large_size: usize, "PIXELS", Rest, "Height and width of an upsampler's output.";
    small_size: usize, "PIXELS", Rest, "Height and width of an upsampler's input.";
    num_channels: usize, "N", Shapes, "Width of the network.";
    num_res_blocks: usize, "N", Shapes, "Residual blocks per level.";
    channel_mult: Vec<f64>, "LIST", Shapes, "Width of each level as a multiple of num_channels: 1,2,3,4.";
    num_heads: usize, "N", Rest, "Attention heads.";
    num_head_channels: i64, "N", Rest, "Channels per attention head; -1: num_heads counts.";
    num_heads_upsample: i64, "N", Shapes, "Attention heads in the decoder; only -1 (the same) is supported.";
    attention_resolutions: Vec<usize>, "LIST", Shapes, "Image sizes at which attention is applied: 32,16,8.";
    class_cond: bool, "BOOL", Shapes, "The model is class-conditional.";
    use_scale_shift_norm: bool, "BOOL", Shapes, "Adaptive group normalization.";
    resblock_updown: bool, "BOOL", Shapes, "Residual blocks resample.";
    use_new_attention_order: bool, "BOOL", Rest, "Rows of qkv are (q|k|v)(head)(channel).";
    use_fp16: bool, "BOOL", Run, "Weights in half precision.";

    diffusion_steps: usize, "N", Rest, "Steps of the full process.";
    noise_schedule: NoiseSchedule, "NAME", Rest, "linear or cosine.";
    learn_sigma: bool, "BOOL", Shapes, "The output's second half interpolates the variance.";
    sigma_small: bool, "BOOL", Rest, "Without learned sigma: the posterior's variance instead of beta.";
    predict_xstart: bool, "BOOL", Rest, "The network predicts x_0.";
    rescale_timesteps: bool, "BOOL", Rest, "Timesteps are scaled to [0, 1000).";

    process: ProcessKind, "KIND", Rest,
        "What the network was trained on: discrete, edm or consistency (not a flag of the public scripts).";

    classifier_width: usize, "N", Shapes, "Width of the classifier.";
    classifier_depth: usize, "N", Shapes, "Residual blocks per level of the classifier.";
    classifier_attention_resolutions: Vec<usize>, "LIST", Shapes, "Image sizes at which the classifier attends.";
    classifier_use_scale_shift_norm: bool, "BOOL", Shapes, "Adaptive group normalization in the classifier.";
    classifier_resblock_updown: bool, "BOOL", Shapes, "The classifier's residual blocks resample.";
    classifier_num_head_channels: usize, "N", Rest,
        "Channels per attention head of the classifier (not a flag of the public scripts, which fix it at 64).";
    classifier_pool: Pool, "NAME", Shapes, "The classifier's head: attention, adaptive, spatial or spatial_v2.";
    classifier_use_fp16: bool, "BOOL", Run, "The classifier in half precision.";

    dropout: f64, "P", Training, "For training; ignored.";
    use_kl: bool, "BOOL", Training, "For training; ignored.";
    rescale_learned_sigmas: bool, "BOOL", Training, "For training; ignored.";
    use_checkpoint: bool, "BOOL", Training, "For training; ignored.";
}

/// A flag's value as the public scripts read and write it.
trait Value: Sized {
    fn read(text: &str) -> Result<Self, String>;
    fn text(&self) -> String;
}

macro_rules! plain_values {
    ($($type:ty: $text:expr;)*) => {$(
        impl Value for $type {
            fn read(text: &str) -> Result<Self, String> {
                text.parse().map_err(|e: <Self as FromStr>::Err| e.to_string())
            }

            fn text(&self) -> String {
                $text(self).to_string()
            }
        }
    )*};
}

plain_values! {
    usize: |n: &usize| *n;
    i64: |n: &i64| *n;
    f64: |n: &f64| *n;
    String: |text: &String| text.clone();
    PathBuf: |path: &PathBuf| path.display().to_string();
    NoiseSchedule: |schedule: &NoiseSchedule| schedule.as_str();
    Pool: |pool: &Pool| pool.as_str();
    ProcessKind: |kind: &ProcessKind| kind.as_str();
}

impl Value for bool {
    fn read(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "yes" | "true" | "t" | "y" | "1" => Ok(true),
            "no" | "false" | "f" | "n" | "0" => Ok(false),
            _ => Err("use True or False".into()),
        }
    }

    fn text(&self) -> String {
        if *self { "True" } else { "False" }.into()
    }
}

impl<T: Value> Value for Vec<T> {
    fn read(text: &str) -> Result<Self, String> {
        text.split(',').map(T::read).collect()
    }

    fn text(&self) -> String {
        self.iter().map(T::text).collect::<Vec<_>>().join(",")
    }
}

impl Flags {
    /// The flags given of those that may change the configuration, as arguments: what a command must repeat to find the
    /// same one. Flags that shapes decide only ever agree with them.
    pub fn arguments(&self) -> Vec<String> {
        let rest = TABLE.iter().filter(|flag| flag.about == About::Rest);
        rest.filter_map(|flag| Some([format!("--{}", flag.name), (flag.get)(self)?])).flatten().collect()
    }

    /// Refuses flags that contradict the tensors of `file`: `shapes` are the flags as the tensors have them.
    pub(super) fn agree(&self, file: &str, shapes: &Self) -> Result<()> {
        for flag in TABLE.iter().filter(|flag| flag.about == About::Shapes) {
            match ((flag.get)(self), (flag.get)(shapes)) {
                (Some(given), Some(have)) if given != have => {
                    return Err(Error::Config(format!(
                        "--{} {given} contradicts {file}, whose tensors say {have}; leave the flag out, or give the file it \
                         is meant for",
                        flag.name
                    )));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl FromStr for Flags {
    type Err = Error;

    /// Reads `--image_size 64 --class_cond True --channel_mult=1,2,3`. As in the public scripts, of a repeated flag the
    /// last counts.
    fn from_str(text: &str) -> Result<Self> {
        let shorten = |text: &str| text.chars().take(SHOWN).collect::<String>();
        let mut out = Self::default();
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--") else {
                let word = shorten(word);
                return Err(Error::Options(format!("flags: {word:?} is not a flag; write --name value --name value")));
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag, words.next()),
            };
            let shown = shorten(name);
            let Some(value) = value else {
                return Err(Error::Options(format!("flags: --{shown} has no value")));
            };
            let Some(row) = TABLE.iter().find(|row| row.name == name) else {
                let why = "not a flag of the public scripts' networks and samplers";
                return Err(Error::Options(format!("flags: --{shown} is {why}")));
            };
            (row.set)(&mut out, value)
                .map_err(|why| Error::Options(format!("flags: --{shown} {}: {why}", shorten(value))))?;
        }
        Ok(out)
    }
}

/// The same rows as arguments of the program.
#[cfg(feature = "cli")]
mod arguments {
    use super::{About, Flags, TABLE};
    use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

    impl Args for Flags {
        fn augment_args(command: Command) -> Command {
            command.args(TABLE.iter().map(|flag| {
                let check = |text: &str| (flag.set)(&mut Flags::default(), text).map(|()| text.to_owned());
                Arg::new(flag.name)
                    .long(flag.name)
                    .value_name(flag.value)
                    .help(flag.help.trim_end_matches('.'))
                    .help_heading("Flags of the public guided-diffusion scripts")
                    .value_parser(check)
                    .allow_negative_numbers(true)
                    .hide_short_help(true)
                    .hide(flag.about == About::Training)
            }))
        }

        fn augment_args_for_update(command: Command) -> Command {
            Self::augment_args(command)
        }
    }

    impl FromArgMatches for Flags {
        fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
            let mut out = Self::default();
            out.update_from_arg_matches(matches).map(|()| out)
        }

        fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
            for flag in TABLE {
                if let Some(text) = matches.get_one::<String>(flag.name) {
                    (flag.set)(self, text).map_err(|e| clap::Error::raw(clap::error::ErrorKind::InvalidValue, e))?;
                }
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_public_readme() {
        let line = "--attention_resolutions 32,16,8 --class_cond True --image_size 64 --noise_schedule cosine \
                    --channel_mult=1,2,3 --num_head_channels -1 --image_size 128";
        let flags: Flags = line.parse().expect("flags");
        assert_eq!(flags.attention_resolutions, Some(vec![32, 16, 8]));
        assert_eq!((flags.class_cond, flags.image_size, flags.num_head_channels), (Some(true), Some(128), Some(-1)));
        assert_eq!(flags.channel_mult, Some(vec![1.0, 2.0, 3.0]));
        assert_eq!(flags.arguments().join(" "), "--image_size 128 --num_head_channels -1 --noise_schedule cosine");
    }

    #[test]
    fn what_is_no_flag_is_named() {
        let message = |line: &str| line.parse::<Flags>().expect_err(line).to_string();
        assert!(message("64").contains("\"64\""));
        assert!(message("--image_size").contains("no value"));
        assert!(message("--image_size 6x").contains("--image_size 6x"));
        assert!(message("--class_cond maybe").contains("True or False"));
        assert!(message("--nothing 1").contains("--nothing"));
        assert!(message(&format!("--{}", "x".repeat(100_000))).len() < 200);
    }

    /// Every flag that the program takes means the same here.
    #[cfg(feature = "cli")]
    #[test]
    fn the_same_flags_as_the_program() {
        use clap::{Args, FromArgMatches};
        let command = || Flags::augment_args(clap::Command::new("flags"));
        let mut names = 0;
        for argument in command().get_arguments() {
            let Some(name) = argument.get_long() else { continue };
            let fits = |value: &&str| command().try_get_matches_from(["flags", &format!("--{name}"), value]).is_ok();
            let value = ["linear", "spatial", "edm", "3", "True"].into_iter().find(fits).expect(name);
            let line = format!("--{name} {value}");
            let matches = command().get_matches_from(["flags", &format!("--{name}"), value]);
            let wanted = Flags::from_arg_matches(&matches).expect(name);
            assert_eq!(line.parse::<Flags>().expect(name), wanted, "{line}");
            assert_ne!(wanted, Flags::default(), "{line}");
            names += 1;
        }
        assert!(names >= 40, "{names} flags were compared");
    }
}
