//! Exception syndromes: why a guest came to EL2, and what EL1 finds when EL2 gives it an exception.

use crate::mmio::Width;

/// `ESR_ELx.EC` (Arm ARM D24.2.40).
mod class {
    pub const UNKNOWN: u64 = 0x00;
    pub const WAIT: u64 = 0x01;
    pub const SMC64: u64 = 0x17;
    pub const SYSTEM64: u64 = 0x18;
    pub const INSTRUCTION_LOWER: u64 = 0x20;
    pub const DATA_LOWER: u64 = 0x24;
}

const CLASS_SHIFT: u32 = 26;
/// `ESR_ELx.IL`: the instruction is 32 bits long.
const LONG_INSTRUCTION: u64 = 1 << 25;
/// Fault status: a synchronous external abort, not on a table walk.
const EXTERNAL_ABORT: u64 = 0x10;

/// Why the guest came, as far as EL2 treats reasons apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syndrome {
    /// `WFI` or `WFE`, also with a time-out.
    Wait {
        /// Whether it is `WFE`.
        is_event: bool,
    },
    /// `SMC` from AArch64 state.
    Smc,
    /// `MSR`, `MRS` or a system instruction.
    System(SystemAccess),
    /// A load or store that stage 2 refused.
    Data(DataAbort),
    /// A fetch that stage 2 refused.
    Instruction(FaultKind),
    /// Everything else.
    Other,
}

/// A trapped `MSR` or `MRS`, as its ISS tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemAccess(pub(crate) u32);

impl SystemAccess {
    /// The register's encoding, with its fields where the ISS has them, all else zero.
    pub(crate) const fn register(self) -> u32 {
        self.0 & 0x3f_fc1e
    }

    /// Whether it is read (`MRS`).
    pub const fn is_read(self) -> bool {
        self.0 & 1 != 0
    }

    /// Number of the general register; 31 is the zero register.
    pub const fn rt(self) -> u8 {
        (self.0 >> 5 & 31) as u8
    }
}

/// Why a translation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing is mapped.
    Translation,
    /// Mapped, but its access flag is clear.
    AccessFlag,
    /// Mapped, but not for this kind of access.
    Permission,
    /// Any other status.
    Other,
}

impl FaultKind {
    const fn from_status(status: u32) -> Self {
        match status & 0x3c {
            0b00_0100 => Self::Translation,
            0b00_1000 => Self::AccessFlag,
            0b00_1100 => Self::Permission,
            _ => Self::Other,
        }
    }
}

/// A data abort, as its ISS tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataAbort(u32);

impl DataAbort {
    const DESCRIBED: u32 = 1 << 24;
    const SIGN_EXTEND: u32 = 1 << 21;
    const WIDE: u32 = 1 << 15;
    const WRITE: u32 = 1 << 6;

    /// Why.
    pub const fn kind(self) -> FaultKind {
        FaultKind::from_status(self.0)
    }

    /// Whether the rest is known, and the access can be emulated: only single loads and stores of a general register
    /// describe themselves.
    pub const fn is_described(self) -> bool {
        self.0 & Self::DESCRIBED != 0
    }

    /// How many bytes.
    pub const fn width(self) -> Width {
        Width::from_log2((self.0 >> 22) as u8)
    }

    /// Whether it is a store.
    pub const fn is_write(self) -> bool {
        self.0 & Self::WRITE != 0
    }

    /// Number of the general register; 31 is the zero register.
    pub const fn rt(self) -> u8 {
        (self.0 >> 16 & 31) as u8
    }

    /// What a load of `value`, which counts in its low [`Self::width`] bytes, leaves in the register.
    pub const fn loaded(self, value: u64) -> u64 {
        let unused = 64 - 8 * self.width() as u32;
        let zero_extended = value << unused >> unused;
        if self.0 & Self::SIGN_EXTEND == 0 {
            return zero_extended;
        }
        let extended = ((value << unused) as i64 >> unused) as u64;
        if self.0 & Self::WIDE != 0 { extended } else { extended & 0xffff_ffff }
    }
}

