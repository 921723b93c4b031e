//! The exception vectors: what is saved, who is called, and the way back.
//!
//! Guests and what serves their interrupts run on SP_EL0, other exceptions on SP_EL1, so that an overrun stack can still be reported. A clone
//! that takes none of the latter writes to no page of the second stack.

use core::arch::global_asm;

use crate::{exceptions, interrupts};

/// The registers at an exception, as the vectors lay them out.
#[repr(C)]
pub(crate) struct Frame {
    /// x0 to x18 and x30: what a call may change. An interrupt saves these and the vector registers alone.
    volatile: [u64; 20],
    vector_registers: [u128; 24],
    /// x19 to x29.
    preserved: [u64; 11],
    /// ELR_EL1.
    pub pc: u64,
    /// SPSR_EL1.
    pub state: u64,
    /// ESR_EL1.
    pub syndrome: u64,
    /// FAR_EL1.
    pub address: u64,
    /// SP_EL0.
    pub sp: u64,
}

impl Frame {
    /// The link register, x30.
    pub const fn link(&self) -> u64 {
        self.volatile[19]
    }

    /// x0 to x30.
    pub fn general_registers(&self) -> impl Iterator<Item = u64> {
        let link = [self.link()];
        self.volatile.into_iter().take(19).chain(self.preserved).chain(link)
    }
}

unsafe extern "C" {
    /// The vector table. Never called.
    pub(crate) fn vectors();
}

global_asm!(
    r#"
    .macro save_volatile
    sub     sp, sp, #{SIZE}
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x30, [sp, #144]
    add     x0, sp, #160
    st1     {{v0.2d, v1.2d, v2.2d, v3.2d}}, [x0], #64
    st1     {{v4.2d, v5.2d, v6.2d, v7.2d}}, [x0], #64
    st1     {{v16.2d, v17.2d, v18.2d, v19.2d}}, [x0], #64
    st1     {{v20.2d, v21.2d, v22.2d, v23.2d}}, [x0], #64
    st1     {{v24.2d, v25.2d, v26.2d, v27.2d}}, [x0], #64
    st1     {{v28.2d, v29.2d, v30.2d, v31.2d}}, [x0], #64
    .endm

    // x0 = the rest of the frame.
    .macro save_rest
    stp     x19, x20, [x0]
    stp     x21, x22, [x0, #16]
    stp     x23, x24, [x0, #32]
    stp     x25, x26, [x0, #48]
    stp     x27, x28, [x0, #64]
    mrs     x1, elr_el1
    stp     x29, x1, [x0, #80]
    mrs     x1, spsr_el1
    mrs     x2, esr_el1
    stp     x1, x2, [x0, #96]
    mrs     x1, far_el1
    mrs     x2, sp_el0
    stp     x1, x2, [x0, #112]
    mov     x0, sp
    .endm

    .macro vector handler
    .balign 0x80
    b       \handler
    .endm

    .section .text.vectors, "ax"
    .balign 0x800
    .global {vectors}
{vectors}:
    vector  synchronous_entry           // from SP_EL0: the guest's code
    vector  interrupt_entry
    vector  fatal_entry
    vector  fatal_entry
    vector  injected_entry              // from SP_EL1: a handler
    .rept   3
    vector  fatal_entry
    .endr
    // From EL0 nobody comes, as no code runs there: where that half of the table would be is other code.

    .section .text.boot, "ax"
interrupt_entry:
    msr     spsel, #0
    save_volatile
    bl      {dispatch}
    b       return

synchronous_entry:
    save_volatile
    save_rest
    bl      {synchronous}
    ldr     x0, [sp, #{PC}]
    msr     elr_el1, x0
return:
    add     x0, sp, #160
    ld1     {{v0.2d, v1.2d, v2.2d, v3.2d}}, [x0], #64
    ld1     {{v4.2d, v5.2d, v6.2d, v7.2d}}, [x0], #64
    ld1     {{v16.2d, v17.2d, v18.2d, v19.2d}}, [x0], #64
    ld1     {{v20.2d, v21.2d, v22.2d, v23.2d}}, [x0], #64
    ld1     {{v24.2d, v25.2d, v26.2d, v27.2d}}, [x0], #64
    ld1     {{v28.2d, v29.2d, v30.2d, v31.2d}}, [x0], #64
    ldp     x0, x1, [sp]
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x30, [sp, #144]
    add     sp, sp, #{SIZE}
    eret

injected_entry:
    // Where Xen makes an exception itself, it comes here whichever stack pointer is in use.
    msr     tpidrro_el0, x0
    mrs     x0, spsr_el1
    tbnz    x0, #0, 1f                  // M[0]: it was SP_EL1
    mrs     x0, tpidrro_el0
    b       synchronous_entry
1:  mrs     x0, tpidrro_el0

fatal_entry:
    // The stack may be what is wrong: start anew at its top.
    msr     tpidrro_el0, x0
    ldr     x0, =__exception_stack_top
    mov     sp, x0
    mrs     x0, tpidrro_el0
    save_volatile
    save_rest
    bl      {fatal}
    .ltorg

    .purgem save_volatile
    .purgem save_rest
    .purgem vector
    "#,
    vectors = sym vectors,
    synchronous = sym exceptions::synchronous,
    fatal = sym exceptions::fatal,
    dispatch = sym interrupts::dispatch,
    SIZE = const size_of::<Frame>(),
    PC = const core::mem::offset_of!(Frame, pc),
);
