//! What a guest sees of the CPU's ID registers, which `HCR_EL2.TID3` traps (Arm ARM D24.2, the `ID_*` registers).
//!
//! A field is shown only as far as the table below lets it: its feature needs no state that EL2 would have to switch, or has it
//! switched. Everything else reads as not implemented, and its use traps: the platform leaves the feature's controls in
//! `HCR_EL2`, `HCRX_EL2`, `CPTR_EL2` and `MDCR_EL2` off, or turns its traps on. So what is hidden is also forbidden.

/// The registers (op0 3, op1 0, CRn 0) of which something is shown, by `CRm` and `op2`: each hexadecimal digit is a field of which the
/// CPU's value is shown, but no more than the first value says (`f` all there can be, `0` nothing); and the second is shown whatever the
/// CPU has. The comments name the fields, highest first. All others are zero.
const SHOWN: [((u8, u8), u64, u64); 8] = [
    // ID_AA64PFR0_EL1: CSV3, CSV2, DIT; GIC system registers; AdvSIMD, FP; EL1 (AArch64 alone), EL0 (AArch32 if the CPU has it).
    ((4, 0), 0xf10f_0000_00ff_0002, 0x0000_0000_0100_0010),
    // ID_AA64PFR1_EL1: SSBS, BT.
    ((4, 1), 0x0000_0000_0000_00ff, 0),
    // ID_AA64DFR0_EL1: one context-aware breakpoint, two watchpoints, two breakpoints, the fewest there can be; Armv8.0.
    ((5, 0), 0, 0x0000_0000_0010_1006),
    // ID_AA64ISAR0_EL1: RNDR, TLB, TS, FHM, DP, SM4, SM3, SHA3; RDM, Atomic, CRC32, SHA2, SHA1, AES.
    ((6, 0), 0xffff_ffff_f0ff_fff0, 0),
    // ID_AA64ISAR1_EL1: I8MM, DGH, BF16, SPECRES, SB, FRINTTS; LRCPC, FCMA, JSCVT, DPB.
    ((6, 1), 0x00ff_11ff_002f_f00f, 0),
    // ID_AA64MMFR0_EL1: TGran4, TGran64, TGran16, BigEndEL0, SNSMem, BigEnd, ASIDBits, PARange up to 40 bits.
    ((7, 0), 0x0000_0000_ffff_fff2, 0),
    // ID_AA64MMFR1_EL1: PAN, HPDS.
    ((7, 1), 0x0000_0000_00f0_1000, 0),
    // ID_AA64MMFR2_EL1: E0PD, BBM, AT, VARange, UAO, CnP. IESB is RAS's.
    ((7, 2), 0xf0f0_000f_000f_00ff, 0),
];

/// The AArch32 registers of EL0, which say nothing about AArch64: shown where EL0 can be AArch32 (`ID_PFR0_EL1` to
/// `MVFR2_EL1`), except those of debug and performance monitors.
fn is_aarch32(crm: u8, op2: u8) -> bool {
    matches!((crm, op2), (1, 0 | 1 | 4..=7) | (2, _) | (3, 0..=2 | 4 | 6))
}

/// What guests see of all ID registers: worked out once, for a guest that asks often.
#[derive(Clone, Debug)]
pub struct IdRegisters {
    // Eight of each CRm from 1 up.
    values: [u64; 7 * 8],
}

impl IdRegisters {
    /// From the CPU's own values, by `CRm` (1 to 7) and `op2` (0 to 7).
    pub fn new(host: impl Fn(u8, u8) -> u64) -> Self {
        let of = |crm, op2| guest_value(crm, op2, host(crm, op2));
        Self { values: core::array::from_fn(|at| of(at as u8 / 8 + 1, at as u8 % 8)) }
    }

    /// What a guest reads of the register with these `CRm` and `op2`, of which the low three bits count.
    pub fn get(&self, crm: u8, op2: u8) -> u64 {
        let row = usize::from(crm).checked_sub(1);
        row.and_then(|row| self.values.get(row * 8 + usize::from(op2 & 7))).copied().unwrap_or(0)
    }
}

/// What a guest reads of the ID register with these `CRm` (1 to 7) and `op2`, given the CPU's own value. Reserved
/// ones read as zero.
fn guest_value(crm: u8, op2: u8, host: u64) -> u64 {
    if is_aarch32(crm, op2) {
        return host;
    }
    let Some((_, at_most, fixed)) = SHOWN.into_iter().find(|(register, ..)| *register == (crm, op2)) else { return 0 };
    let field = |shift: u32| (host >> shift & 0xf).min(at_most >> shift & 0xf) << shift;
    (0..u64::BITS).step_by(4).fold(fixed, |value, shift| value | field(shift))
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
