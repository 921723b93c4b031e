//! `top`: what each domain uses, live.

use std::fmt::Write;
use std::io;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use miette::miette;
use mote_api::model::{Domain, Domains, Machines};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use super::say;
use crate::cli::TopArgs;
use crate::failure::{Failure, Result, Status};
use crate::running;
use crate::session::{RawTerminal, is_interactive};

/// What a domain used from one look to the next; what was not looked at twice is not known.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Use {
    name: String,
    id: u16,
    state: String,
    cpu_seconds: f64,
    cpu_percent: Option<f64>,
    memory_kib: u64,
    memory_percent: f64,
    vcpus: u32,
    exits_per_second: Option<f64>,
    events_per_second: Option<f64>,
    received_per_second: Option<f64>,
    sent_per_second: Option<f64>,
    read_per_second: Option<f64>,
    written_per_second: Option<f64>,
    clones: Option<Clones>,
}

/// A template's clones. Lives and memory are of those that ended: since the last look, and of all.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Clones {
    live: u64,
    launched: u64,
    vanished: u64,
    crashed: u64,
    launched_per_second: Option<f64>,
    vanished_per_second: Option<f64>,
    crashed_per_second: Option<f64>,
    life_us_lately: Option<u64>,
    life_us_min: u64,
    life_us_mean: u64,
    life_us_max: u64,
    memory_kib_mean: u64,
    memory_kib_max: u64,
    /// The template's, the hypervisor's for it, and that of the clones that are there, if each has as much as those that ended had.
    service_kib: u64,
    waiting: u64,
    answer_us_mean: u64,
}

/// A look, as JSON.
#[derive(Serialize)]
struct Look {
    time_ns: u64,
    domains: Vec<Use>,
}

/// Shows what each domain uses, again and again. On a terminal the screen is drawn anew each time, and `q` ends it.
///
/// # Errors
///
/// No machine runs, or it has ended.
pub fn top(arguments: &TopArgs) -> Result<Status> {
    let client = running::connect(arguments.target.machine.as_deref())?;
    let is_live = is_interactive() && !arguments.batch && !arguments.target.json;
    let delay = Duration::from_secs_f64(arguments.delay);
    let mut before = client.domains()?;
    let screen = if is_live { Some(Screen::enter().map_err(lost)?) } else { None };
    if let Some(screen) = &screen {
        screen.draw(&table(&before, &uses(None, &before)));
    }
    let mut looks = 0;
    while arguments.iterations.is_none_or(|most| looks < most) {
        match &screen {
            Some(screen) if screen.is_left_within(delay).map_err(lost)? => break,
            Some(_) => {}
            None => thread::sleep(delay),
        }
        let now = client.domains()?;
        let domains = uses(Some(&before), &now);
        match &screen {
            Some(screen) => screen.draw(&table(&now, &domains)),
            None if arguments.target.json => {
                let look = Look { time_ns: now.time_ns, domains };
                say(serde_json::to_string(&look).unwrap_or_default() + "\n");
            }
            None => say(table(&now, &domains) + "\n"),
        }
        before = now;
        looks += 1;
    }
    Ok(Status::Clean)
}

fn lost(error: io::Error) -> Failure {
    Failure::unable(miette!("the terminal cannot be used: {error}"))
}

fn uses(before: Option<&Domains>, now: &Domains) -> Vec<Use> {
    let seconds = before.map_or(0, |before| now.time_ns.saturating_sub(before.time_ns)) as f64 / 1e9;
    let domains = now.domains.iter().map(|domain| {
        let is_same = |other: &&Domain| (other.id, &other.name) == (domain.id, &domain.name);
        let earlier = before.and_then(|before| before.domains.iter().find(is_same));
        let rate = |count: fn(&Domain) -> u64| {
            let more = count(domain).checked_sub(count(earlier?))?;
            (seconds > 0.0).then(|| more as f64 / seconds)
        };
        Use {
            name: domain.name.clone(),
            id: domain.id,
            state: domain.state.to_string(),
            cpu_seconds: domain.cpu_ns as f64 / 1e9,
            cpu_percent: rate(|domain| domain.cpu_ns).map(|nanoseconds| nanoseconds / 1e7),
            memory_kib: domain.memory_kib,
            memory_percent: domain.memory_kib as f64 * 100.0 / now.memory_kib.max(1) as f64,
            vcpus: domain.vcpus,
            exits_per_second: rate(|domain| domain.exits.total()),
            events_per_second: rate(|domain| domain.events),
            received_per_second: rate(|domain| domain.networks.iter().map(|network| network.received_bytes).sum()),
            sent_per_second: rate(|domain| domain.networks.iter().map(|network| network.sent_bytes).sum()),
            read_per_second: rate(|domain| domain.disks.iter().map(|disk| disk.read_bytes).sum()),
            written_per_second: rate(|domain| domain.disks.iter().map(|disk| disk.written_bytes).sum()),
            clones: domain.machines.map(|machines| Clones {
                live: machines.live,
                launched: machines.launched,
                vanished: machines.vanished,
                crashed: machines.crashed,
                launched_per_second: rate(|domain| of_clones(domain, |machines| machines.launched)),
                vanished_per_second: rate(|domain| of_clones(domain, |machines| machines.vanished)),
                crashed_per_second: rate(|domain| of_clones(domain, |machines| machines.crashed)),
                life_us_lately: earlier.and_then(|earlier| life_lately(earlier.machines.as_ref()?, &machines)),
                life_us_min: machines.life_us_min,
                life_us_mean: machines.life_us_mean,
                life_us_max: machines.life_us_max,
                memory_kib_mean: machines.memory_kib_mean,
                memory_kib_max: machines.memory_kib_max,
                service_kib: service_kib(domain, &machines),
                waiting: machines.waiting,
                answer_us_mean: machines.answer_us_mean,
            }),
        }
    });
    domains.collect()
}

