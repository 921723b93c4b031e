//! PSCI 1.1 (Arm DEN 0022) and SMCCC 1.2 (DEN 0028) as a guest sees them.

use smccc::psci::error::Error;
use smccc::{arch, psci};

use crate::id::VcpuId;
use crate::p2m::IPA_BITS;
use crate::vgic::{Affinity, VcpuSet};

/// What a call answers in x0, and in x1 to x3 where it answers there.
pub type Answer = [u64; 4];

/// What a call that did what it should answers in x0 (DEN 0022, 5.2.2).
pub const SUCCESS: u64 = 0;

/// Xen's service (`arch-arm/smccc.h`): call count, UID, revision of what Xen takes for the hypervisor's range.
const HYPERVISOR_COUNT: u32 = 0x8500_ff00;
const HYPERVISOR_UID: u32 = 0x8500_ff01;
const HYPERVISOR_REVISION: u32 = 0x8500_ff03;
/// PSCI 1.1.
const VERSION: u64 = 1 << 16 | 1;
/// SMCCC 1.2.
const SMCCC_VERSION: u64 = 1 << 16 | 2;
/// What the 64-bit form of a function that has two differs in (DEN 0022, 5.1).
const WIDE: u32 = 1 << 30;
/// `XEN_SMCCC_UID`, the UUID a71812dc-c698-4369-9acf-79d18ddee667: each register has four bytes of it, the first lowest (DEN 0028).
const XEN_UID: Answer = [0xdc12_18a7, 0x6943_98c6, 0xd179_cf9a, 0x67e6_de8d];
/// `XEN_SMCCC_FUNCTION_COUNT`, and its revision 0.1.
const XEN_FUNCTION_COUNT: u64 = 3;
const XEN_REVISION: Answer = [0, 1, 0, 0];
/// Bytes of an instruction, on which entry points are aligned.
const INSTRUCTION: u64 = 4;
/// `MIGRATE_INFO_TYPE`: a trusted OS does not need migration.
const NO_MIGRATION: u64 = 2;
/// `AFFINITY_INFO` answers.
const AFFINITY_ON: u64 = 0;
const AFFINITY_OFF: u64 = 1;
/// Where each affinity level's field begins in an affinity (`MPIDR_EL1`).
const AFFINITY_SHIFTS: [u32; 4] = [0, 8, 16, 32];

/// What a call makes of the domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing but an answer in x0.
    Return(u64),
    /// Nothing but an answer in x0 to x3.
    ReturnFour(Answer),
    /// The vCPU waits for an interrupt, then finds success.
    Suspend,
    /// The calling vCPU is off, and others are on.
    PowerOff,
    /// Another vCPU is on and begins at `entry` with `context` in x0; the caller finds success.
    PowerOn {
        /// Which.
        vcpu: VcpuId,
        /// IPA of its first instruction.
        entry: u64,
        /// Its x0.
        context: u64,
    },
    /// The domain switches itself off.
    SystemOff,
    /// The domain asks for a reset.
    SystemReset,
}

impl From<Error> for Action {
    fn from(error: Error) -> Self {
        Self::Return(i64::from(error) as u64)
    }
}

/// Which vCPUs of a domain are switched on.
#[derive(Debug)]
pub struct Power {
    /// These.
    pub on: VcpuSet,
    vcpus: u32,
}

impl Power {
    /// Of `vcpus` vCPUs the first is on.
    pub const fn new(vcpus: u32) -> Self {
        Self { on: VcpuSet::of(VcpuId(0)), vcpus }
    }

    /// Answers a call that looks at other vCPUs or changes one: everything that [`immediate`] left open.
    /// `arguments` are x1 to x3.
    pub fn call(&mut self, caller: VcpuId, function_id: u32, arguments: [u64; 3]) -> Action {
        // A 32-bit function takes the low halves of its arguments.
        let is_wide = function_id & WIDE != 0;
        let arguments = arguments.map(|argument| if is_wide { argument } else { argument & 0xffff_ffff });
        match function_id {
            psci::PSCI_CPU_SUSPEND_32 | psci::PSCI_CPU_SUSPEND_64 => Action::Suspend,
            psci::PSCI_CPU_OFF => self.cpu_off(caller),
            psci::PSCI_CPU_ON_32 | psci::PSCI_CPU_ON_64 => self.cpu_on(arguments).unwrap_or_else(Action::from),
            psci::PSCI_AFFINITY_INFO_32 | psci::PSCI_AFFINITY_INFO_64 => self.affinity_info(arguments),
            psci::PSCI_SYSTEM_OFF => Action::SystemOff,
            // Only the architectural warm reset, type 0, is there.
            psci::PSCI_SYSTEM_RESET2_32 | psci::PSCI_SYSTEM_RESET2_64 if arguments[0] as u32 != 0 => {
                Error::InvalidParameters.into()
            }
            psci::PSCI_SYSTEM_RESET | psci::PSCI_SYSTEM_RESET2_32 | psci::PSCI_SYSTEM_RESET2_64 => Action::SystemReset,
            _ => Error::NotSupported.into(),
        }
    }

