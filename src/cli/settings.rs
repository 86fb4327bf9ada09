//! The settings of a stage as arguments of the program: one table ([`ARGUMENTS`]) for each command and for the upsampler
//! of a stack.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser, ValueParser};
use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::arguments::{ARGUMENTS, Argument};
use crate::sampler::{Sampler, Settings};

/// Which arguments a stage has.
struct Form {
    /// The names are the upsampler's.
    upsampler: bool,
    /// A classifier may be given.
    guided: bool,
    /// The seed where none is given, and how the help says so.
    seed: (u64, &'static str),
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
    SampleSettings: Form { upsampler: false, guided: true, seed: (0, "[default: 0]") };
    /// Of `upsample`. Seed 1: then `sample` and `upsample` make what `sample --upsampler` makes.
    UpsampleSettings: Form {
        upsampler: false,
        guided: false,
        seed: (1, "[default: 1, so that `sample` and `upsample` make what `sample --upsampler` makes]"),
    };
    /// Of the second stage of `sample`.
    UpsamplerSettings: Form {
        upsampler: true,
        guided: false,
        seed: (0, "[default: the next after --seed]"),
    };
}

impl Form {
    /// Its arguments under their names.
    fn own(&self) -> impl Iterator<Item = (&'static Argument, &'static str)> + use<> {
        let (upsampler, guided) = (self.upsampler, self.guided);
        let own = ARGUMENTS.iter().filter(move |argument| guided || !argument.guides);
        own.map(move |argument| (argument, if upsampler { argument.upsampler } else { argument.name }))
    }

    fn arguments(&self) -> Vec<Arg> {
        let arg = |(argument, name): (&'static Argument, _)| {
            let help = match argument.name {
                "seed" => format!("{} {}", argument.help, self.seed.1),
                own if self.upsampler => format!("The upsampler's --{own}"),
                _ => argument.help.into(),
            };
            let parser = parser(argument);
            let value = argument.value;
            let arg =
                Arg::new(name).long(name).value_name(value).help(help).value_parser(parser).allow_hyphen_values(true);
            match argument.public {
                _ if self.upsampler => arg.help_heading(UPSAMPLER).requires("upsampler"),
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
        Ok((settings, seed_given))
    }
}

/// Checks a value as the settings do; samplers are listed with what they are.
fn parser(argument: &'static Argument) -> ValueParser {
    let check = |text: String| argument.set(&mut Settings::default(), &text).map(|()| text);
    if argument.name == "sampler" {
        let names = Sampler::all().filter(|sampler| sampler.is_free()).map(Sampler::entry);
        let names = names.map(|entry| PossibleValue::new(entry.name).help(entry.summary));
        return PossibleValuesParser::new(names).try_map(check).into();
    }
    clap::builder::StringValueParser::new().try_map(check).into()
}
