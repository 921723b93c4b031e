//! PSCI 1.1 (Arm DEN 0022) and SMCCC 1.1 (DEN 0028) as a guest sees them.

use alloc::vec::Vec;

use crate::id::VcpuId;
use crate::p2m::IPA_BITS;
use crate::vgic::Affinity;

/// What a call answers in x0, and in x1 to x3 where it answers there.
pub type Answer = [u64; 4];

/// PSCI's return codes (DEN 0022, 5.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// Done.
    Success = 0,
    /// There is no such function.
    NotSupported = -1,
    /// An argument is out of range.
    InvalidParameters = -2,
    /// The vCPU is on.
    AlreadyOn = -4,
    /// The entry point cannot be one.
    InvalidAddress = -9,
}

impl Code {
    /// As it stands in x0.
    #[must_use]
    pub const fn value(self) -> u64 {
        self as i32 as i64 as u64
    }
}

/// Function identifiers; the 64-bit forms of functions that have both differ in bit 30 (DEN 0022, 5.1).
mod function {
    pub const VERSION: u32 = 0x8400_0000;
    pub const CPU_SUSPEND: u32 = 0x8400_0001;
    pub const CPU_OFF: u32 = 0x8400_0002;
    pub const CPU_ON: u32 = 0x8400_0003;
    pub const AFFINITY_INFO: u32 = 0x8400_0004;
    pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
    pub const SYSTEM_OFF: u32 = 0x8400_0008;
    pub const SYSTEM_RESET: u32 = 0x8400_0009;
    pub const PSCI_FEATURES: u32 = 0x8400_000a;
    pub const SYSTEM_RESET2: u32 = 0x8400_0012;
    pub const WIDE: u32 = 1 << 30;

    pub const SMCCC_VERSION: u32 = 0x8000_0000;
    pub const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
    /// Xen's service (`arch-arm/smccc.h`): call count, UID, revision of the hypervisor service range.
    pub const HYPERVISOR_COUNT: u32 = 0x8600_ff00;
    pub const HYPERVISOR_UID: u32 = 0x8600_ff01;
    pub const HYPERVISOR_REVISION: u32 = 0x8600_ff03;
}

/// PSCI 1.1.
const PSCI_VERSION: u64 = 1 << 16 | 1;
/// SMCCC 1.1.
const SMCCC_VERSION: u64 = 1 << 16 | 1;
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

impl Action {
    const fn supported(is_there: bool) -> Self {
        Self::code(if is_there { Code::Success } else { Code::NotSupported })
    }

    const fn code(code: Code) -> Self {
        Self::Return(code.value())
    }
}

/// Which vCPUs of a domain are switched on.
#[derive(Debug)]
pub struct Power {
    on: Vec<bool>,
}

impl Power {
    /// Of `vcpus` vCPUs the first is on.
    #[must_use]
    pub fn new(vcpus: u32) -> Self {
        Self { on: (0..vcpus).map(|vcpu| vcpu == 0).collect() }
    }

    /// Answers a call that looks at other vCPUs or changes one: everything that [`immediate`] left open.
    /// `arguments` are x1 to x3.
    pub fn call(&mut self, caller: VcpuId, function_id: u32, arguments: [u64; 3]) -> Action {
        let arguments = narrow(function_id, arguments);
        match base(function_id) {
            function::CPU_SUSPEND => Action::Suspend,
            function::CPU_OFF => self.cpu_off(caller),
            function::CPU_ON => self.cpu_on(arguments).unwrap_or_else(Action::code),
            function::AFFINITY_INFO => self.affinity_info(arguments),
            function::SYSTEM_OFF => Action::SystemOff,
            function::SYSTEM_RESET => Action::SystemReset,
            // Only the architectural warm reset, type 0, is there.
            function::SYSTEM_RESET2 if arguments[0] as u32 == 0 => Action::SystemReset,
            function::SYSTEM_RESET2 => Action::code(Code::InvalidParameters),
            _ => Action::code(Code::NotSupported),
        }
    }

    fn find(&self, target: u64) -> Option<VcpuId> {
        let affinity = u32::try_from(target).ok().map(Affinity)?;
        affinity.vcpu().filter(|vcpu| usize::from(vcpu.0) < self.on.len())
    }