fn of_clones(domain: &Domain, count: impl Fn(&Machines) -> u64) -> u64 {
    domain.machines.as_ref().map_or(0, count)
}

/// Microseconds that those lived that ended between two looks, in the mean.
fn life_lately(before: &Machines, now: &Machines) -> Option<u64> {
    let (count, ns) = (now.ended().checked_sub(before.ended())?, now.life_ns_total.checked_sub(before.life_ns_total)?);
    (ns / 1000).checked_div(count)
}

fn service_kib(domain: &Domain, machines: &Machines) -> u64 {
    let of_clones = machines.live.saturating_mul(machines.memory_kib_mean);
    domain.memory_kib.saturating_add(domain.hypervisor_bytes.total().div_ceil(1024)).saturating_add(of_clones)
}

fn table(now: &Domains, uses: &[Use]) -> String {
    let mut text = format!(
        "mote top   up {:.0} s   {} domains   {} pCPUs   {} MiB\n",
        now.time_ns as f64 / 1e9,
        uses.len(),
        now.cpus,
        now.memory_kib / 1024
    );
    // A string takes whatever it is given.
    let _ = writeln!(
        text,
        "{:<16} {:<6} {:>9} {:>6} {:>9} {:>6} {:>5} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "NAME",
        "STATE",
        "CPU(sec)",
        "CPU(%)",
        "MEM(k)",
        "MEM(%)",
        "VCPUS",
        "EXITS/s",
        "EVENTS/s",
        "NETRX/s",
        "NETTX/s",
        "DISKRD/s",
        "DISKWR/s"
    );
    for it in uses {
        let name: String = it.name.chars().take(16).collect();
        let percent = it.cpu_percent.map_or("-".into(), |percent| format!("{percent:.1}"));
        let _ = writeln!(
            text,
            "{name:<16} {:<6} {:>9.1} {percent:>6} {:>9} {:>6.1} {:>5} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
            it.state,
            it.cpu_seconds,
            it.memory_kib,
            it.memory_percent,
            it.vcpus,
            short(it.exits_per_second),
            short(it.events_per_second),
            short(it.received_per_second),
            short(it.sent_per_second),
            short(it.read_per_second),
            short(it.written_per_second),
        );
    }
    text + &table_of_clones(uses)
}

/// The clones of all templates; nothing if there is none.
fn table_of_clones(uses: &[Use]) -> String {
    let mut text = String::new();
    for Use { name, clones, .. } in uses {
        let Some(clones) = clones else { continue };
        if text.is_empty() {
            // A string takes whatever it is given.
            let _ = writeln!(
                text,
                "\n{:<16} {:>6} {:>9} {:>9} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6} {:>6} {:>9} {:>7} {:>8}",
                "CLONES OF",
                "LIVE",
                "LAUNCHED",
                "VANISHED",
                "FAILED",
                "LAUNCH/s",
                "VANISH/s",
                "LIFE(us)",
                "MEAN(us)",
                "MAX(us)",
                "MEM(k)",
                "MAX(k)",
                "ALL(k)",
                "WAITING",
                "1ST(us)"
            );
        }
        let name: String = name.chars().take(16).collect();
        let lately = clones.life_us_lately.map_or("-".into(), |life| life.to_string());
        let _ = writeln!(
            text,
            "{name:<16} {:>6} {:>9} {:>9} {:>6} {:>8} {:>8} {lately:>8} {:>8} {:>8} {:>6} {:>6} {:>9} {:>7} {:>8}",
            clones.live,
            clones.launched,
            clones.vanished,
            clones.crashed,
            short(clones.launched_per_second),
            short(clones.vanished_per_second),
            clones.life_us_mean,
            clones.life_us_max,
            clones.memory_kib_mean,
            clones.memory_kib_max,
            clones.service_kib,
            clones.waiting,
            clones.answer_us_mean,
        );
    }
    text
}

