//! What a guest reads in system registers.

use crate::say;
use crate::wild::{self, Outcome, Register};

/// Registers outside the ID space: op0, op1, CRn, CRm, op2, and a name.
static OTHERS: [(u32, u32, u32, u32, u32, &str); 62] = [
    (3, 1, 0, 0, 0, "CCSIDR_EL1"),
    (3, 1, 0, 0, 1, "CLIDR_EL1"),
    (3, 1, 0, 0, 2, "CCSIDR2_EL1"),
    (3, 1, 0, 0, 4, "GMID_EL1"),
    (3, 1, 0, 0, 6, "SMIDR_EL1"),
    (3, 1, 0, 0, 7, "AIDR_EL1"),
    (3, 2, 0, 0, 0, "CSSELR_EL1"),
    (3, 3, 0, 0, 1, "CTR_EL0"),
    (3, 3, 0, 0, 7, "DCZID_EL0"),
    (3, 3, 14, 0, 0, "CNTFRQ_EL0"),
    (3, 0, 1, 0, 1, "ACTLR_EL1"),
    (3, 0, 1, 0, 5, "RGSR_EL1"),
    (3, 0, 1, 2, 0, "ZCR_EL1"),
    (3, 0, 2, 1, 0, "APIAKEYLO_EL1"),
    (3, 0, 5, 1, 0, "AFSR0_EL1"),
    (3, 0, 5, 3, 0, "ERRIDR_EL1"),
    (3, 0, 5, 3, 1, "ERRSELR_EL1"),
    (3, 0, 5, 4, 0, "ERXFR_EL1"),
    (3, 0, 9, 9, 0, "PMSCR_EL1"),
    (3, 0, 9, 10, 7, "PMBIDR_EL1"),
    (3, 0, 9, 11, 7, "TRBIDR_EL1"),
    (3, 0, 9, 14, 1, "PMINTENSET_EL1"),
    (3, 0, 9, 14, 6, "PMMIR_EL1"),
    (3, 0, 10, 3, 0, "AMAIR_EL1"),
    (3, 0, 10, 4, 0, "LORSA_EL1"),
    (3, 0, 10, 4, 7, "LORID_EL1"),
    (3, 0, 12, 1, 0, "ISR_EL1"),
    (3, 0, 12, 1, 1, "DISR_EL1"),
    (3, 3, 9, 12, 0, "PMCR_EL0"),
    (3, 3, 9, 12, 1, "PMCNTENSET_EL0"),
    (3, 3, 9, 12, 5, "PMSELR_EL0"),
    (3, 3, 9, 12, 6, "PMCEID0_EL0"),
    (3, 3, 9, 12, 7, "PMCEID1_EL0"),
    (3, 3, 9, 13, 0, "PMCCNTR_EL0"),
    (3, 3, 9, 14, 0, "PMUSERENR_EL0"),
    (3, 3, 14, 8, 0, "PMEVCNTR0_EL0"),
    (3, 3, 14, 15, 7, "PMCCFILTR_EL0"),
    (3, 3, 13, 2, 0, "AMCR_EL0"),
    (3, 3, 13, 0, 7, "SCXTNUM_EL0"),
    (3, 3, 4, 2, 5, "DIT"),
    (3, 3, 4, 2, 6, "SSBS"),
    (3, 3, 2, 4, 0, "RNDR"),
    (3, 3, 14, 2, 1, "CNTP_CTL_EL0"),
    (3, 3, 14, 3, 1, "CNTV_CTL_EL0"),
    (3, 7, 14, 2, 1, "CNTPS_CTL_EL1"),
    (3, 4, 1, 1, 0, "HCR_EL2"),
    (3, 4, 2, 1, 0, "VTTBR_EL2"),
    (3, 5, 1, 0, 0, "SCTLR_EL12"),
    (3, 6, 1, 1, 0, "SCR_EL3"),
    (2, 0, 0, 2, 2, "MDSCR_EL1"),
    (2, 0, 0, 0, 4, "DBGBVR0_EL1"),
    (2, 0, 0, 0, 5, "DBGBCR0_EL1"),
    (2, 0, 0, 0, 6, "DBGWVR0_EL1"),
    (2, 0, 1, 0, 0, "MDRAR_EL1"),
    (2, 0, 1, 1, 4, "OSLSR_EL1"),
    (2, 0, 1, 3, 4, "OSDLR_EL1"),
    (2, 0, 1, 4, 4, "DBGPRCR_EL1"),
    (2, 0, 7, 14, 6, "DBGAUTHSTATUS_EL1"),
    (2, 3, 0, 1, 0, "MDCCSR_EL0"),
    (2, 1, 0, 0, 1, "TRCTRACEIDR"),
    (3, 0, 15, 0, 0, "S3_0_C15_C0_0"),
    (3, 1, 15, 2, 0, "S3_1_C15_C2_0"),
];

/// Asks all of it.
#[inline(never)]
pub fn probe() {
    for (m, op2) in (0..8).flat_map(|m| (0..8).map(move |op2| (m, op2))) {
        let register = Register::new(3, 0, 0, m, op2);
        say(format_args!("register {register}"), Outcome(register.read()));
    }
    for &(op0, op1, n, m, op2, name) in &OTHERS {
        let register = Register::new(op0, op1, n, m, op2);
        let read = register.read();
        say(format_args!("register {name}"), Outcome(read));
        // Of the value that was there: what is read-only is undefined.
        let written = read.and_then(|value| wild::write(register, value).map(|()| value));
        say(format_args!("register {name} written"), Outcome(written));
    }
}