    fn cpu_off(&mut self, caller: VcpuId) -> Action {
        if let Some(on) = self.on.get_mut(usize::from(caller.0)) {
            *on = false;
        }
        // Who could switch one on again, once the last is off?
        if self.on.contains(&true) { Action::PowerOff } else { Action::SystemOff }
    }

    fn cpu_on(&mut self, [target, entry, context]: [u64; 3]) -> Result<Action, Code> {
        let vcpu = self.find(target).ok_or(Code::InvalidParameters)?;
        if !entry.is_multiple_of(INSTRUCTION) || entry >> IPA_BITS != 0 {
            return Err(Code::InvalidAddress);
        }
        let on = self.on.get_mut(usize::from(vcpu.0)).filter(|on| !**on).ok_or(Code::AlreadyOn)?;
        *on = true;
        Ok(Action::PowerOn { vcpu, entry, context })
    }

    /// Whether any vCPU is on of those that share the target's affinity from the level up, as Xen answers it.
    fn affinity_info(&self, [target, level, _]: [u64; 3]) -> Action {
        // A 32-bit argument in both forms of the function.
        let Some(&shift) = AFFINITY_SHIFTS.get(level as u32 as usize) else {
            return Action::code(Code::InvalidParameters);
        };
        let vcpus = (0..).map(VcpuId).map(|vcpu| u64::from(Affinity::of(vcpu).0)).zip(&self.on);
        let mut states = vcpus.filter(|(at, _)| at >> shift == target >> shift).map(|(_, on)| *on);
        match states.next() {
            Some(first) if first || states.any(|on| on) => Action::Return(AFFINITY_ON),
            Some(_) => Action::Return(AFFINITY_OFF),
            None => Action::code(Code::InvalidParameters),
        }
    }
}

/// What a function's two forms have in common, if it has two; else its identifier as it is.
const fn base(function_id: u32) -> u32 {
    match function_id & !function::WIDE {
        both @ (function::CPU_SUSPEND | function::CPU_ON | function::AFFINITY_INFO | function::SYSTEM_RESET2) => both,
        _ => function_id,
    }
}

/// A 32-bit function takes the low halves of its arguments.
fn narrow(function_id: u32, arguments: [u64; 3]) -> [u64; 3] {
    if function_id & function::WIDE != 0 { arguments } else { arguments.map(|argument| argument & 0xffff_ffff) }
}

/// The answer to a call that looks at nothing but its first argument, or `None` if it is one for [`Power::call`].
#[must_use]
pub fn immediate(function_id: u32, argument: u64) -> Option<Action> {
    Some(match function_id {
        function::VERSION => Action::Return(PSCI_VERSION),
        function::PSCI_FEATURES => features(argument as u32),
        function::MIGRATE_INFO_TYPE => Action::Return(NO_MIGRATION),
        function::SMCCC_VERSION => Action::Return(SMCCC_VERSION),
        function::SMCCC_ARCH_FEATURES => arch_features(argument as u32),
        function::HYPERVISOR_COUNT => Action::Return(XEN_FUNCTION_COUNT),
        function::HYPERVISOR_UID => Action::ReturnFour(XEN_UID),
        function::HYPERVISOR_REVISION => Action::ReturnFour(XEN_REVISION),
        _ => return None,
    })
}

fn features(function_id: u32) -> Action {
    use function::*;
    let function = base(function_id);
    let of_vcpus = matches!(function, CPU_SUSPEND | CPU_OFF | CPU_ON | AFFINITY_INFO | MIGRATE_INFO_TYPE);
    let of_all =
        matches!(function, SYSTEM_OFF | SYSTEM_RESET | SYSTEM_RESET2 | VERSION | PSCI_FEATURES | SMCCC_VERSION);
    Action::supported(of_vcpus || of_all)
}

