//! `check`: every mistake in a configuration.

use std::path::Path;

use crate::boot::machine::Machine;
use crate::config::Config;
use crate::failure::{Result, Status};
use crate::setup::{self, Need};

/// Reads `path` as `run` would on the machine that it takes unless told otherwise.
///
/// # Errors
///
/// Every mistake.
pub fn check(path: &Path) -> Result<Status> {
    setup::ensure(&[Need::Dtc])?;
    let config = Config::load(path, Machine::DEFAULT_MEMORY)?;
    let count = config.domains.len();
    let names: Vec<&str> = config.domains.iter().map(|domain| domain.name.as_str()).collect();
    let guests = if count == 1 { "guest" } else { "guests" };
    println!("{}: no mistakes; {count} {guests}: {}", path.display(), names.join(", "));
    Ok(Status::Clean)
}
