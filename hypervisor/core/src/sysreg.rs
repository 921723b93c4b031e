//! What a guest's trapped system register accesses mean.
//!
//! `HCR_EL2`, `MDCR_EL2`, `CPTR_EL2` and `CNTHCTL_EL2` send here the ID registers, the debug and OS lock registers, the physical
//! timer, `ICC_SGI*R_EL1` and all that EL1 has no business with. A register that is not in the table is
//! undefined for the guest, as the architecture says of one that is not implemented.

use crate::esr::SystemAccess;
use crate::timer::TimerRegister;

/// Encoding of the register by which one vCPU interrupts others: as frequent as all the rest together.
const ICC_SGI1R_EL1: u32 = 3 << 20 | 5 << 17 | 12 << 10 | 11 << 1;

/// `(op0, op1, CRn, CRm, op2)` of a register, from the ISS of an access to it (Arm ARM C5.1.2, D24.2.40).
fn fields(register: u32) -> (u8, u8, u8, u8, u8) {
    let field = |shift: u32, mask: u32| (register >> shift & mask) as u8;
    (field(20, 3), field(14, 7), field(10, 15), field(1, 15), field(17, 7))
}

/// What an access is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Reads as zero, ignores writes.
    Ignored,
    /// A constant; a write is undefined.
    Constant(u64),
    /// An ID register, given by `CRm` and `op2`; a write is undefined.
    Identification(u8, u8),
    /// A register of the physical timer.
    Timer(TimerRegister),
    /// `ICC_SGI1R_EL1`: a write raises SGIs; a read is undefined.
    Sgi,
    /// `ICC_DIR_EL1`: a write deactivates an interrupt; a read is undefined.
    Deactivate,
    /// An exception of unknown reason.
    Undefined,
}

/// `OSLSR_EL1` of a CPU whose OS lock is not locked: `OSLM` says that it is implemented (Arm ARM D24.3.24).
const OSLSR_UNLOCKED: u64 = 1 << 3;

/// The meaning of an access to its register.
pub fn meaning(access: SystemAccess) -> Meaning {
    if access.register() == ICC_SGI1R_EL1 {
        return Meaning::Sgi;
    }
    match fields(access.register()) {
        (3, 0, 0, crm @ 1..=7, op2) => Meaning::Identification(crm, op2),
        (3, 0, 12, 11, 1) => Meaning::Deactivate,
        (3, 3, 14, 2, 0) => Meaning::Timer(TimerRegister::TimerValue),
        (3, 3, 14, 2, 1) => Meaning::Timer(TimerRegister::Control),
        (3, 3, 14, 2, 2) => Meaning::Timer(TimerRegister::CompareValue),
        // ACTLR_EL1; PMUSERENR_EL0, as Xen answers them.
        (3, 0, 1, 0, 1) | (3, 3, 9, 14, 0) => Meaning::Ignored,
        // The domain has no self-hosted debug, but an operating system resets its state when it starts: MDSCR_EL1, DBGBVR<n>,
        // DBGBCR<n>, DBGWVR<n>, DBGWCR<n>.
        (2, 0, 0, 2, 2) | (2, 0, 0, _, 4..=7) => Meaning::Ignored,
        // MDRAR_EL1: no ROM table.
        (2, 0, 1, 0, 0) => Meaning::Constant(0),
        // OSLAR_EL1, OSDLR_EL1.
        (2, 0, 1, 0 | 3, 4) => Meaning::Ignored,
        (2, 0, 1, 1, 4) => Meaning::Constant(OSLSR_UNLOCKED),
        // MDCCSR_EL0, DBGDTR_EL0, DBGDTRRX_EL0: no debugger is connected.
        (2, 3, 0, 1 | 4 | 5, 0) => Meaning::Ignored,
        _ => Meaning::Undefined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoding(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> SystemAccess {
        SystemAccess(op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | crm << 1)
    }

    #[test]
    fn an_encoding_gives_back_its_fields() {
        assert_eq!(fields(ICC_SGI1R_EL1), (3, 0, 12, 11, 5));
        assert_eq!(fields(encoding(2, 7, 15, 14, 6).register()), (2, 7, 15, 14, 6));
    }

    #[test]
    fn what_is_not_listed_is_undefined() {
        let part = |number: u32, from: u32, bits: u32| number >> from & ((1 << bits) - 1);
        let every = |n| encoding(part(n, 14, 2), part(n, 11, 3), part(n, 7, 4), part(n, 3, 4), part(n, 0, 3));
        let defined = (0..1 << 16).map(every).filter(|&register| meaning(register) != Meaning::Undefined).count();
        // 7 * 8 ID registers, 7 others, and the debug group: 64 breakpoint and watchpoint registers and 8 more.
        assert_eq!(defined, 56 + 7 + 64 + 8);
    }

    #[test]
    fn performance_monitors_are_undefined() {
        assert_eq!(meaning(encoding(3, 3, 9, 12, 0)), Meaning::Undefined);
        assert_eq!(meaning(encoding(3, 0, 9, 14, 1)), Meaning::Undefined);
    }
}