    fn find(&self, target: u64) -> Option<VcpuId> {
        let affinity = u32::try_from(target).ok().map(Affinity)?;
        affinity.vcpu().filter(|vcpu| u32::from(vcpu.0) < self.vcpus)
    }

    fn cpu_off(&mut self, caller: VcpuId) -> Action {
        self.on = self.on.without(VcpuSet::of(caller));
        // Who could switch one on again, once the last is off?
        if self.on.is_empty() { Action::SystemOff } else { Action::PowerOff }
    }

    fn cpu_on(&mut self, [target, entry, context]: [u64; 3]) -> Result<Action, Error> {
        let vcpu = self.find(target).ok_or(Error::InvalidParameters)?;
        if !entry.is_multiple_of(INSTRUCTION) || entry >> IPA_BITS != 0 {
            return Err(Error::InvalidAddress);
        }
        if self.on.contains(vcpu) {
            return Err(Error::AlreadyOn);
        }
        self.on.insert(vcpu);
        Ok(Action::PowerOn { vcpu, entry, context })
    }

    /// Whether any vCPU is on of those that share the target's affinity from the level up, as Xen answers it.
    fn affinity_info(&self, [target, level, _]: [u64; 3]) -> Action {
        // A 32-bit argument in both forms of the function.
        let Some(&shift) = AFFINITY_SHIFTS.get(level as u32 as usize) else {
            return Error::InvalidParameters.into();
        };
        let is_meant = |vcpu| u64::from(Affinity::of(vcpu).0) >> shift == target >> shift;
        if { self.on }.any(is_meant) {
            Action::Return(AFFINITY_ON)
        } else if (0..self.vcpus).any(|vcpu| is_meant(VcpuId(vcpu as u8))) {
            Action::Return(AFFINITY_OFF)
        } else {
            Error::InvalidParameters.into()
        }
    }
}

/// The answer to a call that looks at nothing but its first argument, or `None` if it is one for [`Power::call`].
pub fn immediate(function_id: u32, argument: u64) -> Option<Action> {
    Some(match function_id {
        psci::PSCI_VERSION => Action::Return(VERSION),
        psci::PSCI_FEATURES => features(argument as u32),
        psci::PSCI_MIGRATE_INFO_TYPE => Action::Return(NO_MIGRATION),
        arch::SMCCC_VERSION => Action::Return(SMCCC_VERSION),
        arch::SMCCC_ARCH_FEATURES => arch_features(argument as u32),
        HYPERVISOR_COUNT => Action::Return(XEN_FUNCTION_COUNT),
        HYPERVISOR_UID => Action::ReturnFour(XEN_UID),
        HYPERVISOR_REVISION => Action::ReturnFour(XEN_REVISION),
        _ => return None,
    })
}

fn features(function_id: u32) -> Action {
    use psci::*;
    let in_both_forms = [PSCI_CPU_SUSPEND_32, PSCI_CPU_ON_32, PSCI_AFFINITY_INFO_32, PSCI_SYSTEM_RESET2_32];
    let in_one = [PSCI_CPU_OFF, PSCI_MIGRATE_INFO_TYPE, PSCI_SYSTEM_OFF, PSCI_SYSTEM_RESET];
    let of_firmware = [PSCI_VERSION, PSCI_FEATURES, arch::SMCCC_VERSION];
    let is_there = in_one.contains(&function_id) || of_firmware.contains(&function_id);
    supported(is_there || in_both_forms.contains(&(function_id & !WIDE)))
}

fn arch_features(function_id: u32) -> Action {
    supported(matches!(function_id, arch::SMCCC_VERSION | arch::SMCCC_ARCH_FEATURES))
}

