//! The settings of a stage as arguments of the program: one table ([`ARGUMENTS`]) for each command and for the upsampler
//! of a stack.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser, ValueParser};
use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::arguments::{ARGUMENTS, Argument, command};
use crate::sampler::{Sampler, Settings};

/// Which arguments a stage has.
struct Form {
    /// Its command, of [`command`].
    command: u8,
    /// The seed where none is given, and how the help says so.
    seed: (u64, &'static str),
    /// What the help says of the sampler and of the steps where none are given.
    usual: [&'static str; 2],
}

/// Title of the second stage's arguments.
pub const UPSAMPLER: &str = "Upsampling (a second stage)";

macro_rules! stages {
    ($($(#[$doc:meta])* $type:ident: $form:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $type {
            /// What the arguments say; the form's seed where they say none.
            pub settings: Settings,
            /// Whether the seed was given.
            pub seed_given: bool,
        }

        impl Args for $type {
            fn augment_args(command: Command) -> Command {
                command.args($form.arguments())
            }

            fn augment_args_for_update(command: Command) -> Command {
                Self::augment_args(command)
            }
        }

        impl FromArgMatches for $type {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
                let (settings, seed_given) = $form.read(matches)?;
                Ok(Self { settings, seed_given })
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    )*};
}

stages! {
    /// Of `sample`.
    SampleSettings: Form {
        command: command::SAMPLE,
        seed: (0, "[default: 0]"),
        usual: [
            "[default: dpm++2m, or ddim where a classifier guides; ancestral from 50 steps on, ddim for ddim steps]",
            "[default: the file's own steps (8 for the built-in model) or searched grid, else the sampler's own number, dpm++2m 20, ddim 25]",
        ],
    };
    /// Of `upsample`. Seed 1: then `sample` and `upsample` make what `sample --upsampler` makes.
    UpsampleSettings: Form {
        command: command::UPSAMPLE,
        seed: (1, "[default: 1, so that `sample` and `upsample` make what `sample --upsampler` makes]"),
        usual: [
            "[default: dpm++2m; ancestral from 50 steps on, ddim for ddim steps]",
            "[default: the sampler's own number, dpm++2m 20]",
        ],
    };
    /// Of the second stage of `sample`.
    UpsamplerSettings: Form {
        command: command::SECOND,
        seed: (0, "[default: the next after --seed]"),
        usual: [""; 2],
    };
    /// Of `edit`.
    EditSettings: Form {
        command: command::EDIT,
        seed: (0, "[default: 0]"),
        usual: ["[default: ddnm; multistep of a consistency model]", "[default: ddnm 100, repaint 250]"],
    };
    /// Of `invert`.
    InvertSettings: Form { command: command::INVERT, seed: (0, "[default: 0]"), usual: ["", "[default: ddim50]"] };
    /// Of `nll`.
    NllSettings: Form { command: command::NLL, seed: (0, "[default: 0]"), usual: ["", "[default: all of the process]"] };
}

impl Form {
    /// Its arguments under their names.
    fn own(&self) -> impl Iterator<Item = (&'static Argument, &'static str)> + use<> {
        let (command, upsampler) = (self.command, self.is_second());
        let own = ARGUMENTS.iter().filter(move |argument| argument.commands & command != 0);
        own.map(move |argument| (argument, if upsampler { argument.upsampler } else { argument.name }))
    }

    fn is_second(&self) -> bool {
        self.command == command::SECOND
    }

    fn arguments(&self) -> Vec<Arg> {
        let arg = |(argument, name): (&'static Argument, _)| {
            let help = match argument.name {
                "seed" => format!("{} {}", argument.help, self.seed.1),
                own if self.is_second() => format!("The upsampler's --{own}"),
                "sampler" => format!("{} {}", argument.help, self.usual[0]),
                "steps" => format!("{} {}", argument.help, self.usual[1]),
                _ => argument.help.into(),
            };
            let parser = parser(argument, self.command);
            let arg = Arg::new(name).long(name).value_name(argument.value).help(help).value_parser(parser);
            let arg = match argument.missing {
                Some(value) => arg.num_args(0..=1).require_equals(true).default_missing_value(value),
                None => arg.allow_hyphen_values(true),
            };
            match argument.public {
                _ if self.is_second() => arg.help_heading(UPSAMPLER).requires("upsampler"),
                Some(flag) => arg.conflicts_with(flag),
                None => arg,
            }
        };
        self.own().map(arg).collect()
    }

    /// The settings, and whether the seed was given.
    fn read(&self, matches: &ArgMatches) -> Result<(Settings, bool), Error> {
        let (mut settings, mut seed_given) = (Settings { seed: self.seed.0, ..Settings::default() }, false);
        for (argument, name) in self.own() {
            if let Some(text) = matches.get_one::<String>(name) {
                let invalid = |why| Error::raw(clap::error::ErrorKind::InvalidValue, why);
                argument.set(&mut settings, text).map_err(invalid)?;
                seed_given |= argument.name == "seed";
            }
        }
        if settings.times().is_some() && settings.steps.is_some() {
            let why = "--grid is given in place of --steps; leave one of them out\n";
            return Err(Error::raw(clap::error::ErrorKind::ArgumentConflict, why));
        }
        Ok((settings, seed_given))
    }
}

/// Checks a value as the settings do; samplers are listed with what they are.
fn parser(argument: &'static Argument, command: u8) -> ValueParser {
    let check = |text: String| argument.set(&mut Settings::default(), &text).map(|()| text);
    if argument.name == "sampler" {
        let edits = |sampler: &Sampler| sampler.takes("edit") || sampler.takes("optional_edit");
        let own = |sampler: &Sampler| if command == command::EDIT { edits(sampler) } else { sampler.is_free() };
        let names = Sampler::all().filter(own).map(Sampler::entry);
        let names = names.map(|entry| PossibleValue::new(entry.name).help(entry.summary));
        return PossibleValuesParser::new(names).try_map(check).into();
    }
    clap::builder::StringValueParser::new().try_map(check).into()
}
