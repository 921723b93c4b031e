//! Calls to a hypervisor, a firmware and a Xen that have no answer.

use core::time::Duration;

use mote_unikernel::{
    Machine,
    time::{self, Instant},
};

use crate::wild;

/// SMCCC's and PSCI's error returns (SMCCC 1.4, 5.1; PSCI 1.1, 5.2.2), as the 32-bit functions give them.
const NOT_SUPPORTED: i32 = -1;
const INVALID_PARAMETERS: i32 = -2;
const ALREADY_ON: i32 = -4;
const INVALID_ADDRESS: i32 = -9;

/// AFFINITY_INFO: the vCPU is on, or off (PSCI 1.1, 5.7.2).
const ON: i32 = 0;
const OFF: i32 = 1;

/// PSCI functions of 64-bit arguments.
const CPU_ON: u64 = 0xc400_0003;
const AFFINITY_INFO: u64 = 0xc400_0004;
const PSCI_FEATURES: u64 = 0x8400_000a;

/// There is no firmware: SMC is undefined, or answered as HVC is, which is as good for calls that mean nothing.
pub fn smc(_: &Machine) {
    for function in [0, 0x8400_001f, 0xc300_0000, 0xbf00_0000, u64::MAX] {
        match wild::smc(function) {
            Ok(answer) => assert_eq!(answer as i32, NOT_SUPPORTED, "SMC {function:#x}"),
            Err(fault) => assert!(fault.is_undefined(), "SMC {function:#x}: {fault:x?}"),
        }
    }
}

/// Immediates other than 0 and Xen's are undefined.
pub fn hvc(_: &Machine) {
    for fault in wild::hvc_immediates() {
        assert!(fault.is_some_and(|fault| fault.is_undefined()), "{fault:x?}");
    }
}

/// Xen's hypercalls with arguments that point nowhere fail, known or not.
pub fn hypercalls(_: &Machine) {
    for number in (0..64).chain([1 << 31, 1 << 32, 1 << 63, u64::MAX]) {
        let answer = wild::hypercall(number);
        assert!(answer.is_err(), "hypercall {number} gives {answer:?}");
    }
}

/// Functions that do not exist, and vCPUs that do not.
pub fn psci(machine: &Machine) {
    for function in [0x8400_001f, 0xc400_001f, 0x8300_0000, 0xc300_0000, 0xbf00_0000, 0x0, u32::MAX.into()] {
        let answer = wild::hvc(function, [0; 3]) as i32;
        assert_eq!(answer, NOT_SUPPORTED, "HVC {function:#x}");
        assert_eq!(wild::hvc(PSCI_FEATURES, [function, 0, 0]) as i32, NOT_SUPPORTED, "features {function:#x}");
    }
    for affinity in [machine.vcpus() as u64, 0xff, 0x0100, 0xff_ffff, 1 << 32, 0xff << 32, 1 << 31, u64::MAX] {
        // Xen overlooks the upper fields, which makes some of these vCPU 0, and takes a vCPU that does
        // not exist for one that is off. Neither is worse than the refusal that PSCI asks for.
        let answer = wild::hvc(CPU_ON, [affinity, 0x4000_0000, 0]) as i32;
        let refused = [INVALID_PARAMETERS, ALREADY_ON].contains(&answer);
        assert!(refused, "CPU_ON {affinity:#x} gives {answer}");
        let answer = wild::hvc(AFFINITY_INFO, [affinity, 0, 0]) as i32;
        let known = [INVALID_PARAMETERS, ON, OFF].contains(&answer);
        assert!(known, "AFFINITY_INFO {affinity:#x} gives {answer}");
    }
    assert_eq!(wild::hvc(AFFINITY_INFO, [0, 9, 0]) as i32, INVALID_PARAMETERS, "an affinity level of 9");
    let answer = wild::hvc(CPU_ON, [0, 0x4000_0000, 0]) as i32;
    assert!([ALREADY_ON, INVALID_ADDRESS].contains(&answer), "CPU_ON of the running vCPU gives {answer}");
}

/// A hint ends by itself, and a sleep when its time has come.
pub fn hints(_: &Machine) {
    wild::hints();
    let due = Instant::now() + Duration::from_millis(5);
    time::sleep_until(due);
    assert!(Instant::now() >= due, "woke too early");
}