/// Decodes `ESR_EL2` of an exit from AArch64 or AArch32 state.
pub const fn decode(esr: u64) -> Syndrome {
    let iss = (esr & (LONG_INSTRUCTION - 1)) as u32;
    match esr >> CLASS_SHIFT & 0x3f {
        class::WAIT => Syndrome::Wait { is_event: iss & 1 != 0 },
        class::SMC64 => Syndrome::Smc,
        class::SYSTEM64 => Syndrome::System(SystemAccess(iss)),
        class::DATA_LOWER => Syndrome::Data(DataAbort(iss)),
        class::INSTRUCTION_LOWER => Syndrome::Instruction(FaultKind::from_status(iss)),
        _ => Syndrome::Other,
    }
}

/// `ESR_EL1` of an undefined instruction.
pub const UNDEFINED: u64 = class::UNKNOWN << CLASS_SHIFT | LONG_INSTRUCTION;

/// Where the guest is when an exception is given to it: what decides how the exception looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `SPSR_EL2`.
    pub pstate: u64,
    /// `VBAR_EL1`.
    pub vbar: u64,
    /// `SCTLR_EL1`.
    pub sctlr: u64,
}

/// `SPSR` fields (Arm ARM C5.2.19).
const PSTATE_AARCH32: u64 = 1 << 4;
const PSTATE_EL: u64 = 0b1100;
const PSTATE_SP: u64 = 1;
const PSTATE_EL1H_MASKED: u64 = 0x3c5;
const PSTATE_SSBS: u64 = 1 << 12;
const PSTATE_PAN: u64 = 1 << 22;
const PSTATE_DIT: u64 = 1 << 24;
const PSTATE_NZCV: u64 = 0xf << 28;
/// What exceptions leave as it is (Arm ARM D1.3.2).
const PSTATE_KEPT: u64 = PSTATE_NZCV | PSTATE_DIT | PSTATE_PAN;
/// `SCTLR_EL1.SPAN`: exceptions leave PAN as it is; a CPU without PAN reads it as one.
const SCTLR_SPAN: u64 = 1 << 23;
/// `SCTLR_EL1.DSSBS`: what exceptions set SSBS to.
const SCTLR_DSSBS: u64 = 1 << 44;

impl Origin {
    /// The vector of a synchronous exception to EL1, and PSTATE in it: EL1 with its own stack, exceptions masked, the rest as
    /// the architecture has it (Arm ARM D1.3.2, R_WTXBY).
    pub const fn synchronous(self) -> (u64, u64) {
        let offset = match self.pstate {
            from if from & PSTATE_AARCH32 != 0 => 0x600,
            from if from & PSTATE_EL == 0 => 0x400,
            from if from & PSTATE_SP != 0 => 0x200,
            _ => 0,
        };
        let pan = if self.sctlr & SCTLR_SPAN == 0 { PSTATE_PAN } else { 0 };
        let ssbs = if self.sctlr & SCTLR_DSSBS != 0 { PSTATE_SSBS } else { 0 };
        let pstate = PSTATE_EL1H_MASKED | self.pstate & PSTATE_KEPT | pan | ssbs;
        (self.vbar.wrapping_add(offset), pstate)
    }

    const fn is_el1(self) -> bool {
        self.pstate & PSTATE_AARCH32 == 0 && self.pstate & PSTATE_EL != 0
    }

