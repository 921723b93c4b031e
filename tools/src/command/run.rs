//! `run`: boots a configuration.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::boot::Boot;
use crate::cli::{Hypervisor, RunArgs};
use crate::config::Config;
use crate::console::Heard;
use crate::failure::{Result, Status};
use crate::report::json::Document;
use crate::report::{Report, table};
use crate::running::{Service, State};
use crate::session::{self, End};
use crate::setup::{self, Need};
use crate::workspace;

/// Boots the configuration and serves its console until the last guest has ended; then shows what each cost.
///
/// # Errors
///
/// The configuration has mistakes, or the machine cannot be had.
pub fn run(arguments: &RunArgs) -> Result<Status> {
    setup::ensure(&[Need::Qemu, Need::Dtc])?;
    let machine = arguments.machine();
    let path = arguments.config.clone().unwrap_or_else(demonstration);
    let config = Config::load(&path, machine.memory)?;
    let hypervisor = arguments.hypervisor;
    let interactive = session::is_interactive();
    let mut boot = Boot::prepare(&config, &machine, hypervisor, interactive)?;
    if arguments.gdb {
        boot.wait_for_debugger();
        tell_of_debugger(&boot);
    }
    if interactive {
        eprintln!("mote: Ctrl-A three times moves between the guests, Ctrl-A x leaves");
    }
    let state = boot.state(&config);
    let _announced = if hypervisor == Hypervisor::Mote { Some(state.announce()?) } else { None };
    tell_of_services(&state);
    let console = boot.console(io::stdout()).verbose(arguments.verbose);
    let (end, heard) = boot.run(arguments.timeout.map(Duration::from_secs), console)?;
    boot.explain(&heard).iter().for_each(|line| println!("{line}"));
    show_costs(&heard, hypervisor, machine.icount);
    if let Some(file) = &arguments.json {
        Document::of_run(&machine, hypervisor, &heard).write(file)?;
    }
    let expected = config.domains.iter().filter(|domain| !domain.ephemeral).count();
    Ok(status(end, &heard, expected, hypervisor))
}

/// The configuration that is booted unless another is named.
fn demonstration() -> PathBuf {
    let path = workspace::root().join("dtb/demo.dts");
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).map(PathBuf::from).unwrap_or(path)
}

/// Says where guests' ports are found.
fn tell_of_services(state: &State) {
    for Service { domain, host, guest } in &state.services {
        match guest {
            80 => eprintln!("mote: {domain} is at http://127.0.0.1:{host}/"),
            _ => eprintln!("mote: port {guest} of {domain} is 127.0.0.1:{host}"),
        }
    }
}

fn tell_of_debugger(boot: &Boot) {
    eprintln!("mote: the machine waits for a debugger: gdb-multiarch -ex 'target remote :1234'");
    if let Some(symbols) = boot.symbols() {
        // QEMU puts an Image behind the first 2 MiB of RAM.
        eprintln!("mote: then in gdb: add-symbol-file {} -o 0x40200000", symbols.display());
    }
}

/// Guests that a table has room for.
const COLUMNS: usize = 12;

fn show_costs(heard: &Heard, hypervisor: Hypervisor, icount: bool) {
    let mut domains: Vec<_> = heard.domains().collect();
    domains.sort_by_key(|domain| domain.id);
    let left_out = domains.len().saturating_sub(COLUMNS);
    domains.truncate(COLUMNS);
    if !domains.is_empty() {
        println!("\n{}", table::of_guests(&domains, icount));
        if left_out > 0 {
            println!("and {left_out} more guests, which --json FILE has all");
        }
    } else if hypervisor == Hypervisor::Xen {
        println!("\nXen does not tell what its guests cost.");
    }
}

/// The status for how a run of `expected` guests ended.
fn status(end: End, heard: &Heard, expected: usize, hypervisor: Hypervisor) -> Status {
    let refused = heard.reports.iter().any(|report| matches!(report, Report::Refused { .. }));
    let missing = hypervisor == Hypervisor::Mote && heard.domains().count() < expected;
    match end {
        End::Signalled(signal) => Status::Signalled(signal),
        End::TimedOut => Status::TimedOut,
        _ if heard.panicked || refused || heard.has_crash() => Status::Crashed,
        End::PoweredOff if missing => Status::Crashed,
        End::PoweredOff | End::Finished | End::Left => Status::Clean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::domain;

    fn after(end: End, heard: &Heard) -> Status {
        status(end, heard, 1, Hypervisor::Mote)
    }

    #[test]
    fn a_run_is_clean_when_every_guest_has_ended_so() {
        let heard = Heard { reports: vec![domain("shutdown")], ..Heard::default() };
        assert_eq!(after(End::PoweredOff, &heard), Status::Clean);
        assert_eq!(after(End::TimedOut, &heard), Status::TimedOut);
    }

    #[test]
    fn a_crash_a_refusal_a_panic_and_silence_are_not_clean() {
        let refused = Report::Refused { name: "a".into(), reason: "b".into() };
        for heard in [
            Heard { reports: vec![domain("crashed")], ..Heard::default() },
            Heard { reports: vec![domain("shutdown"), refused], ..Heard::default() },
            Heard { reports: vec![domain("shutdown")], panicked: true, ..Heard::default() },
            Heard { reports: vec![domain("shutdown")], crashed: vec!["x".into()], ..Heard::default() },
            Heard::default(),
        ] {
            assert_eq!(after(End::PoweredOff, &heard), Status::Crashed, "{heard:?}");
        }
    }

    #[test]
    fn who_leaves_the_console_has_seen_enough() {
        assert_eq!(after(End::Left, &Heard::default()), Status::Clean);
    }
}
