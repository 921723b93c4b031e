//! `list`: who is there.

use std::fmt::Write;

use mote_api::model::Domain;

use super::{say, say_json};
use crate::cli::Target;
use crate::failure::{Result, Status};
use crate::running;

/// Lists all domains, or those named, with xl's columns.
///
/// # Errors
///
/// No machine runs, or there is no domain of a name.
pub fn list(names: &[String], target: &Target) -> Result<Status> {
    let client = running::connect(target.machine.as_deref())?;
    let domains = match names {
        [] => client.domains()?.domains,
        names => names.iter().map(|name| client.domain(name)).collect::<Result<_>>()?,
    };
    if target.json {
        say_json(&domains);
    } else {
        say(table(&domains));
    }
    Ok(Status::Clean)
}

fn table(domains: &[Domain]) -> String {
    let mut text = format!("{:<40} {:>5} {:>5} {:>5}\tState\tTime(s)\n", "Name", "ID", "Mem", "VCPUs");
    for Domain { id, name, state, vcpus, memory_kib, cpu_ns, .. } in domains {
        let (mib, seconds) = (memory_kib / 1024, *cpu_ns as f64 / 1e9);
        // A string takes whatever it is given.
        let _ = writeln!(text, "{name:<40} {id:>5} {mib:>5} {vcpus:>5}     {state}  {seconds:>8.1}");
    }
    text
}