fn arch_features(function_id: u32) -> Action {
    Action::supported(matches!(function_id, function::SMCCC_VERSION | function::SMCCC_ARCH_FEATURES))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU_ON_64: u32 = function::CPU_ON | function::WIDE;
    const AFFINITY_INFO_64: u32 = function::AFFINITY_INFO | function::WIDE;

    #[test]
    fn a_vcpu_is_switched_on_once() {
        let mut power = Power::new(2);
        let on = [1, 0x4000_0000, 7];
        let vcpu = VcpuId(1);
        let expected = Action::PowerOn { vcpu, entry: 0x4000_0000, context: 7 };
        assert_eq!(power.call(VcpuId(0), CPU_ON_64, on), expected);
        assert_eq!(power.call(VcpuId(0), CPU_ON_64, on), Action::code(Code::AlreadyOn));
        assert_eq!(power.call(VcpuId(1), function::CPU_OFF, [0; 3]), Action::PowerOff);
        assert_eq!(power.call(VcpuId(0), CPU_ON_64, on), expected);
    }

    #[test]
    fn targets_and_entries_that_do_not_exist_are_refused() {
        let mut power = Power::new(18);
        for target in [18, 0x102, 0x1_0000, 0x1_0000_0000, u64::MAX] {
            assert_eq!(power.call(VcpuId(0), CPU_ON_64, [target, 0, 0]), Action::code(Code::InvalidParameters));
        }
        for entry in [2, 1, 1 << IPA_BITS, u64::MAX - 3] {
            let on = power.call(VcpuId(0), CPU_ON_64, [1, entry, 0]);
            assert_eq!(on, Action::code(Code::InvalidAddress), "{entry:#x}");
        }
        assert_eq!(power.call(VcpuId(0), CPU_ON_64, [0, 0, 0]), Action::code(Code::AlreadyOn));
        // Aff1 = 1, Aff0 = 1 is vCPU 17.
        assert!(matches!(power.call(VcpuId(0), CPU_ON_64, [0x101, 0, 0]), Action::PowerOn { vcpu: VcpuId(17), .. }));
    }

    #[test]
    fn affinity_levels_gather_vcpus() {
        let mut power = Power::new(18);
        let mut info = |target, level| power.call(VcpuId(0), AFFINITY_INFO_64, [target, level, 0]);
        assert_eq!(info(0, 0), Action::Return(AFFINITY_ON));
        assert_eq!(info(1, 0), Action::Return(AFFINITY_OFF));
        assert_eq!(info(1, 1), Action::Return(AFFINITY_ON), "with vCPU 0");
        assert_eq!(info(0x105, 1), Action::Return(AFFINITY_OFF), "vCPUs 16 and 17");
        assert_eq!(info(0x105, 2), Action::Return(AFFINITY_ON));
        assert_eq!(info(0x105, 0xffff_0000_0003), Action::Return(AFFINITY_ON));
        for (target, level) in [(0, 4), (0x105, 0), (0x200, 1), (1 << 32, 3), (0, u64::MAX)] {
            assert_eq!(info(target, level), Action::code(Code::InvalidParameters), "{target:#x}");
        }
    }

    #[test]
    fn the_last_vcpu_takes_the_domain_with_it() {
        let mut power = Power::new(3);
        power.call(VcpuId(0), CPU_ON_64, [2, 0, 0]);
        assert_eq!(power.call(VcpuId(0), function::CPU_OFF, [0; 3]), Action::PowerOff);
        assert_eq!(power.call(VcpuId(2), function::CPU_OFF, [0; 3]), Action::SystemOff);
    }

    #[test]
    fn the_uid_is_xens() {
        let Some(Action::ReturnFour(words)) = immediate(function::HYPERVISOR_UID, 0) else {
            panic!("no UID");
        };
        let bytes = words.into_iter().flat_map(|word| (word as u32).to_le_bytes());
        assert!(bytes.eq(0xa71812dc_c698_4369_9acf_79d18ddee667_u128.to_be_bytes()));
    }

    #[test]
    fn a_32_bit_call_does_not_see_the_high_halves() {
        let mut power = Power::new(2);
        let call = power.call(VcpuId(0), function::CPU_ON, [0xff_0000_0001, 0xff_0000_1000, 0xff_0000_0007]);
        assert_eq!(call, Action::PowerOn { vcpu: VcpuId(1), entry: 0x1000, context: 7 });
    }

    #[test]
    fn what_features_promises_is_there_and_nothing_else() {
        for base in [0x8000_0000_u32, 0x8400_0000, 0xc400_0000, 0x8600_0000, 0xc000_0000] {
            for id in base..base + 0x40 {
                let promised = features(id) == Action::code(Code::Success);
                let answered = immediate(id, 0).unwrap_or_else(|| Power::new(2).call(VcpuId(0), id, [1, 0, 0]));
                let missing = answered == Action::code(Code::NotSupported);
                assert_eq!(promised, !missing || id == function::PSCI_FEATURES, "{id:#x}");
            }
        }
    }

    #[test]
    fn errors_are_sign_extended() {
        assert_eq!(Code::NotSupported.value(), u64::MAX);
    }
}
