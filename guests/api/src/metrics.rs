//! Metrics in Prometheus' text format (version 0.0.4).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use crate::model::{Disk, Domain, Machine, Machines, Network};
use crate::toolstack::{Own, Toolstack, Work};

/// A metric of domains: what it is called, of which type and what it says, and where its values are.
struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    values: Values,
}

/// The values of a metric for a domain.
#[derive(Clone, Copy)]
enum Values {
    /// One for each template.
    Machines(fn(&Machines) -> u64),
    /// Those that this writes.
    Domain(fn(&mut Sample<'_>, &Domain) -> fmt::Result),
    /// One for each network interface.
    Networks(fn(&Network) -> u64),
    /// One for each disk.
    Disks(fn(&Disk) -> u64),
}

impl Values {
    fn write(self, to: &mut Sample<'_>, domain: &Domain) -> fmt::Result {
        match self {
            Self::Domain(write) => write(to, domain),
            Self::Machines(value) => domain.machines.iter().try_for_each(|machines| to.number("", value(machines))),
            Self::Networks(value) => {
                domain.networks.iter().try_for_each(|network| to.number(Index(network.index), value(network)))
            }
            Self::Disks(value) => {
                domain.disks.iter().try_for_each(|disk| to.number(Label("disk", &disk.name), value(disk)))
            }
        }
    }
}

const METRICS: [Metric; 34] = [
    gauge("vcpus", "vCPUs.", |to, domain| to.number("", domain.vcpus)),
    gauge("memory_bytes", "Memory.", |to, domain| to.number("", domain.memory_kib.saturating_mul(1024))),
    gauge("touched_bytes", "Memory that the domain has touched.", |to, domain| to.number("", domain.touched_bytes)),
    gauge("hypervisor_bytes", "Memory that the hypervisor needs for the domain.", |to, domain| {
        to.number(r#",kind="tables""#, domain.hypervisor_bytes.tables)?;
        to.number(r#",kind="structures""#, domain.hypervisor_bytes.structures)
    }),
    gauge("paused", "Whether the domain is paused.", |to, domain| to.number("", u8::from(domain.state.paused))),
    counter("cpu_seconds_total", "Time that vCPUs ran.", |to, domain| to.number("", Seconds(domain.cpu_ns))),
    gauge("ready_seconds", "From when the domain was let run until it was ready; 0 until then.", |to, domain| {
        to.number("", Seconds(domain.ready_ns))
    }),
    counter("exits_total", "Times that the domain came to the hypervisor.", |to, domain| {
        domain.exits.0.iter().try_for_each(|(reason, count)| to.number(Label("reason", reason), count))
    }),
    counter("events_total", "Times that a vCPU of the domain was told of events.", |to, domain| {
        to.number("", domain.events)
    }),
    of_networks("network_receive_bytes_total", "Bytes that came to the domain.", |network| network.received_bytes),
    of_networks("network_receive_frames_total", "Frames that came to the domain.", |network| network.received_frames),
    of_networks("network_receive_dropped_total", "Frames for the domain for which there was no room.", |network| {
        network.received_dropped
    }),
    of_networks("network_transmit_bytes_total", "Bytes that the domain sent.", |network| network.sent_bytes),
    of_networks("network_transmit_frames_total", "Frames that the domain sent.", |network| network.sent_frames),
    of_networks("network_transmit_refused_total", "Frames that the domain must not send.", |network| network.refused),
    of_networks(
        "network_broken_total",
        "Connections that ended because the domain's rings made no sense.",
        |network| network.broken,
    ),
    of_disks("disk_read_bytes_total", "Bytes that the domain read.", |disk| disk.read_bytes),
    of_disks("disk_reads_total", "Requests to read that were done.", |disk| disk.reads),
    of_disks("disk_written_bytes_total", "Bytes that the domain wrote.", |disk| disk.written_bytes),
    of_disks("disk_writes_total", "Requests to write that were done.", |disk| disk.writes),
    of_disks("disk_others_total", "Flushes and discards that were done.", |disk| disk.others),
    of_disks("disk_errors_total", "Requests that failed.", |disk| disk.errors),
    of_disks("disk_broken_total", "Connections that ended because the domain's ring made no sense.", |disk| {
        disk.broken
    }),
    of_templates("clones", "gauge", "Clones that are there.", |machines| machines.live),
    of_templates("clones_launched_total", "counter", "Clones that were made.", |machines| machines.launched),
    of_templates("clones_vanished_total", "counter", "Clones that ended as they should.", |machines| machines.vanished),
    of_templates("clones_crashed_total", "counter", "Clones that failed.", |machines| machines.crashed),
    of_templates("clones_mean_life_microseconds", "gauge", "Time for which a clone was there.", |machines| {
        machines.life_us_mean
    }),
    of_templates(
        "clones_mean_memory_bytes",
        "gauge",
        "Memory that a clone had of its own when it ended.",
        |machines| machines.memory_kib_mean.saturating_mul(1024),
    ),
    of_templates("clones_waiting", "gauge", "Connections that no clone has accepted yet.", |machines| machines.waiting),
    of_templates("clones_refused_total", "counter", "Connections that were refused.", |machines| machines.refused),
    of_templates("clones_answered_total", "counter", "Connections that a clone began to answer.", |machines| {
        machines.answered
    }),
    of_templates("clones_mean_answer_microseconds", "gauge", "Time until the first byte of an answer.", |machines| {
        machines.answer_us_mean
    }),
    gauge("crashed", "Whether the domain has crashed.", |to, domain| to.number("", u8::from(domain.state.crashed))),
];

const fn gauge(name: &'static str, help: &'static str, write: fn(&mut Sample<'_>, &Domain) -> fmt::Result) -> Metric {
    Metric { name, kind: "gauge", help, values: Values::Domain(write) }
}

const fn counter(name: &'static str, help: &'static str, write: fn(&mut Sample<'_>, &Domain) -> fmt::Result) -> Metric {
    Metric { name, kind: "counter", help, values: Values::Domain(write) }
}

const fn of_templates(
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&Machines) -> u64,
) -> Metric {
    Metric { name, kind, help, values: Values::Machines(value) }
}

const fn of_networks(name: &'static str, help: &'static str, value: fn(&Network) -> u64) -> Metric {
    Metric { name, kind: "counter", help, values: Values::Networks(value) }
}

const fn of_disks(name: &'static str, help: &'static str, value: fn(&Disk) -> u64) -> Metric {
    Metric { name, kind: "counter", help, values: Values::Disks(value) }
}

/// Everything there is to measure, as it is now.
pub fn write(toolstack: &dyn Toolstack) -> String {
    let mut text = String::new();
    let domains: Vec<_> = toolstack.numbers().into_iter().filter_map(|id| toolstack.domain(id)).collect();
    // A string takes whatever it is given.
    let _ = machine(&mut text, &toolstack.machine());
    let of_itself = toolstack.own();
    let _ = own(&mut text, &of_itself);
    let _ = work(&mut text, &of_itself.work);
    for metric in &METRICS {
        let _ = of_domains(&mut text, metric, &domains);
    }
    text
}

fn machine(text: &mut String, machine: &Machine) -> fmt::Result {
    let mut gauge = |name: &str, help: &str, value: &dyn fmt::Display| {
        let name = format_args!("mote_machine_{name}");
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}")
    };
    gauge("cpus", "Physical CPUs.", &machine.cpus)?;
    gauge("memory_bytes", "Memory.", &machine.memory_kib.saturating_mul(1024))?;
    gauge("free_bytes", "Memory that nobody has.", &machine.free_kib.saturating_mul(1024))?;
    gauge("domains", "Domains that are there.", &machine.domains)?;
    gauge("uptime_seconds", "Time since it was switched on.", &Seconds(machine.time_ns))?;
    let name = "mote_machine_clones_lost_total";
    let help = "Domains that vanished so fast one after the other that nobody counted them.";
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {}", machine.lost)
}

fn own(text: &mut String, own: &Own) -> fmt::Result {
    for (name, help, value) in [
        ("control_heap_used_bytes", "Bytes of the control domain's heap that are in use.", own.heap_used),
        ("control_heap_free_bytes", "Bytes of the control domain's heap that are free.", own.heap_free),
        ("control_image_bytes", "Bytes of images that were sent.", own.images),
        ("xenstore_nodes", "Nodes in xenstore.", own.store_nodes),
        ("xenstore_bytes", "Bytes of nodes, watches, transactions and messages.", own.store_bytes),
        ("xenstore_watches", "Watches in xenstore.", own.store_watches),
        ("xenstore_transactions", "Open transactions in xenstore.", own.store_transactions),
    ] {
        writeln!(text, "# HELP mote_{name} {help}\n# TYPE mote_{name} gauge\nmote_{name} {value}")?;
    }
    let (name, help) =
        ("mote_control_ready_seconds", "When the API was first served, after the machine was switched on.");
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {}", Seconds(own.ready_ns))
}

fn work(text: &mut String, work: &[Work]) -> fmt::Result {
    let name = "mote_operations_total";
    writeln!(text, "# HELP {name} Domains that were created, started, destroyed.\n# TYPE {name} counter")?;
    work.iter().try_for_each(|Work { what, times, .. }| writeln!(text, "{name}{{operation=\"{what}\"}} {times}"))?;
    let name = "mote_operation_seconds_total";
    writeln!(text, "# HELP {name} Time that it took.\n# TYPE {name} counter")?;
    work.iter().try_for_each(|Work { what, ns, .. }| writeln!(text, "{name}{{operation=\"{what}\"}} {}", Seconds(*ns)))
}

fn of_domains(text: &mut String, metric: &Metric, domains: &[Domain]) -> fmt::Result {
    let Metric { name, kind, help, values } = metric;
    writeln!(text, "# HELP mote_domain_{name} {help}\n# TYPE mote_domain_{name} {kind}")?;
    domains.iter().try_for_each(|domain| values.write(&mut Sample { text, name, domain }, domain))
}

/// Where the lines of a metric for one domain go.
struct Sample<'a> {
    text: &'a mut String,
    name: &'static str,
    domain: &'a Domain,
}

impl Sample<'_> {
    fn number(&mut self, labels: impl fmt::Display, value: impl fmt::Display) -> fmt::Result {
        let Self { text, name, domain: Domain { id, name: domain, .. } } = self;
        writeln!(text, "mote_domain_{name}{{id=\"{id}\"{}{labels}}} {value}", Label("domain", domain))
    }
}

/// Nanoseconds as seconds.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NANOSECONDS: u64 = 1_000_000_000;
        write!(f, "{}.{:09}", self.0 / NANOSECONDS, self.0 % NANOSECONDS)
    }
}

/// A further label with a text.
struct Label<'a>(&'static str, &'a str);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ",{}=\"", self.0)?;
        for c in self.1.chars() {
            match c {
                '\\' | '"' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// A further label with the number of a network interface.
struct Index(u32);

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ",interface=\"{}\"", self.0)
    }
}
