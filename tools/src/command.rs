//! The commands.

pub mod bench;
pub mod build;
pub mod check;
pub mod compare;
mod measure;
pub mod run;
pub mod setup;

use crate::cli::{Command, RunArgs};
use crate::failure::{Result, Status};

/// Does what the command line asks for: `run` with the demonstration, if it asks for nothing.
///
/// # Errors
///
/// Why it could not.
pub fn execute(command: Option<Command>) -> Result<Status> {
    match command.unwrap_or_else(|| Command::Run(RunArgs::default())) {
        Command::Run(arguments) => run::run(&arguments),
        Command::Check { config } => check::check(&config),
        Command::Setup => setup::setup(),
        Command::Build => build::build(),
        Command::Compare(arguments) => compare::compare(&arguments),
        Command::Bench(arguments) => bench::bench(&arguments),
    }
}
