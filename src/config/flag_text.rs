//! The public scripts' flags from one line of text, for whoever has no command line: a page takes what the public README
//! says. The program reads the same flags with its argument parser; a test compares the two.

use std::str::FromStr;

use super::Overrides;
use super::flags::parse_bool;
use crate::error::{Error, Result};

/// Longest part of a user's text that a message quotes.
const SHOWN: usize = 40;

impl FromStr for Overrides {
    type Err = Error;

    /// Reads `--image_size 64 --class_cond True --channel_mult=1,2,3`. As in the public scripts, of a repeated flag the
    /// last counts.
    fn from_str(text: &str) -> Result<Self> {
        let mut out = Self::default();
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--") else {
                let word: String = word.chars().take(SHOWN).collect();
                return Err(Error::Options(format!("flags: {word:?} is no flag; write --name value --name value")));
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag, words.next()),
            };
            let name: String = name.chars().take(SHOWN).collect();
            let Some(value) = value else {
                return Err(Error::Options(format!("flags: --{name} has no value")));
            };
            out.set(&name, value)?;
        }
        Ok(out)
    }
}

impl Overrides {
    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let refuse = |why: String| {
            let value: String = value.chars().take(SHOWN).collect();
            Error::Options(format!("flags: --{name} {value}: {why}"))
        };
        macro_rules! parse {
            ($($field:ident)*: $read:expr; $($rest:tt)*) => {
                $(if name == stringify!($field) {
                    self.$field = Some($read(value).map_err(refuse)?);
                    return Ok(());
                })*
                parse!($($rest)*);
            };
            () => {};
        }
        parse! {
            model_path classifier_path base_samples timestep_respacing dropout noise_schedule classifier_pool num_samples
            batch_size classifier_scale image_size large_size small_size num_channels num_res_blocks num_heads
            num_head_channels num_heads_upsample diffusion_steps classifier_width classifier_depth
            classifier_num_head_channels: one;
            use_ddim clip_denoised class_cond use_scale_shift_norm resblock_updown use_new_attention_order use_fp16
            learn_sigma sigma_small predict_xstart rescale_timesteps classifier_use_scale_shift_norm
            classifier_resblock_updown classifier_use_fp16 use_kl rescale_learned_sigmas use_checkpoint: parse_bool;
            channel_mult attention_resolutions classifier_attention_resolutions: list;
        }
        Err(Error::Options(format!("flags: --{name} is no flag of the public scripts' networks and samplers")))
    }
}

fn one<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|e: T::Err| e.to_string())
}

fn list<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<Vec<T>, String> {
    text.split(',').map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_public_readme() {
        let line = "--attention_resolutions 32,16,8 --class_cond True --image_size 64 --noise_schedule cosine \
                    --channel_mult=1,2,3 --num_head_channels -1 --image_size 128";
        let flags: Overrides = line.parse().expect("flags");
        assert_eq!(flags.attention_resolutions, Some(vec![32, 16, 8]));
        assert_eq!((flags.class_cond, flags.image_size, flags.num_head_channels), (Some(true), Some(128), Some(-1)));
        assert_eq!(flags.channel_mult, Some(vec![1.0, 2.0, 3.0]));
    }

    #[test]
    fn what_is_no_flag_is_named() {
        let message = |line: &str| line.parse::<Overrides>().expect_err(line).to_string();
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
        let command = || Overrides::augment_args(clap::Command::new("flags"));
        let mut names = 0;
        for argument in command().get_arguments() {
            let Some(name) = argument.get_long() else { continue };
            let fits = |value: &&str| command().try_get_matches_from(["flags", &format!("--{name}"), value]).is_ok();
            let value = ["linear", "spatial", "3", "True"].into_iter().find(fits).expect(name);
            let line = format!("--{name} {value}");
            let matches = command().get_matches_from(["flags", &format!("--{name}"), value]);
            let wanted = Overrides::from_arg_matches(&matches).expect(name);
            assert_eq!(line.parse::<Overrides>().expect(name), wanted, "{line}");
            assert_ne!(wanted, Overrides::default(), "{line}");
            names += 1;
        }
        assert!(names >= 40, "{names} flags were compared");
    }
}
