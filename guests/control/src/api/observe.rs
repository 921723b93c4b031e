//! How the machine and its domains are, as the API tells it.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use mote_api::model::{self, Exits, HypervisorBytes, Machine, State};
use mote_builder::config::{CONTROL, Vbd};
use mote_protocols::statistics::{Counts, Device, Kind, interface, service};
use mote_unikernel::time::{self, Instant};
use mote_unikernel::xen::domains as hypervisor;
use xen_abi::Zeroed;
use xen_abi::domctl::{GetDomainInfo, info};
use xen_abi::mote::{EXIT_REASONS, Usage};
use xen_abi::sched::reason;

use crate::domains::Domain;
use crate::statistics::Statistics;
use crate::toolstack::clones;

const KIB_PER_PAGE: u64 = 4;
/// Bytes of the hypervisor's log that are read at once, and that are read at all.
const LOG_PART: usize = 2048;
const LOG_MOST: usize = 64 << 10;

/// The machine, with so many domains; of so many that vanished nobody knows more.
pub fn machine(domains: usize, lost: u64) -> Machine {
    let info = hypervisor::machine().unwrap_or_else(|_| xen_abi::sysctl::Physinfo::new_zeroed());
    Machine {
        hypervisor: "Mote".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        cpus: info.nr_cpus,
        cpu_khz: info.cpu_khz,
        memory_kib: info.total_pages.saturating_mul(KIB_PER_PAGE),
        free_kib: info.free_pages.saturating_mul(KIB_PER_PAGE),
        domains: domains as u32,
        time_ns: nanoseconds(Instant::now().ticks()),
        lost,
    }
}

/// What the hypervisor has said.
pub fn log() -> Vec<u8> {
    let mut log = Vec::new();
    let mut part = [0; LOG_PART];
    let mut next = None;
    while log.len() < LOG_MOST {
        let Ok((length @ 1.., end)) = hypervisor::log(next, &mut part) else { break };
        log.extend_from_slice(part.get(..length).unwrap_or_default());
        next = Some(end);
    }
    log
}

/// The domain of a number, as it is `known`; the control domain is not. If it is a service whose machines boot, it has so many `machines`.
pub fn domain(
    id: u16,
    known: Option<&Domain>,
    machines: Option<u64>,
    statistics: &Statistics,
) -> Option<model::Domain> {
    let mut room = [GetDomainInfo::new_zeroed()];
    let [info] = match hypervisor::list(id, &mut room) {
        Ok(1) => room,
        _ => return None,
    };
    let usage = hypervisor::usage(id).ok()?;
    (info.domain == id).then(|| describe(&info, &usage, known, machines, statistics))
}

/// What its driver domain counts of a service besides.
fn of_service(domain: u16, machines: model::Machines, statistics: &Statistics) -> model::Machines {
    use service::{ANSWER_MOST, ANSWER_SUM, ANSWERED, REFUSED, WAITING};
    let counts = statistics.of(Device { kind: Kind::Service, domain, number: 0 });
    let microseconds = |milliseconds: u64| milliseconds.saturating_mul(1000);
    model::Machines {
        waiting: counts[WAITING],
        refused: counts[REFUSED],
        answered: counts[ANSWERED],
        answer_us_mean: microseconds(counts[ANSWER_SUM]) / counts[ANSWERED].max(1),
        answer_us_max: microseconds(counts[ANSWER_MOST]),
        ..machines
    }
}

fn describe(
    info: &GetDomainInfo,
    usage: &Usage,
    known: Option<&Domain>,
    machines: Option<u64>,
    statistics: &Statistics,
) -> model::Domain {
    let (clones, id) = (clones(usage), info.domain);
    let definition = known.map(|known| &known.definition);
    let exits = known.map_or(usage.exits, |known| known.exits(usage.exits));
    let exits = EXIT_REASONS.iter().zip(exits).map(|(reason, count)| (Cow::Borrowed(*reason), count));
    let of = |kind, number| statistics.of(Device { kind, domain: id, number });
    // The control domain has one that nobody asked for.
    let interfaces = definition.map_or(1, |definition| definition.vifs.len() as u32);
    model::Domain {
        id,
        name: definition.map_or(CONTROL, |definition| &definition.name).into(),
        state: state(info.flags),
        vcpus: info.max_vcpu_id.saturating_add(1),
        weight: hypervisor::weight(info.domain).map_or(0, u32::from),
        memory_kib: info.tot_pages.saturating_mul(KIB_PER_PAGE),
        max_memory_kib: info.max_pages.saturating_mul(KIB_PER_PAGE),
        touched_bytes: usage.touched,
        hypervisor_bytes: HypervisorBytes { tables: usage.tables, structures: usage.structures },
        cpu_ns: info.cpu_time,
        ready_ns: nanoseconds(if usage.ready == 0 { 0 } else { usage.ready.saturating_sub(usage.built) }),
        exits: Exits(exits.collect()),
        events: usage.events,
        networks: (0..interfaces).map(|index| network(index, of(Kind::Interface, index))).collect(),
        disks: definition.map_or(&[][..], |it| &it.vbds).iter().map(|it| disk(it, of(Kind::Disk, it.number))).collect(),
        template: clones.is_some(),
        machines: clones.or(machines).and_then(|live| Some(of_service(id, known?.ended.machines(live), statistics))),
    }
}

fn network(index: u32, counts: Counts) -> model::Network {
    use interface::{BROKEN, RECEIVED_BYTES, RECEIVED_DROPPED, RECEIVED_FRAMES, REFUSED, SENT_BYTES, SENT_FRAMES};
    model::Network {
        index,
        received_bytes: counts[RECEIVED_BYTES],
        received_frames: counts[RECEIVED_FRAMES],
        received_dropped: counts[RECEIVED_DROPPED],
        sent_bytes: counts[SENT_BYTES],
        sent_frames: counts[SENT_FRAMES],
        refused: counts[REFUSED],
        broken: counts[BROKEN],
    }
}

fn disk(disk: &Vbd, counts: Counts) -> model::Disk {
    use mote_protocols::statistics::disk::{BROKEN, ERRORS, OTHERS, READ_BYTES, READS, WRITES, WRITTEN_BYTES};
    model::Disk {
        name: disk.vdev.clone(),
        read_bytes: counts[READ_BYTES],
        reads: counts[READS],
        written_bytes: counts[WRITTEN_BYTES],
        writes: counts[WRITES],
        others: counts[OTHERS],
        errors: counts[ERRORS],
        broken: counts[BROKEN],
    }
}

/// The state by the hypervisor's flags.
fn state(flags: u32) -> State {
    let has = |flag| flags & flag != 0;
    let shutdown = has(info::SHUTDOWN);
    let code = flags >> info::SHUTDOWN_SHIFT & 0xff;
    State {
        running: has(info::RUNNING),
        blocked: has(info::BLOCKED) && !shutdown,
        paused: has(info::PAUSED),
        shutdown,
        crashed: shutdown && !matches!(code, reason::POWEROFF | reason::REBOOT | reason::SUSPEND),
        dying: has(info::DYING),
    }
}

/// Ticks of the counter as nanoseconds.
pub fn nanoseconds(ticks: u64) -> u64 {
    u64::try_from(time::duration(ticks).as_nanos()).unwrap_or(u64::MAX)
}
