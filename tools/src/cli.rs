//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::boot::machine::{Machine, Memory};

const STATUSES: &str = "\
Exit status:
  0    every guest ended cleanly (or you left the console)
  1    a guest crashed, the hypervisor panicked or left a guest out, a measurement is missing
  2    the command line or the configuration is wrong; nothing was started
  3    the tool could not do its part (a missing program, a failed build or download)
  124  the time given by --timeout ran out";

const EXAMPLES: &str = "\
Examples:
  cargo run                                          Linux and a unikernel, side by side
  cargo run -- run dtb/demo.dts --cpus 4 --memory 4G
  cargo run -- run dtb/demo.dts --hypervisor xen     the same configuration on Xen
  cargo run -- check my.dts                          every mistake, with its line and a remedy
  cargo run -- bench --json bench.json

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
            hypervisor: true,
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

/// What `bench` takes.
#[derive(Debug, Args)]
pub struct BenchArgs {
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
