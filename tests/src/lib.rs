//! What the tests that boot machines share: guests described in a line, one boot of many, and questions about what was
//! heard.
//!
//! One machine runs at a time, so that none is slowed down by another; each test asks much of one boot.

mod api;
pub mod ext4;
mod patience;

use std::fmt::Write;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use mote_tools::boot::Boot;
use mote_tools::boot::machine::{Machine, Memory};
use mote_tools::cli::Hypervisor;
use mote_tools::config::Config;
use mote_tools::console::{Heard, Line};
use mote_tools::report::{DomainReport, Report, State};
use mote_tools::running::{Client, State as Running};
use mote_tools::session::{End, Wish};
use mote_tools::setup::{self, Need};

pub use api::{all, ask, connect, definition, get, port, request, with_interface};
pub use patience::{hear, hear_where, wait};

/// No boot takes so long, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// A guest to be booted.
#[derive(Clone, Debug)]
pub struct Guest {
    name: String,
    modules: String,
    bootargs: String,
    memory_kib: u64,
    vcpus: u32,
    properties: String,
}

impl Guest {
    /// The unikernel `package` of the workspace, with 1 MiB and one vCPU.
    #[must_use]
    pub fn unikernel(name: &str, package: &str) -> Self {
        Self::new(name, kernel(&format!("mote,guest = \"{package}\"")))
    }

    /// A kernel in a file.
    #[must_use]
    pub fn file(name: &str, path: &Path) -> Self {
        Self::new(name, kernel(&format!("mote,file = \"{}\"", path.display())))
    }

    /// Debian's Linux, which says what it found and switches itself off, with 256 MiB.
    #[must_use]
    pub fn linux(name: &str, version: &str) -> Self {
        let ramdisk = format!(
            "module@1 {{ compatible = \"multiboot,ramdisk\", \"multiboot,module\";
             mote,file = \"debian:{version}/initramfs\"; }};"
        );
        let modules = kernel(&format!("mote,file = \"debian:{version}/kernel\"")) + &ramdisk;
        Self::new(name, modules).memory(256 << 10).arguments("console=ttyAMA0 quiet")
    }

    fn new(name: &str, modules: String) -> Self {
        Self {
            name: name.into(),
            modules,
            bootargs: String::new(),
            memory_kib: 1 << 10,
            vcpus: 1,
            properties: String::new(),
        }
    }

    /// With so many KiB of memory.
    #[must_use]
    pub const fn memory(mut self, kib: u64) -> Self {
        self.memory_kib = kib;
        self
    }

    /// With so many vCPUs.
    #[must_use]
    pub const fn vcpus(mut self, vcpus: u32) -> Self {
        self.vcpus = vcpus;
        self
    }

    /// With this command line.
    #[must_use]
    pub fn arguments(mut self, arguments: &str) -> Self {
        self.bootargs = arguments.into();
        self
    }

    /// With these device-tree properties besides.
    #[must_use]
    pub fn properties(mut self, properties: &str) -> Self {
        self.properties = properties.into();
        self
    }

    fn node(&self) -> String {
        let modules = self.modules.replace("$ARGUMENTS", &self.bootargs);
        let (high, low) = (self.memory_kib >> 32, self.memory_kib & 0xffff_ffff);
        format!(
            "{} {{ compatible = \"xen,domain\"; #address-cells = <2>; #size-cells = <2>; cpus = <{}>;
             memory = <{high:#x} {low:#x}>; vpl011; {} {modules} }};",
            self.name, self.vcpus, self.properties
        )
    }
}

fn kernel(source: &str) -> String {
    format!(
        "module@0 {{ compatible = \"multiboot,kernel\", \"multiboot,module\"; {source};
         bootargs = \"$ARGUMENTS\"; }};"
    )
}

/// A machine of the default model with so many pCPUs and MiB of memory.
#[must_use]
pub fn machine(cpus: u32, mib: u32) -> Machine {
    let memory = Memory::from_mib(mib);
    Machine { cpus, memory, icount: false, ..Machine::for_measuring() }
}

/// When a run is over.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// All guests have ended.
    AllEnded,
    /// So many have; the others are not asked to.
    Ended(usize),
}

