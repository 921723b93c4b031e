//! The `mote` command. See the library for what it does.

use std::process::ExitCode;

use clap::Parser;
use mote_tools::cli::Cli;
use mote_tools::command;
use mote_tools::failure::Style;

fn main() -> ExitCode {
    match command::execute(Cli::parse().command) {
        Ok(status) => status.into(),
        Err(failure) => {
            eprint!("{}", failure.render(Style::of_stderr()));
            failure.status().into()
        }
    }
}
