//! The commands.

pub mod bench;
pub mod build;
pub mod check;
pub mod compare;
pub mod console;
pub mod create;
pub mod disk;
pub mod info;
pub mod list;
pub mod lives;
pub mod load;
pub mod manual;
mod measure;
pub mod run;
pub mod setup;
pub mod top;

use std::io::{self, Write};

use serde::Serialize;

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
        Command::List { domains, target } => list::list(&domains, &target),
        Command::Create { config, paused, target } => create::create(&config, paused, &target),
        Command::Destroy(domains) => lives::destroy(&domains),
        Command::Pause(domains) => lives::pause(&domains),
        Command::Unpause(domains) => lives::unpause(&domains),
        Command::Restart(domains) => lives::restart(&domains),
        Command::Shutdown { reboot, wait, domains } => lives::shut_down(&domains, reboot, wait),
        Command::Console(arguments) => console::console(&arguments),
        Command::Info { domain, target } => info::info(domain.as_deref(), &target),
        Command::Dmesg(target) => info::dmesg(&target),
        Command::Top(arguments) => top::top(&arguments),
        Command::Disk(arguments) => disk::disk(&arguments),
        Command::Load(arguments) => load::load(&arguments),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { directory } => manual::pages(&directory),
    }
}

/// Writes a command's answer to standard output. Who reads it may have had enough.
fn say(text: impl AsRef<[u8]>) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_ref()).and_then(|()| out.flush());
}

/// Writes a command's answer as JSON.
fn say_json(value: &impl Serialize) {
    // What we serialize has text for keys, so it can be.
    say(serde_json::to_string_pretty(value).unwrap_or_default() + "\n");
}