/// A rate in at most six characters.
fn short(rate: Option<f64>) -> String {
    const UNITS: [&str; 4] = ["", "k", "M", "G"];
    let Some(mut rate) = rate else { return "-".into() };
    let mut unit = 0;
    while rate >= 9999.5 && unit + 1 < UNITS.len() {
        rate /= 1000.0;
        unit += 1;
    }
    let digits = if unit > 0 && rate < 99.95 { 1 } else { 0 };
    format!("{rate:.digits$}{}", UNITS[unit])
}

/// The terminal's other screen, for as long as this is there.
struct Screen(RawTerminal);

impl Screen {
    fn enter() -> io::Result<Self> {
        let terminal = RawTerminal::enter()?;
        // The other screen, without a cursor (xterm's control sequences, DECSET 1049 and 25).
        say("\x1b[?1049h\x1b[?25l");
        Ok(Self(terminal))
    }

    fn draw(&self, table: &str) {
        // As much as fits. Each line is followed by blanks up to its end, the last by an empty screen.
        let (columns, rows) = rustix::termios::tcgetwinsize(rustix::stdio::stdout())
            .map_or((80, 24), |size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        let lines =
            table.lines().take(rows.saturating_sub(2)).map(|line| line.chars().take(columns).collect::<String>());
        let text: String = lines.map(|line| line + "\x1b[K\n").collect();
        say(format!("\x1b[H{text}\x1b[Jq ends"));
    }

    /// Waits for `delay`; says whether the user has had enough meanwhile.
    fn is_left_within(&self, delay: Duration) -> io::Result<bool> {
        let end = Instant::now() + delay;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            match poll(&mut [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)], Some(&left)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                result => result?,
            };
            let mut keys = [0; 64];
            let length = self.0.read(&mut keys)?;
            // Ctrl-C, Ctrl-D, q; or the terminal is gone.
            if length == 0 || keys.iter().take(length).any(|key| matches!(key, 3 | 4 | b'q' | b'Q')) {
                return Ok(true);
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        say("\x1b[?25h\x1b[?1049l");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(time_ns: u64, id: u16, cpu_ns: u64) -> Domains {
        let domain = Domain { id, name: "web".into(), cpu_ns, events: cpu_ns / 1000, ..Domain::default() };
        Domains { time_ns, cpus: 2, memory_kib: 1024, domains: vec![domain] }
    }

    #[test]
    fn rates_are_of_the_time_between_two_looks() {
        let (before, now) = (look(1_000_000_000, 3, 0), look(3_000_000_000, 3, 1_000_000_000));
        let [it] = &uses(Some(&before), &now)[..] else { panic!("one domain") };
        assert_eq!((it.cpu_percent, it.events_per_second), (Some(50.0), Some(500_000.0)));
    }

    #[test]
    fn a_new_domain_has_no_rates_yet() {
        let (before, now) = (look(1, 3, 0), look(1_000_000_001, 4, 500));
        for before in [Some(&before), Some(&now), None] {
            assert_eq!(uses(before, &now)[0].cpu_percent, None);
        }
        assert!(table(&now, &uses(None, &now)).contains("    -"));
    }

    #[test]
    fn clones_have_a_table_of_their_own() {
        let with = |time_ns, launched, vanished| {
            let (live, life_ns_total) = (launched - vanished, vanished * 70_000);
            let machines =
                Machines { launched, vanished, live, life_ns_total, memory_kib_mean: 64, ..Machines::default() };
            let mut look = look(time_ns, 3, 0);
            (look.domains[0].memory_kib, look.domains[0].hypervisor_bytes.tables) = (1024, 4096);
            look.domains[0].machines = Some(machines);
            look
        };
        let (before, now) = (with(1_000_000_000, 100, 90), with(3_000_000_000, 5100, 4890));
        let uses = uses(Some(&before), &now);
        let clones = uses[0].clones.as_ref().expect("clones");
        assert_eq!(
            (clones.live, clones.launched_per_second, clones.vanished_per_second, clones.life_us_lately),
            (210, Some(2500.0), Some(2400.0), Some(70))
        );
        assert_eq!(clones.service_kib, 1024 + 4 + 210 * 64);
        let text = table(&now, &uses);
        let line = text.lines().last().expect("a line");
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words[..8], ["web", "210", "5100", "4890", "0", "2500", "2400", "70"], "{text}");
        assert!(!table(&look(1, 3, 0), &super::uses(None, &look(1, 3, 0))).contains("CLONES"));
    }

    #[test]
    fn rates_are_short() {
        for (rate, text) in [
            (0.0, "0"),
            (12.4, "12"),
            (9999.0, "9999"),
            (10_000.0, "10.0k"),
            (1.5e6, "1500k"),
            (2.5e8, "250M"),
            (1e13, "10000G"),
        ] {
            assert_eq!(short(Some(rate)), text);
        }
        assert_eq!(short(None), "-");
    }
}
