//! `completions` and `man`: what shells and man(1) read, made from the command line's own description.

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use miette::miette;

use super::say;
use crate::cli::Cli;
use crate::failure::{Failure, Result, Status};

/// Writes a shell's completions to standard output.
///
/// # Errors
///
/// None.
pub fn completions(shell: Shell) -> Result<Status> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mote", &mut text);
    say(text);
    Ok(Status::Clean)
}

/// Writes a page for the tool and one for each of its commands into `directory`.
///
/// # Errors
///
/// They cannot be written.
pub fn pages(directory: &Path) -> Result<Status> {
    let written = fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(Cli::command(), directory));
    written.map_err(|error| {
        let help = "name a directory that you may write to";
        Failure::unable(miette!(help = help, "cannot write man pages into {}: {error}", directory.display()))
    })?;
    Ok(Status::Clean)
}
