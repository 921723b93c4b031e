//! What a guest sees of the CPU's ID registers, which `HCR_EL2.TID3` traps (Arm ARM D24.2, the `ID_*` registers).
//!
//! A field is shown only if it is in the table below: its feature needs no state that EL2 would have to switch, or has it
//! switched. Everything else reads as not implemented, and its use traps: the platform leaves the feature's controls in
//! `HCR_EL2`, `HCRX_EL2`, `CPTR_EL2` and `MDCR_EL2` off, or turns its traps on. So what is hidden is also forbidden.

/// What a guest sees of a four-bit field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Show {
    /// The CPU's value.
    Asis,
    /// The CPU's value, at most this.
    AtMost(u64),
    /// This, whatever the CPU has.
    Fixed(u64),
}

use Show::{Asis, AtMost, Fixed};

/// One field: CRm and op2 of its register (op0 3, op1 0, CRn 0), its lowest bit, and what is shown.
type Field = (u8, u8, u32, Show);

/// The fields shown. All others are zero.
const FIELDS: &[Field] = &[
    // ID_AA64PFR0_EL1: EL0 (AArch32 if the CPU has it), EL1 (AArch64 alone), FP, AdvSIMD, GIC system registers, DIT, CSV2, CSV3.
    (4, 0, 0, AtMost(2)),
    (4, 0, 4, Fixed(1)),
    (4, 0, 16, Asis),
    (4, 0, 20, Asis),
    (4, 0, 24, Fixed(1)),
    (4, 0, 48, Asis),
    (4, 0, 56, AtMost(1)),
    (4, 0, 60, Asis),
    // ID_AA64PFR1_EL1: BT, SSBS.
    (4, 1, 0, Asis),
    (4, 1, 4, Asis),
    // ID_AA64DFR0_EL1: DebugVer of Armv8.0; two breakpoints, two watchpoints, one context-aware: the fewest there can be.
    (5, 0, 0, Fixed(6)),
    (5, 0, 12, Fixed(1)),
    (5, 0, 20, Fixed(1)),
    // ID_AA64ISAR0_EL1: AES, SHA1, SHA2, CRC32, Atomic, RDM, SHA3, SM3, SM4, DP, FHM, TS, TLB, RNDR.
    (6, 0, 4, Asis),
    (6, 0, 8, Asis),
    (6, 0, 12, Asis),
    (6, 0, 16, Asis),
    (6, 0, 20, Asis),
    (6, 0, 28, Asis),
    (6, 0, 32, Asis),
    (6, 0, 36, Asis),
    (6, 0, 40, Asis),
    (6, 0, 44, Asis),
    (6, 0, 48, Asis),
    (6, 0, 52, Asis),
    (6, 0, 56, Asis),
    (6, 0, 60, Asis),
    // ID_AA64ISAR1_EL1: DPB, JSCVT, FCMA, LRCPC, FRINTTS, SB, SPECRES, BF16, DGH, I8MM.
    (6, 1, 0, Asis),
    (6, 1, 12, Asis),
    (6, 1, 16, Asis),
    (6, 1, 20, AtMost(2)),
    (6, 1, 32, Asis),
    (6, 1, 36, Asis),
    (6, 1, 40, AtMost(1)),
    (6, 1, 44, AtMost(1)),
    (6, 1, 48, Asis),
    (6, 1, 52, Asis),
    // ID_AA64MMFR0_EL1: PARange up to 40 bits, ASIDBits, BigEnd, SNSMem, BigEndEL0, TGran16, TGran64, TGran4.
    (7, 0, 0, AtMost(2)),
    (7, 0, 4, Asis),
    (7, 0, 8, Asis),
    (7, 0, 12, Asis),
    (7, 0, 16, Asis),
    (7, 0, 20, Asis),
    (7, 0, 24, Asis),
    (7, 0, 28, Asis),
    // ID_AA64MMFR1_EL1: HPDS, PAN, XNX.
    (7, 1, 12, AtMost(1)),
    (7, 1, 20, Asis),
    // ID_AA64MMFR2_EL1: CnP, UAO, IESB is RAS's, VARange, AT, BBM, E0PD.
    (7, 2, 0, Asis),
    (7, 2, 4, Asis),
    (7, 2, 16, Asis),
    (7, 2, 32, Asis),
    (7, 2, 52, Asis),
    (7, 2, 60, Asis),
];

