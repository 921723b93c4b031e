//! `list`: who is there.

use std::fmt::Write;

use mote_api::model::{Domain, Machines};

use super::{say, say_json};
use crate::cli::Target;
use crate::failure::{Result, Status};
use crate::running;

/// Lists all domains, or those named, with xl's columns. Under a service is a line for all its machines.
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
    for Domain { id, name, state, vcpus, memory_kib, cpu_ns, template, machines, .. } in domains {
        let (mib, seconds) = (memory_kib / 1024, *cpu_ns as f64 / 1e9);
        // A string takes whatever it is given.
        let _ = writeln!(text, "{name:<40} {id:>5} {mib:>5} {vcpus:>5}     {state}  {seconds:>8.1}");
        // Clones are too many, and too short-lived, to be listed one by one.
        if let Some(Machines { live, launched, vanished, crashed, waiting, .. }) = machines {
            let kind = if *template { "clones" } else { "machines" };
            let _ = write!(text, "`- {live} {kind} of {launched} ({vanished} vanished, {crashed} crashed)");
            let _ = if *waiting > 0 { writeln!(text, ", {waiting} callers waiting") } else { writeln!(text) };
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_one_line_under_their_template() {
        let machines = Machines { launched: 12_000, live: 10_000, vanished: 1990, crashed: 10, ..Machines::default() };
        let web = Domain { id: 3, name: "web".into(), template: true, machines: Some(machines), ..Domain::default() };
        let text = table(&[Domain::default(), web]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[2].starts_with("web "), "{text}");
        assert_eq!(lines[3], "`- 10000 clones of 12000 (1990 vanished, 10 crashed)");
        let booted = Machines { launched: 2, live: 1, vanished: 1, waiting: 3, ..Machines::default() };
        let text = table(&[Domain { machines: Some(booted), ..Domain::default() }]);
        assert!(text.ends_with("`- 1 machines of 2 (1 vanished, 0 crashed), 3 callers waiting\n"), "{text}");
    }
}