    /// `ESR_EL1` of a synchronous external abort of the access or the fetch that `esr`, from `ESR_EL2`, tells of. Its class there is one of
    /// aborts from a lower level, behind which is the same from EL1 itself.
    pub const fn external_abort(self, esr: u64) -> u64 {
        const WRITE: u64 = 1 << 6;
        let class = (esr >> CLASS_SHIFT) + self.is_el1() as u64;
        class << CLASS_SHIFT | esr & (LONG_INSTRUCTION | WRITE) | EXTERNAL_ABORT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysreg::{Meaning, meaning};
    use crate::timer::TimerRegister;

    const SYNDROME_VALID: u64 = 1 << 24;

    fn data_abort(iss: u64) -> DataAbort {
        match decode(class::DATA_LOWER << CLASS_SHIFT | iss) {
            Syndrome::Data(abort) => abort,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn loads_extend_as_the_instruction_says() {
        let load = |size: u64, sign: u64, wide: u64| {
            let iss = SYNDROME_VALID | size << 22 | sign << 21 | wide << 15 | 5 << 16 | 0x06;
            let abort = data_abort(iss);
            assert!(abort.is_described());
            abort
        };
        assert_eq!(load(0, 0, 0).loaded(0xffff_ff80), 0x80);
        assert_eq!(load(0, 1, 0).loaded(0x80), 0xffff_ff80);
        assert_eq!(load(0, 1, 1).loaded(0x80), 0xffff_ffff_ffff_ff80);
        assert_eq!(load(2, 0, 0).loaded(u64::MAX), 0xffff_ffff);
        assert_eq!(load(3, 0, 1).loaded(u64::MAX), u64::MAX);
        assert_eq!(load(3, 0, 1).rt(), 5);
    }

    #[test]
    fn an_access_without_a_valid_syndrome_cannot_be_emulated() {
        assert!(!data_abort(0x45).is_described());
        assert_eq!(data_abort(0x45).kind(), FaultKind::Translation);
        assert_eq!(data_abort(0x0b).kind(), FaultKind::AccessFlag);
    }

    #[test]
    fn a_system_access_names_its_register() {
        // MRS x3, CNTP_CTL_EL0.
        let iss = 3 << 20 | 1 << 17 | 3 << 14 | 14 << 10 | 3 << 5 | 2 << 1 | 1;
        let Syndrome::System(access) = decode(class::SYSTEM64 << CLASS_SHIFT | iss) else {
            panic!("not a system access");
        };
        assert_eq!(meaning(access), Meaning::Timer(TimerRegister::Control));
        assert!(access.is_read());
        assert_eq!(access.rt(), 3);
    }

    #[test]
    fn exceptions_enter_by_the_vector_of_where_the_guest_was() {
        let from = |pstate| Origin { pstate, vbar: 0x8000, sctlr: 0 }.synchronous().0;
        assert_eq!(from(0x3c5), 0x8200, "EL1 with its own stack");
        assert_eq!(from(0x3c4), 0x8000, "EL1 with EL0's stack");
        assert_eq!(from(0), 0x8400, "EL0");
        assert_eq!(from(0x10), 0x8600, "AArch32 EL0");
    }

    #[test]
    fn an_exception_keeps_and_sets_what_the_architecture_says() {
        let in_handler = |pstate, sctlr| Origin { pstate, vbar: 0, sctlr }.synchronous().1;
        assert_eq!(in_handler(u64::MAX, SCTLR_SPAN), PSTATE_EL1H_MASKED | PSTATE_KEPT);
        assert_eq!(in_handler(0, SCTLR_SPAN), PSTATE_EL1H_MASKED);
        assert_eq!(in_handler(0, 0), PSTATE_EL1H_MASKED | PSTATE_PAN);
        let sctlr = SCTLR_SPAN | SCTLR_DSSBS;
        assert_eq!(in_handler(0, sctlr), PSTATE_EL1H_MASKED | PSTATE_SSBS);
    }

    #[test]
    fn every_syndrome_decodes() {
        for class in 0..64 {
            for iss in [0, 1, 0x1ff_ffff, 0x155_5555, 0x0aa_aaaa] {
                let esr = class << CLASS_SHIFT | iss;
                if let Syndrome::Data(abort) = decode(esr)
                    && abort.is_described()
                {
                    assert!(abort.loaded(u64::MAX) != 0);
                }
            }
        }
    }

    #[test]
    fn an_abort_tells_of_whom_it_was_and_whether_it_was_a_write() {
        let origin = Origin { pstate: 0x3c5, vbar: 0, sctlr: 0 };
        let esr = origin.external_abort(class::DATA_LOWER << CLASS_SHIFT | LONG_INSTRUCTION | 1 << 6 | 7);
        assert_eq!(esr, 0x9600_0050);
        let esr = class::INSTRUCTION_LOWER << CLASS_SHIFT | LONG_INSTRUCTION | 7;
        assert_eq!(Origin { pstate: 0, vbar: 0, sctlr: 0 }.external_abort(esr), 0x8200_0010);
        assert_eq!(origin.external_abort(esr), 0x8600_0010);
    }
}