/// The AArch32 registers of EL0, which say nothing about AArch64: shown where EL0 can be AArch32 (`ID_PFR0_EL1` to
/// `MVFR2_EL1`), except those of debug and performance monitors.
fn is_aarch32(crm: u8, op2: u8) -> bool {
    matches!((crm, op2), (1, 0 | 1 | 4..=7) | (2, _) | (3, 0..=2 | 4 | 6))
}

/// What guests see of all ID registers: worked out once, for a guest that asks often.
#[derive(Clone, Debug)]
pub struct IdRegisters {
    // By CRm - 1, then op2.
    values: [[u64; 8]; 7],
}

impl IdRegisters {
    /// From the CPU's own values, by `CRm` (1 to 7) and `op2` (0 to 7).
    pub fn new(host: impl Fn(u8, u8) -> u64) -> Self {
        let of = |crm: usize, op2: usize| {
            let (crm, op2) = (crm as u8 + 1, op2 as u8);
            guest_value(crm, op2, host(crm, op2))
        };
        Self { values: core::array::from_fn(|crm| core::array::from_fn(|op2| of(crm, op2))) }
    }

    /// What a guest reads of the register with these `CRm` and `op2`.
    #[must_use]
    pub fn get(&self, crm: u8, op2: u8) -> u64 {
        let row = usize::from(crm).checked_sub(1).and_then(|row| self.values.get(row));
        row.and_then(|row| row.get(usize::from(op2))).copied().unwrap_or(0)
    }
}

/// What a guest reads of the ID register with these `CRm` (1 to 7) and `op2`, given the CPU's own value. Reserved
/// ones read as zero.
#[must_use]
fn guest_value(crm: u8, op2: u8, host: u64) -> u64 {
    if is_aarch32(crm, op2) {
        return host;
    }
    let of_register = FIELDS.iter().filter(|field| (field.0, field.1) == (crm, op2));
    of_register.fold(0, |value, &(_, _, shift, show)| value | shown(show, host >> shift & 0xf) << shift)
}

fn shown(show: Show, host: u64) -> u64 {
    match show {
        Asis => host,
        AtMost(limit) => host.min(limit),
        Fixed(value) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_with_everything_shows_only_the_table() {
        // SVE, RAS, AMU, MPAM, SEL2, EL2 and EL3 are gone; GIC is 1.
        assert_eq!(guest_value(4, 0, u64::MAX), 0xf10f_0000_01ff_0012);
        // Pointer authentication: APA, API, GPA, GPI.
        assert_eq!(guest_value(6, 1, u64::MAX) & 0xff00_0ff0, 0);
        assert_eq!(guest_value(4, 1, u64::MAX), 0xff, "no MTE, SME, RNDR trap, NMI");
        assert_eq!(guest_value(5, 0, u64::MAX), 0x10_1006, "no PMU, SPE, trace");
        assert_eq!(guest_value(7, 1, u64::MAX) & 0xf_0fff, 0, "no HAFDBS, VMIDBits, VH, LOR");
        for (crm, op2) in [(4, 4), (4, 5), (5, 1), (6, 2), (6, 3), (7, 3), (7, 4), (1, 2), (3, 3), (3, 7)] {
            assert_eq!(guest_value(crm, op2, u64::MAX), 0, "{crm} {op2}");
        }
    }

    #[test]
    fn a_simple_cpu_shows_what_it_has() {
        // Cortex-A72's ID_AA64PFR0_EL1 (with EL3, EL2 and AArch32 everywhere), ID_AA64MMFR0_EL1.
        assert_eq!(guest_value(4, 0, 0x0000_0000_0100_2222), 0x0000_0000_0100_0012);
        assert_eq!(guest_value(7, 0, 0x0000_1124), 0x0000_1122);
    }
}
