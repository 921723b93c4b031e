//! Why the guest that just left did so, and where it is: registers that hold until the next exception.

use core::arch::asm;

use aarch64_cpu::registers::{ELR_EL1, ELR_EL2, ESR_EL1, FAR_EL1, SPSR_EL1, SPSR_EL2, Writeable};

use crate::register::read;

/// A function for each register, which reads it.
macro_rules! readers {
    ($($(#[$doc:meta])* $name:ident = $register:literal;)*) => {
        $(
            $(#[$doc])*
            pub fn $name() -> u64 {
                read!($register)
            }
        )*
    };
}

readers! {
    /// `ESR_EL2`.
    esr = "esr_el2";
    /// `FAR_EL2`: the virtual address of an abort.
    far = "far_el2";
    /// `HPFAR_EL2`: the page of the IPA of a stage-2 abort, as the register holds it.
    hpfar = "hpfar_el2";
    /// Where the guest goes on.
    pc = "elr_el2";
    /// The guest's PSTATE.
    pstate = "spsr_el2";
    /// The guest's `VBAR_EL1`.
    vbar_el1 = "vbar_el1";
    /// The guest's `SCTLR_EL1`.
    sctlr_el1 = "sctlr_el1";
}

/// Sets where the guest goes on.
pub fn set_pc(value: u64) {
    ELR_EL2.set(value);
}

/// Lets the guest go on with interrupts unmasked.
pub fn unmask_interrupts() {
    const I: u64 = 1 << 7;
    SPSR_EL2.set(pstate() & !I);
}

/// Lets the guest go on behind the trapped instruction, which is 4 bytes long in AArch64 state.
pub fn skip_instruction() {
    set_pc(pc().wrapping_add(4));
}

/// Makes the guest take an exception at the instruction it is at: its handler is at `vector`, and runs with `handler_pstate`.
pub fn inject(vector: u64, handler_pstate: u64, esr: u64, far: Option<u64>) {
    ELR_EL1.set(pc());
    SPSR_EL1.set(pstate());
    ESR_EL1.set(esr);
    if let Some(far) = far {
        FAR_EL1.set(far);
    }
    ELR_EL2.set(vector);
    SPSR_EL2.set(handler_pstate);
}

/// What the address translation instruction of this name says of an address (`PAR_EL1`, Arm ARM D24.2.137).
macro_rules! translate {
    ($operation:literal, $address:expr) => {{
        const FAILED: u64 = 1;
        const PAGE: u64 = 0x000f_ffff_ffff_f000;
        let result: u64;
        // SAFETY: the translation only writes PAR_EL1, whose value for the guest is put back.
        unsafe {
            asm!(
                "mrs {saved}, par_el1", concat!("at ", $operation, ", {address}"), "isb", "mrs {result}, par_el1",
                "msr par_el1, {saved}",
                saved = out(reg) _, address = in(reg) $address, result = out(reg) result,
                options(nostack, preserves_flags)
            );
        }
        (result & FAILED == 0).then_some(result & PAGE | $address & 0xfff)
    }};
}

/// The IPA that the guest's own tables give for `address`, as for a read by EL1; `None` if they give none
/// (Arm ARM C5.5.3, `AT S1E1R`).
pub fn translate_stage1(address: u64) -> Option<u64> {
    translate!("s1e1r", address)
}

/// The physical address that both stages of the guest in force give for `address`, as for an access by EL1; `None` if one of
/// them gives none (Arm ARM C5.5, `AT S12E1R` and `AT S12E1W`).
#[inline]
pub fn translate(address: u64, write: bool) -> Option<u64> {
    if write { translate!("s12e1w", address) } else { translate!("s12e1r", address) }
}

/// The value of an ID register, named by its fields `CRm` and `op2` (op0 3, op1 0, CRn 0); reserved ones read as zero.
pub fn id_register(crm: u8, op2: u8) -> u64 {
    macro_rules! one_of {
        ($($crm:literal $op2:literal),* $(,)?) => {
            match (crm, op2) {
                $(($crm, $op2) => read!("s3_0_c0_c", $crm, "_", $op2),)*
                _ => 0,
            }
        };
    }
    one_of!(
        1 0, 1 1, 1 2, 1 3, 1 4, 1 5, 1 6, 1 7, 2 0, 2 1, 2 2, 2 3, 2 4, 2 5, 2 6, 2 7, 3 0, 3 1, 3 2, 3 4,
        3 5, 3 6, 4 0, 4 1, 4 2, 4 4, 4 5, 5 0, 5 1, 6 0, 6 1, 6 2, 7 0, 7 1, 7 2, 7 3, 7 4
    )
}
