//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::boot::machine::{Machine, Memory};

const STATUSES: &str = "\
Exit status:
  0    every guest ended cleanly (or you left the console)
  1    a guest crashed, the hypervisor panicked or left a guest out, a measurement is missing
  2    the command line or the configuration is wrong, or the machine refuses what it is asked for; nothing was changed
  3    the tool could not do its part (a missing program, a failed build or download, no machine that runs)
  124  the time given by --timeout ran out";

const EXAMPLES: &str = "\
Examples:
  cargo run                                          Linux and a unikernel, two web servers
  cargo run -- run dtb/demo.dts --cpus 4 --memory 4G
  cargo run -- run dtb/hello.dts --hypervisor xen    a configuration on Xen
  cargo run -- run dtb/dust.dts                      a machine for every request
  cargo run -- check my.dts                          every mistake, with its line and a remedy
  cargo run -- bench --json bench.json

With a machine running, in another terminal:
  cargo run -- list                                  its domains; info, dmesg and top say more
  cargo run -- create web.dts                        one more domain
  cargo run -- console linux                         its console; Ctrl-] leaves

On a terminal: Ctrl-A three times moves between the guests, Ctrl-A x leaves.";

/// Runs Linux guests and Rust unikernels on the Mote hypervisor, in QEMU.
#[derive(Debug, Parser)]
#[command(name = "mote", version, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{STATUSES}"))]
pub struct Cli {
    /// What to do; without one, `run` with the demonstration configuration.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Boot a configuration
    Run(RunArgs),
    /// List every mistake in a configuration
    Check {
        /// The configuration
        config: PathBuf,
    },
    /// Install and build what the other commands need
    Setup,
    /// Build the hypervisor and the guests of this workspace
    Build,
    /// Compare what a unikernel and Linux cost for the same job
    Compare(ReportArgs),
    /// Measure Mote beside Xen on the same emulated machine
    Bench(BenchArgs),
    /// List the domains of a running machine
    #[command(visible_alias = "ls")]
    List {
        /// Domains to list, by name or number [default: all]
        domains: Vec<String>,
        /// The machine.
        #[command(flatten)]
        target: Target,
    },
    /// Create the domains of a configuration in a running machine
    Create {
        /// The configuration
        config: PathBuf,
        /// Leave them paused
        #[arg(short, long)]
        paused: bool,
        /// The machine.
        #[command(flatten)]
        target: Target,
    },
    /// End domains at once, as by taking their power away
    Destroy(DomainsArgs),
    /// Stop domains until they are unpaused
    Pause(DomainsArgs),
    /// Let paused domains run
    Unpause(DomainsArgs),
    /// Ask domains to shut down
    Shutdown {
        /// Ask them to start anew
        #[arg(short, long)]
        reboot: bool,
        /// Wait until they have shut down
        #[arg(short, long, conflicts_with = "reboot")]
        wait: bool,
        /// The domains.
        #[command(flatten)]
        domains: DomainsArgs,
    },
    /// Have the control domain or a driver domain fail and be built again; the others go on
    Restart(DomainsArgs),
    /// Attach to a domain's console; Ctrl-] leaves
    Console(ConsoleArgs),
    /// Show what the machine has, or what a domain has and costs
    Info {
        /// A domain, by name or number [default: the machine]
        domain: Option<String>,
        /// The machine.
        #[command(flatten)]
        target: Target,
    },
    /// Show what the hypervisor has said
    Dmesg(Target),
    /// Show live what each domain uses
    Top(TopArgs),
    /// Ask a web server for a page again and again, and show how long that takes
    Load(LoadArgs),
    /// Make a disk with an ext4 file system, for a guest
    Disk(DiskArgs),
    /// Write a shell's completions to standard output
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a directory
    Man {
        /// The directory; made if it is not there
        directory: PathBuf,
    },
}

