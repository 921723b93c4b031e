//! PSCI and the SMC calling convention.

use core::fmt;

use crate::say;
use crate::wild::{Conduit, smccc};

/// PSCI functions that would end or stop this guest: CPU_SUSPEND, CPU_OFF, SYSTEM_OFF, SYSTEM_RESET, CPU_DEFAULT_SUSPEND,
/// SYSTEM_SUSPEND, SYSTEM_RESET2.
const STOPPING: [u64; 7] = [1, 2, 8, 9, 0xc, 0xe, 0x12];
/// PSCI_FEATURES, CPU_ON, AFFINITY_INFO.
const FEATURES: u64 = 0x8400_000a;
const CPU_ON: [u64; 2] = [0x8400_0003, 0xc400_0003];
const AFFINITY_INFO: [u64; 2] = [0x8400_0004, 0xc400_0004];

/// Functions of other owners (SMCCC 1.4, 6): version, features, SoC, work-arounds, counts and names of services, and
/// some of nobody's.
const OTHERS: [u64; 30] = [
    0,
    2,
    3,
    0x1000,
    0x0400_0000,
    0x8000_0000,
    0x8000_0001,
    0x8000_0002,
    0x8000_3fff,
    0x8000_7fff,
    0x8000_8000,
    0x8000_ff00,
    0x8000_ff01,
    0x8100_0000,
    0x8200_0000,
    0x8300_0000,
    0x8400_0050,
    0x8400_ff00,
    0x8400_ff01,
    0x8400_ff03,
    0x8500_0000,
    0x8500_ff00,
    0x8500_ff01,
    0x8500_ff03,
    0x8600_0000,
    0x8600_ff00,
    0x8600_ff01,
    0x8600_ff03,
    0xbf00_ff01,
    0xffff_ffff,
];

/// x0, or x0 to x3.
struct Registers(Conduit, u64, [u64; 3], usize);

impl fmt::Display for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match smccc(self.0, self.1, self.2) {
            Ok(registers) => registers.iter().take(self.3).enumerate().try_for_each(|(number, value)| {
                f.write_str(if number == 0 { "" } else { " " })?;
                write!(f, "{value:#x}")
            }),
            Err(fault) => f.write_str(fault.name()),
        }
    }
}

/// Asks all of it.
#[inline(never)]
pub fn probe() {
    for (way, conduit) in [("hvc", Conduit::Hvc), ("smc", Conduit::Smc)] {
        for number in (0..0x18).filter(|number| !STOPPING.contains(number)) {
            for base in [0x8400_0000, 0xc400_0000] {
                let function = base | number;
                say(format_args!("{way} {function:#x}"), Registers(conduit, function, [0; 3], 1));
            }
        }
        for function in OTHERS {
            say(format_args!("{way} {function:#x}"), Registers(conduit, function, [0; 3], 4));
        }
    }
    for number in 0..0x18 {
        for base in [0x8400_0000, 0xc400_0000] {
            let function = base | number;
            say(format_args!("features of {function:#x}"), Registers(Conduit::Hvc, FEATURES, [function, 0, 0], 1));
            let function = function | 1 << 32;
            say(format_args!("features of {function:#x}"), Registers(Conduit::Hvc, FEATURES, [function, 0, 0], 1));
        }
    }
    for function in OTHERS {
        say(format_args!("features of {function:#x}"), Registers(Conduit::Hvc, FEATURES, [function, 0, 0], 1));
        let features = [function, 0, 0];
        say(format_args!("SMCCC features of {function:#x}"), Registers(Conduit::Hvc, 0x8000_0001, features, 1));
    }
    let upper = FEATURES | 1 << 32;
    say("features, upper half", Registers(Conduit::Hvc, upper, [0x8400_0000, 0, 0], 1));
    for target in [0_u64, 1, 2, 0xff, 0x100, 0x1_0000, 1 << 32, 1 << 24, 1 << 31, 1 << 40, u64::MAX] {
        for level in [0, 1, 2, 3, 4, 9, 1 << 32] {
            for function in AFFINITY_INFO {
                let what = Registers(Conduit::Hvc, function, [target, level, 0], 1);
                say(format_args!("affinity {function:#x} of {target:#x}, level {level:#x}"), what);
            }
        }
        // vCPU 1 would run, if there is one of this name.
        for function in CPU_ON.into_iter().filter(|_| target != 1) {
            // Not in memory, but an address: that of a vCPU that runs already.
            let what = Registers(Conduit::Hvc, function, [target, 0x4000_0000, 0], 1);
            say(format_args!("on {function:#x} of {target:#x}"), what);
        }
    }
    for entry in [0, 1, 3, 0x3000_0000, 1 << 40, 1 << 52, u64::MAX] {
        say(format_args!("on of the running vCPU at {entry:#x}"), Registers(Conduit::Hvc, CPU_ON[1], [0, entry, 0], 1));
    }
}