fn supported(is_there: bool) -> Action {
    if is_there { Action::Return(SUCCESS) } else { Error::NotSupported.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vcpu_is_switched_on_once() {
        let mut power = Power::new(2);
        let on = [1, 0x4000_0000, 7];
        let vcpu = VcpuId(1);
        let expected = Action::PowerOn { vcpu, entry: 0x4000_0000, context: 7 };
        assert_eq!(power.call(VcpuId(0), psci::PSCI_CPU_ON_64, on), expected);
        assert_eq!(power.call(VcpuId(0), psci::PSCI_CPU_ON_64, on), Action::from(Error::AlreadyOn));
        assert_eq!(power.call(VcpuId(1), psci::PSCI_CPU_OFF, [0; 3]), Action::PowerOff);
        assert_eq!(power.call(VcpuId(0), psci::PSCI_CPU_ON_64, on), expected);
    }

    #[test]
    fn targets_and_entries_that_do_not_exist_are_refused() {
        let mut power = Power::new(18);
        for target in [18, 0x102, 0x1_0000, 0x1_0000_0000, u64::MAX] {
            assert_eq!(
                power.call(VcpuId(0), psci::PSCI_CPU_ON_64, [target, 0, 0]),
                Action::from(Error::InvalidParameters)
            );
        }
        for entry in [2, 1, 1 << IPA_BITS, u64::MAX - 3] {
            let on = power.call(VcpuId(0), psci::PSCI_CPU_ON_64, [1, entry, 0]);
            assert_eq!(on, Action::from(Error::InvalidAddress), "{entry:#x}");
        }
        assert_eq!(power.call(VcpuId(0), psci::PSCI_CPU_ON_64, [0, 0, 0]), Action::from(Error::AlreadyOn));
        // Aff1 = 1, Aff0 = 1 is vCPU 17.
        assert!(matches!(
            power.call(VcpuId(0), psci::PSCI_CPU_ON_64, [0x101, 0, 0]),
            Action::PowerOn { vcpu: VcpuId(17), .. }
        ));
    }

    #[test]
    fn affinity_levels_gather_vcpus() {
        let mut power = Power::new(18);
        let mut info = |target, level| power.call(VcpuId(0), psci::PSCI_AFFINITY_INFO_64, [target, level, 0]);
        assert_eq!(info(0, 0), Action::Return(AFFINITY_ON));
        assert_eq!(info(1, 0), Action::Return(AFFINITY_OFF));
        assert_eq!(info(1, 1), Action::Return(AFFINITY_ON), "with vCPU 0");
        assert_eq!(info(0x105, 1), Action::Return(AFFINITY_OFF), "vCPUs 16 and 17");
        assert_eq!(info(0x105, 2), Action::Return(AFFINITY_ON));
        assert_eq!(info(0x105, 0xffff_0000_0003), Action::Return(AFFINITY_ON));
        for (target, level) in [(0, 4), (0x105, 0), (0x200, 1), (1 << 32, 3), (0, u64::MAX)] {
            assert_eq!(info(target, level), Action::from(Error::InvalidParameters), "{target:#x}");
        }
    }

    #[test]
    fn the_last_vcpu_takes_the_domain_with_it() {
        let mut power = Power::new(3);
        power.call(VcpuId(0), psci::PSCI_CPU_ON_64, [2, 0, 0]);
        assert_eq!(power.call(VcpuId(0), psci::PSCI_CPU_OFF, [0; 3]), Action::PowerOff);
        assert_eq!(power.call(VcpuId(2), psci::PSCI_CPU_OFF, [0; 3]), Action::SystemOff);
    }

    #[test]
    fn the_uid_is_xens() {
        let Some(Action::ReturnFour(words)) = immediate(HYPERVISOR_UID, 0) else {
            panic!("no UID");
        };
        let bytes = words.into_iter().flat_map(|word| (word as u32).to_le_bytes());
        assert!(bytes.eq(0xa71812dc_c698_4369_9acf_79d18ddee667_u128.to_be_bytes()));
    }

    #[test]
    fn a_32_bit_call_does_not_see_the_high_halves() {
        let mut power = Power::new(2);
        let call = power.call(VcpuId(0), psci::PSCI_CPU_ON_32, [0xff_0000_0001, 0xff_0000_1000, 0xff_0000_0007]);
        assert_eq!(call, Action::PowerOn { vcpu: VcpuId(1), entry: 0x1000, context: 7 });
    }

    #[test]
    fn what_features_promises_is_there_and_nothing_else() {
        for base in [0x8000_0000_u32, 0x8400_0000, 0xc400_0000, 0x8600_0000, 0xc000_0000] {
            for id in base..base + 0x40 {
                let promised = features(id) == Action::Return(SUCCESS);
                let answered = immediate(id, 0).unwrap_or_else(|| Power::new(2).call(VcpuId(0), id, [1, 0, 0]));
                let missing = answered == Action::from(Error::NotSupported);
                assert_eq!(promised, !missing || id == psci::PSCI_FEATURES, "{id:#x}");
            }
        }
    }

    #[test]
    fn errors_are_sign_extended() {
        assert_eq!(Action::from(Error::NotSupported), Action::Return(u64::MAX));
    }
}
