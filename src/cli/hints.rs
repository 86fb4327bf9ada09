//! Where arguments that a command does not have belong: a line more under the parser's own error.

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::args::Cli;
use crate::sampler::Sampler;

/// The commands that have the refused argument, or sample as it asks.
pub fn hint(error: &clap::Error) -> Option<String> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let name = text(ContextKind::InvalidArg)?.strip_prefix("--")?;
            if matches!(name, "prompt" | "text") {
                return Some(
                    "these models know classes and no text: --class NAME, of the names that `info` lists".into(),
                );
            }
            let program = Cli::command();
            let having =
                program.get_subcommands().filter(|own| own.get_arguments().any(|a| a.get_long() == Some(name)));
            let having: Vec<String> = having.map(|own| format!("`{}`", own.get_name())).collect();
            (!having.is_empty()).then(|| format!("--{name} is an argument of {}", having.join(", ")))
        }
        ErrorKind::InvalidValue if text(ContextKind::InvalidArg)?.contains("sampler") => {
            let sampler: Sampler = text(ContextKind::InvalidValue)?.parse().ok()?;
            let (edits, inverts) = (sampler.takes("edit"), sampler.takes("whole"));
            let what = if edits { "edits a given picture: `edit`" } else { "makes images of noise: `sample`" };
            Some(format!("{sampler} {}", if inverts { "finds a picture's noise: `invert`" } else { what }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn refused_arguments_are_found_elsewhere() {
        for (line, said) in [
            ("sample --colourise", Some("--colourise is an argument of `edit`")),
            ("edit --input x.png --strength 0.5", Some("--strength is an argument of `sample`")),
            ("sample --sampler repaint", Some("repaint edits a given picture: `edit`")),
            ("sample --sampler invert", Some("invert finds a picture's noise: `invert`")),
            ("edit --input x.png --sampler ddim", Some("ddim makes images of noise: `sample`")),
            ("sample --sampler nonsense", None),
            ("sample --nonsense", None),
            (
                "sample --prompt cat",
                Some("these models know classes and no text: --class NAME, of the names that `info` lists"),
            ),
        ] {
            let words = ["guided-diffusion"].into_iter().chain(line.split(' '));
            let error = Cli::try_parse_from(words).expect_err(line);
            assert_eq!(hint(&error).as_deref(), said, "{line}");
        }
    }
}