/// A machine that runs, and how it answers.
#[derive(Debug, Args)]
pub struct Target {
    /// The machine, by its process number or its configuration's name, if several run
    #[arg(long, value_name = "MACHINE")]
    pub machine: Option<String>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// Domains to do something to.
#[derive(Debug, Args)]
pub struct DomainsArgs {
    /// Domains, by name or number
    #[arg(required = true, value_name = "DOMAIN")]
    pub domains: Vec<String>,
    /// The machine.
    #[command(flatten)]
    pub target: Target,
}

/// What `console` takes.
#[derive(Debug, Args)]
pub struct ConsoleArgs {
    /// The domain, by name or number
    pub domain: String,
    /// Type this line instead of what comes from the keyboard
    #[arg(long, value_name = "TEXT")]
    pub send: Option<String>,
    /// Without a terminal: go on until the domain has shut down
    #[arg(short, long)]
    pub follow: bool,
    /// The machine.
    #[command(flatten)]
    pub target: Target,
}

/// What `disk` takes.
#[derive(Debug, Args)]
pub struct DiskArgs {
    /// The file to make
    pub file: PathBuf,
    /// How large it is
    #[arg(long, value_name = "SIZE", default_value = "256M")]
    pub size: Memory,
    /// What is on it [default: what a Linux guest needs to have it for its root]
    #[arg(long, value_name = "DIRECTORY")]
    pub from: Option<PathBuf>,
}

/// What `top` takes.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Seconds from one look to the next
    #[arg(short, long, value_name = "SECONDS", default_value_t = 3.0, value_parser = delay)]
    pub delay: f64,
    /// End after so many looks [default: go on]
    #[arg(short = 'n', short_alias = 'i', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub iterations: Option<u64>,
    /// One look after the other, on a terminal too
    #[arg(short, long)]
    pub batch: bool,
    /// The machine.
    #[command(flatten)]
    pub target: Target,
}

/// Seconds that can be waited.
fn delay(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.1 to 3600".into()),
    }
}

/// What `run` takes.
#[derive(Debug, Args)]
#[command(after_long_help = STATUSES)]
pub struct RunArgs {
    /// The configuration to boot [default: the demonstration, dtb/demo.dts]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    machine: MachineArgs,
    /// Stop after this many seconds, with status 124
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
    /// The hypervisor to boot the configuration on
    #[arg(long, value_enum, default_value_t = Hypervisor::Mote)]
    pub hypervisor: Hypervisor,
    /// Write what each guest cost to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Wait for a debugger on port 1234 before the first instruction
    #[arg(long)]
    pub gdb: bool,
    /// Show the hypervisor's machine-readable report lines as well
    #[arg(long)]
    pub verbose: bool,
}

impl Default for RunArgs {
    fn default() -> Self {
        Self {
            config: None,
            machine: MachineArgs::default(),
            timeout: None,
            hypervisor: Hypervisor::Mote,
            json: None,
            gdb: false,
            verbose: false,
        }
    }
}

impl RunArgs {
    /// The machine asked for.
    #[must_use]
    pub fn machine(&self) -> Machine {
        let MachineArgs { cpus, memory, cpu, icount } = &self.machine;
        Machine {
            cpus: *cpus,
            seed: Machine::DEFAULT_SEED,
            memory: *memory,
            cpu: cpu.clone(),
            icount: *icount,
            idles: false,
            hypervisor: true,
            memory_file: None,
        }
    }
}

/// The machine to emulate.
#[derive(Debug, Args)]
struct MachineArgs {
    /// Physical CPUs
    #[arg(long, default_value_t = Machine::DEFAULT_CPUS, value_parser = clap::value_parser!(u32).range(1..=Machine::MAX_CPUS))]
    cpus: u32,
    /// Physical memory, in MiB or with a unit: 512M, 2G
    #[arg(long, default_value_t = Machine::DEFAULT_MEMORY)]
    memory: Memory,
    /// CPU model, as QEMU calls it
    #[arg(long, value_name = "MODEL", default_value = Machine::DEFAULT_CPU)]
    cpu: String,
    /// Let the clock count instructions: slower, exact, the same on every host
    #[arg(long)]
    icount: bool,
}

impl Default for MachineArgs {
    fn default() -> Self {
        Self {
            cpus: Machine::DEFAULT_CPUS,
            memory: Machine::DEFAULT_MEMORY,
            cpu: Machine::DEFAULT_CPU.into(),
            icount: false,
        }
    }
}

/// Where a comparison goes besides the terminal.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Write the figures to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a self-contained page with charts to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// What `load` takes.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// The page
    #[arg(value_name = "URL")]
    pub url: String,
    /// Requests in all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub requests: u64,
    /// Clients that ask at the same time
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=256))]
    pub clients: u64,
    /// Keep connections for the next request
    #[arg(short, long)]
    pub keep_alive: bool,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// What `bench` takes.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Measure networks and disks alone
    #[arg(long)]
    pub devices: bool,

    /// Measure domains that come and go alone
    #[arg(long, conflicts_with = "devices")]
    pub lives: bool,

    /// Measure clones and the requests that they answer alone
    #[arg(long, conflicts_with_all = ["devices", "lives"])]
    pub clones: bool,

    /// Where the figures go.
    #[command(flatten)]
    pub report: ReportArgs,
    /// End with status 1 when a goal is missed, not only when a figure is missing
    #[arg(long)]
    pub strict: bool,
}

/// A hypervisor that can boot a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Hypervisor {
    /// This project's
    Mote,
    /// The distribution's Xen package
    Xen,
}

impl Hypervisor {
    /// As the command line and the reports spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mote => "mote",
            Self::Xen => "xen",
        }
    }
}
