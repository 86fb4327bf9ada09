//! docs/cli.md, written from the program's own help. The test fails where the file is not what the help says;
//! `UPDATE_CLI=1 cargo test --release --lib document` writes it anew.

use clap::{Command, CommandFactory};

use super::args::Cli;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");
/// Columns of the help, whatever terminal asks.
const WIDTH: usize = 110;

fn text() -> String {
    let mut program = Cli::command().term_width(WIDTH);
    program.build();
    let mut out = String::from(
        "# Command line\n\nWhat the program itself says: `guided-diffusion --help`, and `guided-diffusion COMMAND --help` for each \
         command. Written by\nsrc/cli/document.rs; not to be edited.\n",
    );
    section(&mut out, "guided-diffusion", &mut program.clone());
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        section(&mut out, command.get_name(), &mut command.clone());
    }
    out
}

fn section(out: &mut String, title: &str, command: &mut Command) {
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    *out += &format!("\n## {title}\n\n```text\n{}\n```\n", lines.join("\n").trim_end());
}

#[test]
fn the_document_of_the_command_line_is_fresh() {
    let wanted = text();
    if std::env::var_os("UPDATE_CLI").is_some() {
        std::fs::write(FILE, &wanted).expect("written");
    }
    let have = std::fs::read_to_string(FILE).unwrap_or_default();
    assert_eq!(have, wanted, "docs/cli.md is not fresh; src/cli/document.rs says how to write it");
}
