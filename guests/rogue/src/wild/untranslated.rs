//! Memory and instructions without stage 1, so that the hypervisor's translation alone is in the way.

use core::arch::{asm, global_asm};

use mote_unikernel::exceptions::Fault;

use super::Wild;

// x0 = address, x1 = whether to jump there instead of loading. Returns x0 = ESR_EL1 or 0, x1 = FAR_EL1. It touches no
// memory of its own while translation and caches are off.
global_asm!(
    r#"
    .section .text.untranslated, "ax"
    .balign 0x800
untranslated_vectors:
    mrs     x15, esr_el1
    mrs     x16, far_el1
    adr     x17, 2f
    msr     elr_el1, x17
    eret
    .balign 0x200                       // where Xen puts the exceptions that it makes
    mrs     x15, esr_el1
    mrs     x16, far_el1
    adr     x17, 2f
    msr     elr_el1, x17
    eret

untranslated:
    mov     x9, x30
    mrs     x10, sctlr_el1
    mrs     x11, vbar_el1
    adr     x12, untranslated_vectors
    msr     vbar_el1, x12
    mov     x12, #0x1005                // SCTLR_EL1.M, C, I
    bic     x12, x10, x12
    mov     x15, xzr
    mov     x16, xzr
    dsb     sy
    msr     sctlr_el1, x12
    isb
    cbnz    x1, 1f
    ldr     x0, [x0]
    b       2f
1:  blr     x0
2:  msr     sctlr_el1, x10
    isb
    msr     vbar_el1, x11
    isb
    mov     x0, x15
    mov     x1, x16
    ret     x9
    "#
);

/// What to do without translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untranslated {
    Load = 0,
    Jump = 1,
}

/// Loads from or jumps to a physical address with stage 1 and the caches off. The fault, or `None` if there was none, or none
/// was noted because the address answered.
pub fn untranslated(address: Wild, what: Untranslated) -> Option<Fault> {
    let (syndrome, far): (u64, u64);
    // SAFETY: `untranslated` keeps to the registers that are declared; nothing of Rust's is at the address.
    unsafe {
        asm!(
            "msr daifset, #2",
            "bl untranslated",
            "msr daifclr, #2",
            inout("x0") address.0 => syndrome, inout("x1") what as u64 => far,
            out("x9") _, out("x10") _, out("x11") _, out("x12") _,
            out("x15") _, out("x16") _, out("x17") _, out("x30") _,
            options(nostack),
        );
    }
    (syndrome != 0).then_some(Fault { syndrome, address: far, pc: address.0 as u64 })
}
