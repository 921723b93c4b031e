//! `info` and `dmesg`: what the machine or a domain has, and what the hypervisor said.

use std::fmt::{Display, Write};

use mote_api::model::{Domain, Machine, Machines};

use super::{say, say_json};
use crate::cli::Target;
use crate::failure::{Result, Status};
use crate::running;

/// Shows the machine, with xl's names where it has them, or a domain.
///
/// # Errors
///
/// No machine runs, or there is no such domain.
pub fn info(domain: Option<&str>, target: &Target) -> Result<Status> {
    let client = running::connect(target.machine.as_deref())?;
    match domain {
        Some(name) => {
            let domain = client.domain(name)?;
            if target.json { say_json(&domain) } else { say(of_domain(&domain)) }
        }
        None => {
            let machine = client.machine()?;
            if target.json { say_json(&machine) } else { say(of_machine(&machine)) }
        }
    }
    Ok(Status::Clean)
}

/// Shows what the hypervisor has said.
///
/// # Errors
///
/// No machine runs.
pub fn dmesg(target: &Target) -> Result<Status> {
    let log = running::connect(target.machine.as_deref())?.log()?;
    if target.json {
        let text = String::from_utf8_lossy(&log);
        say_json(&text.lines().collect::<Vec<_>>());
    } else {
        say(log);
    }
    Ok(Status::Clean)
}

fn of_machine(machine: &Machine) -> String {
    let Machine { hypervisor, version, cpus, cpu_khz, memory_kib, free_kib, domains, time_ns, lost } = machine;
    lines(&[
        ("hypervisor", hypervisor),
        ("version", version),
        ("nr_cpus", cpus),
        ("cpu_mhz", &format!("{}.{:03}", cpu_khz / 1000, cpu_khz % 1000)),
        ("total_memory", &(memory_kib / 1024)),
        ("free_memory", &(free_kib / 1024)),
        ("nr_domains", domains),
        ("lost_clones", lost),
        ("uptime", &format!("{:.1}", *time_ns as f64 / 1e9)),
    ])
}

fn of_domain(domain: &Domain) -> String {
    let Domain { id, name, state, vcpus, weight, memory_kib, max_memory_kib, touched_bytes, cpu_ns, events, .. } =
        domain;
    let mut text = lines(&[
        ("name", name),
        ("id", id),
        ("state", state),
        ("vcpus", vcpus),
        ("weight", weight),
        ("memory_kib", memory_kib),
        ("max_memory_kib", max_memory_kib),
        ("touched_kib", &(touched_bytes / 1024)),
        ("hypervisor_bytes", &domain.hypervisor_bytes.total()),
        ("cpu_seconds", &format!("{:.3}", *cpu_ns as f64 / 1e9)),
        ("events", events),
        ("exits", &domain.exits.total()),
    ]);
    for (reason, count) in &domain.exits.0 {
        text += &lines(&[(&format!("  {reason}"), count)]);
    }
    if let Some(machines) = &domain.machines {
        text += &of_clones(machines);
    }
    for network in &domain.networks {
        let traffic = format!(
            "{} bytes received, {} sent, {} frames dropped, {} refused",
            network.received_bytes, network.sent_bytes, network.received_dropped, network.refused
        );
        text += &lines(&[(&format!("network {}", network.index), &traffic)]);
    }
    for disk in &domain.disks {
        let traffic = format!("{} bytes read, {} written, {} errors", disk.read_bytes, disk.written_bytes, disk.errors);
        text += &lines(&[(&format!("disk {}", disk.name), &traffic)]);
    }
    text
}

fn of_clones(machines: &Machines) -> String {
    let Machines { launched, live, vanished, crashed, .. } = machines;
    let range = |unit: &str, least: u64, mean: u64, most: u64| format!("{mean} {unit} ({least} to {most})");
    let life = range("us", machines.life_us_min, machines.life_us_mean, machines.life_us_max);
    let memory = range("KiB", machines.memory_kib_min, machines.memory_kib_mean, machines.memory_kib_max);
    lines(&[
        ("clones", live),
        ("  launched", launched),
        ("  vanished", vanished),
        ("  crashed", crashed),
        ("  life", &life),
        ("  cpu", &format!("{} us", machines.cpu_us_mean)),
        ("  memory", &memory),
        ("  waiting", &machines.waiting),
        ("  refused", &machines.refused),
        ("  answered", &machines.answered),
        ("  first byte after", &format!("{} us ({} at most)", machines.answer_us_mean, machines.answer_us_max)),
    ])
}

/// Names and values, as xl writes them.
fn lines(values: &[(&str, &dyn Display)]) -> String {
    let mut text = String::new();
    for (name, value) in values {
        // A string takes whatever it is given.
        let _ = writeln!(text, "{name:<23}: {value}");
    }
    text
}
