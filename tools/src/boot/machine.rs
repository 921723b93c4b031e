//! The emulated machine.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use miette::miette;

use crate::failure::{Failure, Result};

/// The emulator's name.
pub const QEMU: &str = "qemu-system-aarch64";

/// An amount of the machine's memory. Whole MiB, which is what QEMU's `-m` counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    mib: u32,
}

impl Memory {
    /// `mib` MiB.
    #[must_use]
    pub const fn from_mib(mib: u32) -> Self {
        Self { mib }
    }

    /// The amount in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        (self.mib as u64) << 20
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mib {
            mib if mib % 1024 == 0 => write!(f, "{}G", mib / 1024),
            mib => write!(f, "{mib}M"),
        }
    }
}

impl FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an amount of memory; write 512M or 2G");
        let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
            Some(at) => text.split_at(at),
            None => (text, "M"),
        };
        let mib_per_unit = match unit.to_ascii_uppercase().as_str() {
            "M" | "MB" | "MIB" => 1,
            "G" | "GB" | "GIB" => 1024,
            _ => return Err(wrong()),
        };
        let count: u32 = digits.parse().map_err(|_| wrong())?;
        match count.checked_mul(mib_per_unit) {
            Some(mib @ 1..) => Ok(Self { mib }),
            _ => Err(wrong()),
        }
    }
}

/// What QEMU is to emulate: its `virt` board with a GICv3.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Physical CPUs.
    pub cpus: u32,
    /// Physical memory.
    pub memory: Memory,
    /// The CPU's model, as QEMU calls it.
    pub cpu: String,
    /// Whether one instruction is one tick of the clock. Then what QEMU gives its machine as random is not.
    pub icount: bool,
    /// Whether that clock waits for the host's while every CPU is idle, as it should where somebody outside is talked to; else it skips
    /// to the next timer.
    pub idles: bool,
    /// What that is made of.
    pub seed: u32,
    /// Whether the machine has EL2 and starts in it.
    pub hypervisor: bool,
    /// A file in which all its memory is to be seen while it runs.
    pub memory_file: Option<PathBuf>,
}

impl Machine {
    /// Physical CPUs unless told.
    pub const DEFAULT_CPUS: u32 = 2;
    /// Physical memory unless told.
    pub const DEFAULT_MEMORY: Memory = Memory::from_mib(2048);
    /// A CPU of Armv8.0: what works on it works on the others.
    pub const DEFAULT_CPU: &str = "cortex-a72";
    /// As many redistributors as QEMU's `virt` board has room for below its high memory.
    pub const MAX_CPUS: i64 = 123;
    /// The counter's frequency under `icount`, whose clock advances 1 ns per instruction: so one
    /// tick is one instruction.
    const ICOUNT_HZ: u64 = 1_000_000_000;

    /// Any number does.
    pub const DEFAULT_SEED: u32 = 1;

    /// One CPU that counts instructions: every measurement is made on it.
    #[must_use]
    pub fn for_measuring() -> Self {
        Self {
            cpus: 1,
            memory: Self::DEFAULT_MEMORY,
            cpu: Self::DEFAULT_CPU.into(),
            icount: true,
            idles: false,
            seed: Self::DEFAULT_SEED,
            hypervisor: true,
            memory_file: None,
        }
    }

    /// QEMU's arguments for this machine, and for nothing else.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        self.arguments_with(None)
    }

    fn arguments_with(&self, dump_to: Option<&Path>) -> Vec<String> {
        let mut board = String::from("virt,gic-version=3");
        if self.hypervisor {
            board.push_str(",virtualization=on");
        }
        if let Some(file) = dump_to {
            board.push_str(&format!(",dumpdtb={}", escape(file)));
        }
        let mut cpu = self.cpu.clone();
        if self.icount {
            cpu.push_str(&format!(",cntfrq={}", Self::ICOUNT_HZ));
        }
        let (cpus, memory) = (self.cpus.to_string(), self.memory.to_string());
        let mut arguments: Vec<String> =
            ["-M", &board, "-cpu", &cpu, "-smp", &cpus, "-m", &memory, "-nic", "none"].map(String::from).into();
        arguments.extend(["-display", "none", "-monitor", "none"].map(String::from));
        if let Some(file) = self.memory_file.as_ref().filter(|_| dump_to.is_none()) {
            let bytes = self.memory.bytes();
            let place = format!("memory-backend-file,id=memory,size={bytes},share=on,mem-path={}", escape(file));
            arguments.extend(["-machine".into(), "memory-backend=memory".into(), "-object".into(), place]);
        }
        if self.icount {
            let clock = if self.idles { "shift=0,sleep=on" } else { "shift=0,sleep=off" };
            arguments.extend(["-icount", clock, "-seed"].map(String::from));
            arguments.push(self.seed.to_string());
            // A device does what it is told within the instruction that tells it, not when the host has a moment for it.
            arguments.extend(["-global", "virtio-mmio.ioeventfd=off"].map(String::from));
        }
        arguments
    }

    /// The machine's own device tree, as QEMU would hand it to the hypervisor.
    ///
    /// # Errors
    ///
    /// QEMU is missing or refuses the machine: its own words are in the message.
    pub fn device_tree(&self, scratch: &Path) -> Result<Vec<u8>> {
        let file = scratch.join("machine.dtb");
        let output = Command::new(QEMU)
            .args(self.arguments_with(Some(&file)))
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Failure::unable(miette!("{QEMU} does not start: {error}")))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            let words = words.trim().trim_start_matches(QEMU).trim_start_matches(": ");
            return Err(Failure::misused(vec![miette!(
                help = "choose another --cpu, --cpus or --memory",
                "QEMU refuses this machine: {words}"
            )]));
        }
        std::fs::read(&file).map_err(|error| Failure::unable(miette!("cannot read {}: {error}", file.display())))
    }
}

/// `path` as the value of one of QEMU's comma-separated options: a comma in it is doubled.
#[must_use]
pub fn escape(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_with_and_without_a_unit() {
        for (text, mib) in [("512", 512), ("512M", 512), ("2G", 2048), ("1gib", 1024)] {
            assert_eq!(text.parse(), Ok(Memory { mib }), "{text}");
        }
        for text in ["", "G", "0", "2T", "-1", "1.5G", "99999999G"] {
            assert!(text.parse::<Memory>().is_err(), "{text}");
        }
    }

    #[test]
    fn memory_reads_back_what_it_prints() {
        for mib in [1, 512, 1024, 1536, 4096] {
            assert_eq!(Memory { mib }.to_string().parse(), Ok(Memory { mib }));
        }
    }

    #[test]
    fn one_tick_is_one_instruction_under_icount() {
        let arguments = Machine::for_measuring().arguments().join(" ");
        assert!(arguments.contains("-cpu cortex-a72,cntfrq=1000000000"));
        assert!(arguments.contains("-icount shift=0,sleep=off"));
    }
}