/// What a run came to.
#[derive(Debug)]
pub struct Run {
    /// Every line, as it came.
    pub lines: Vec<Line>,
    /// The reports.
    pub heard: Heard,
    /// How it ended.
    pub end: End,
}

/// The configuration of these guests. On Xen, whose own policy on Arm lets no two of them talk, they may.
///
/// # Panics
///
/// If it has a mistake.
#[must_use]
pub fn configuration(guests: &[Guest], machine: &Machine) -> Config {
    configuration_with("", guests, machine)
}

/// The same with this in `/chosen` besides.
///
/// # Panics
///
/// If it has a mistake.
#[must_use]
pub fn configuration_with(chosen: &str, guests: &[Guest], machine: &Machine) -> Config {
    setup::ensure(&[Need::Qemu, Need::Dtc]).expect("the machine is set up");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("test.dts");
    let nodes = guests.iter().fold(String::new(), |mut nodes, guest| {
        let _ = writeln!(nodes, "{}", guest.node());
        nodes
    });
    std::fs::write(
        &path,
        format!("/dts-v1/; / {{ chosen {{ xen,xen-bootargs = \"xsm=dummy\"; {chosen} {nodes} }}; }};"),
    )
    .expect("written");
    Config::load(&path, machine.memory).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// Boots these guests on Mote.
#[must_use]
pub fn boot(guests: &[Guest], machine: &Machine, until: Until) -> Run {
    let config = configuration(guests, machine);
    boot_configuration(&config, machine, Hypervisor::Mote, until, |_| Wish::GoOn)
}

/// Boots a configuration that was loaded, until `until` or until `watch`, which sees every line, wishes it to end.
///
/// # Panics
///
/// If the machine cannot be booted or does not come to its end; everything it said is in the message.
#[must_use]
pub fn boot_configuration(
    config: &Config,
    machine: &Machine,
    hypervisor: Hypervisor,
    until: Until,
    watch: impl FnMut(&Line) -> Wish,
) -> Run {
    let boot = Boot::prepare(config, machine, hypervisor, false).expect("a machine to boot");
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    follow(&boot, until, watch).checked(&boot)
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Switches the machine on, and listens to it until its end.
fn follow(boot: &Boot, until: Until, mut watch: impl FnMut(&Line) -> Wish) -> Run {
    let mut lines = Vec::new();
    let console = boot.console(io::sink()).watched(|line| {
        lines.push(line.clone());
        watch(line)
    });
    let console = match until {
        Until::AllEnded => console,
        Until::Ended(guests) => console.until_ended(guests),
    };
    let (end, heard) = boot.run(Some(PATIENCE), console).expect("a run");
    Run { lines, heard, end }
}

/// Boots a configuration that was loaded, while `work` deals with the machine by what others know of it. The machine ends when
/// no guest is left; what of them `work` leaves is destroyed.
///
/// # Panics
///
/// As [`boot_configuration`], and if `work` does.
#[must_use]
pub fn boot_beside(config: &Config, machine: &Machine, work: impl FnOnce(&Running, &Client) + Send) -> Run {
    boot_beside_hearing(config, machine, |state, client, _| work(state, client))
}

/// The same, where `work` hears every line as it comes.
///
/// # Panics
///
/// As [`boot_beside`].
#[must_use]
pub fn boot_beside_hearing(
    config: &Config,
    machine: &Machine,
    work: impl FnOnce(&Running, &Client, &Receiver<Line>) + Send,
) -> Run {
    let (speaker, hearer) = channel();
    let boot = Boot::prepare(config, machine, Hypervisor::Mote, false).expect("a machine to boot");
    let state = boot.state(config);
    let client = Client::new(&state).expect("a machine with a network");
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let worker = move || {
        let done = catch_unwind(AssertUnwindSafe(|| work(&state, &client, &hearer)));
        let left = client.domains().map(|all| all.domains).unwrap_or_default();
        // The control domain stays, and what has just ended is gone.
        left.iter().rev().for_each(|domain| drop(client.destroy(&domain.id.to_string())));
        done
    };
    let (ended, done) = thread::scope(|scope| {
        let worker = scope.spawn(worker);
        let ended = follow(&boot, Until::AllEnded, |line| {
            // Whoever works may have heard enough.
            let _ = speaker.send(line.clone());
            Wish::GoOn
        });
        (ended, worker.join().expect("it catches panics"))
    });
    done.unwrap_or_else(|panic| {
        eprintln!("{ended}");
        resume_unwind(panic)
    });
    ended.checked(&boot)
}

/// An ELF file whose one segment is `bytes`, to be loaded and entered at `address`.
#[must_use]
pub fn elf(address: u64, bytes: &[u8]) -> Vec<u8> {
    const HEADERS: usize = 4096;
    let size = bytes.len() as u64;
    let mut elf = vec![0; HEADERS];
    let mut put = |at: usize, bytes: &[u8]| elf[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &2u16.to_le_bytes()); // an executable
    put(18, &183u16.to_le_bytes()); // for AArch64
    put(24, &address.to_le_bytes()); // its entry
    put(32, &64u64.to_le_bytes()); // its program headers
    put(54, &56u16.to_le_bytes());
    put(56, &1u16.to_le_bytes());
    put(64, &1u32.to_le_bytes()); // one segment to load
    for (at, value) in [(72, HEADERS as u64), (80, address), (88, address), (96, size), (104, size)] {
        put(at, &u64::to_le_bytes(value));
    }
    elf.extend(bytes);
    elf
}

impl Run {
    /// Itself, if the machine came to its end.
    fn checked(self, boot: &Boot) -> Self {
        assert!(!self.heard.panicked, "the hypervisor panicked\n{self}\n{:#?}", boot.explain(&self.heard));
        assert_ne!(self.end, End::TimedOut, "{self}");
        self
    }

    /// Whether `guest` printed a line that contains `text`.
    #[must_use]
    pub fn said(&self, guest: &str, text: &str) -> bool {
        self.of(guest).any(|line| line.contains(text))
    }

    /// What `guest` printed.
    pub fn of(&self, guest: &str) -> impl Iterator<Item = &str> {
        let is_its = move |line: &&Line| line.speaker.as_deref() == Some(guest);
        self.lines.iter().filter(is_its).map(|line| line.text.as_str())
    }

    /// The report of `guest`.
    ///
    /// # Panics
    ///
    /// If it has not ended.
    #[must_use]
    pub fn report(&self, guest: &str) -> &DomainReport {
        let report = self.heard.domains().find(|domain| domain.name == guest);
        report.unwrap_or_else(|| panic!("{guest} has not ended\n{self}"))
    }

    /// Why `guest` was left out.
    #[must_use]
    pub fn refusal(&self, guest: &str) -> Option<&str> {
        self.heard.reports.iter().find_map(|report| match report {
            Report::Refused { name, reason } if name == guest => Some(reason.as_str()),
            _ => None,
        })
    }

    /// Asserts that `guest` switched itself off after having said `text`.
    ///
    /// # Panics
    ///
    /// If not.
    pub fn assert_finished(&self, guest: &str, text: &str) {
        assert!(self.said(guest, text), "{guest} did not say `{text}`\n{self}");
        assert_eq!(self.report(guest).state, State::Shutdown, "{guest}\n{self}");
    }

    /// Asserts that the machine came to its end with all of the pool free.
    ///
    /// # Panics
    ///
    /// If not.
    pub fn assert_all_free(&self) {
        let machine = self.heard.machine().expect("the machine's report");
        assert_eq!(machine.free_bytes, machine.pool_bytes, "frames are lost\n{self}");
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in &self.lines {
            let speaker = line.speaker.as_deref().map_or(String::new(), |name| format!("{name}: "));
            writeln!(f, "{speaker}{}", line.text)?;
        }
        write!(f, "{:?}", self.end)
    }
}
