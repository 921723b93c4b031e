//! EL2's exception vectors: guests' exits go to `guest`, a fault of EL2's own to a report from which nothing returns.

use core::arch::global_asm;

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{VBAR_EL2, Writeable};

/// Everything that a CPU knew when EL2 itself faulted.
#[repr(C)]
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

unsafe extern "Rust" {
    /// Defined by [`crate::fault_handler!`].
    safe fn hypervisor_fault(report: &FaultReport) -> !;
}

/// Names the function `fn(&FaultReport) -> !` that tells of a fault in EL2.
#[macro_export]
macro_rules! fault_handler {
    ($handler:path) => {
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        fn hypervisor_fault(report: &$crate::exceptions::FaultReport) -> ! {
            $handler(report)
        }
    };
}

extern "C" fn fault(report: &FaultReport) -> ! {
    hypervisor_fault(report)
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
const REPORT_SIZE: usize = size_of::<FaultReport>().next_multiple_of(16);

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
    VECTOR  own_fault // current EL, SP_EL0
    VECTOR  own_fault
    VECTOR  own_fault
    VECTOR  own_fault
    VECTOR  own_fault // current EL, SP_EL2
    VECTOR  own_fault
    VECTOR  own_fault
    VECTOR  own_fault
    VECTOR  guest_synchronous // lower EL, AArch64
    VECTOR  guest_interrupt
    VECTOR  guest_interrupt
    VECTOR  guest_serror
    VECTOR  guest_synchronous // lower EL, AArch32
    VECTOR  guest_interrupt
    VECTOR  guest_interrupt
    VECTOR  guest_serror

    // The guest that this CPU was serving will not run again, so its registers may hold x0, x1 and SP.
own_fault:
    msr     tpidr_el0, x0
    msr     tpidrro_el0, x1
    mov     x0, sp
    msr     tpidr_el1, x0
    adrp    x0, emergency_stack_top
    add     x0, x0, :lo12:emergency_stack_top
    sub     x0, x0, #{REPORT_SIZE}
    mov     sp, x0
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    mrs     x2, tpidr_el0
    mrs     x3, tpidrro_el0
    stp     x2, x3, [sp, #0]
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
    REPORT_SIZE = const REPORT_SIZE,
    fault = sym fault,
);
