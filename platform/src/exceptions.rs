//! EL2's exception vectors: guests' exits go to `guest`, a fault of EL2's own to a report from which nothing returns.

use core::arch::global_asm;

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{VBAR_EL2, Writeable};

use crate::boot::hypervisor_fault;
use crate::register::pairs;

/// Everything that a CPU knew when EL2 itself faulted.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct FaultReport {
    /// x0 to x30.
    pub x: [u64; 31],
    /// `SP_EL2`.
    pub sp: u64,
    /// `ELR_EL2`.
    pub pc: u64,
    /// `SPSR_EL2`.
    pub pstate: u64,
    /// `ESR_EL2`.
    pub esr: u64,
    /// `FAR_EL2`.
    pub far: u64,
}

/// Points the calling CPU at the vectors.
pub(crate) fn install() {
    unsafe extern "C" {
        static exception_vectors: u8;
    }
    VBAR_EL2.set(&raw const exception_vectors as u64);
    barrier::isb(barrier::SY);
}

/// The stack of the report: the faulting one may be what is broken. If two CPUs fault at once, their reports mix.
const EMERGENCY_STACK_SIZE: usize = 0x4000;

global_asm!(
    r#"
    .section .bss.emergency_stack, "aw", @nobits
    .balign 16
    .skip {EMERGENCY_STACK_SIZE}
emergency_stack_top:

    .section .text.vectors, "ax"
    .macro VECTOR target
    .balign 0x80
    b       \target
    .endm

    .balign 0x800
    .global exception_vectors
exception_vectors:
    .rept 8 // current EL, with SP_EL0 and SP_EL2
    VECTOR  own_fault
    .endr
    .rept 2 // lower EL, AArch64 and AArch32
    VECTOR  guest_synchronous
    VECTOR  guest_interrupt
    VECTOR  guest_interrupt
    VECTOR  guest_serror
    .endr

    .section .text.boot, "ax"
    // The guest that this CPU was serving will not run again, so its registers may hold x0 and SP.
own_fault:
    msr     tpidr_el0, x0
    mov     x0, sp
    msr     tpidr_el1, x0
    adr     x0, emergency_stack_top - {REPORT_SIZE}
    mov     sp, x0
    "#,
    pairs!("stp", "x", 8, "sp, #0": 2 3, 4 5, 6 7, 8 9, 10 11, 12 13, 14 15, 16 17, 18 19, 20 21, 22 23, 24 25, 26 27, 28 29),
    r#"
    mrs     x2, tpidr_el0
    stp     x2, x1, [sp, #0]
    mrs     x2, tpidr_el1
    stp     x30, x2, [sp, #240]
    mrs     x2, elr_el2
    mrs     x3, spsr_el2
    stp     x2, x3, [sp, #256]
    mrs     x2, esr_el2
    mrs     x3, far_el2
    stp     x2, x3, [sp, #272]
    mov     x0, sp
    bl      {fault}
    "#,
    EMERGENCY_STACK_SIZE = const EMERGENCY_STACK_SIZE,
    REPORT_SIZE = const size_of::<FaultReport>(),
    fault = sym hypervisor_fault,
);
