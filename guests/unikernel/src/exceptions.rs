//! The exception vectors: interrupts go to their handlers, anything else ends the domain with a report,
//! unless [`attempt`] expects it.
//!
//! Guests run on SP_EL0 and exceptions on SP_EL1, so that an overrun stack can still be reported.

use core::arch::{asm, global_asm};
use core::cell::Cell;
use core::fmt::Write;

use crate::{console, interrupts, power};

global_asm!(
    r#"
    .macro save_vector_registers base
    stp     q0, q1, [sp, #\base]
    stp     q2, q3, [sp, #\base + 32]
    stp     q4, q5, [sp, #\base + 64]
    stp     q6, q7, [sp, #\base + 96]
    stp     q16, q17, [sp, #\base + 128]
    stp     q18, q19, [sp, #\base + 160]
    stp     q20, q21, [sp, #\base + 192]
    stp     q22, q23, [sp, #\base + 224]
    stp     q24, q25, [sp, #\base + 256]
    stp     q26, q27, [sp, #\base + 288]
    stp     q28, q29, [sp, #\base + 320]
    stp     q30, q31, [sp, #\base + 352]
    .endm

    .macro restore_vector_registers base
    ldp     q0, q1, [sp, #\base]
    ldp     q2, q3, [sp, #\base + 32]
    ldp     q4, q5, [sp, #\base + 64]
    ldp     q6, q7, [sp, #\base + 96]
    ldp     q16, q17, [sp, #\base + 128]
    ldp     q18, q19, [sp, #\base + 160]
    ldp     q20, q21, [sp, #\base + 192]
    ldp     q22, q23, [sp, #\base + 224]
    ldp     q24, q25, [sp, #\base + 256]
    ldp     q26, q27, [sp, #\base + 288]
    ldp     q28, q29, [sp, #\base + 320]
    ldp     q30, q31, [sp, #\base + 352]
    .endm

    // Builds a `Frame` on the stack.
    .macro save_frame
    sub     sp, sp, #{FRAME_SIZE}
    stp     x0, x1, [sp]
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
    mrs     x0, elr_el1
    stp     x30, x0, [sp, #240]
    mrs     x0, spsr_el1
    mrs     x1, esr_el1
    stp     x0, x1, [sp, #256]
    mrs     x0, far_el1
    mrs     x1, sp_el0
    stp     x0, x1, [sp, #272]
    save_vector_registers 288
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
    .rept   11                          // and from EL0: nobody
    vector  fatal_entry
    .endr

synchronous_entry:
    save_frame
    mov     x0, sp
    bl      {synchronous}
    ldr     x0, [sp, #248]
    msr     elr_el1, x0
    restore_vector_registers 288
    ldp     x0, x1, [sp]
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldr     x18, [sp, #144]
    ldr     x30, [sp, #240]
    add     sp, sp, #{FRAME_SIZE}
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
    save_frame
    mov     x0, sp
    bl      {fatal}

interrupt_entry:
    sub     sp, sp, #544
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
    save_vector_registers 160
    bl      {dispatch}
    restore_vector_registers 160
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
    add     sp, sp, #544
    eret
    .ltorg

    .purgem save_vector_registers
    .purgem restore_vector_registers
    .purgem save_frame
    .purgem vector
    "#,
    vectors = sym vectors,
    synchronous = sym synchronous,
    fatal = sym fatal,
    dispatch = sym interrupts::dispatch,
    FRAME_SIZE = const size_of::<Frame>(),
);

unsafe extern "C" {
    /// The vector table. Never called.
    pub(crate) fn vectors();
}

/// The registers at an exception, as the vectors lay them out.
#[repr(C)]
struct Frame {
    x: [u64; 31],
    pc: u64,
    state: u64,
    syndrome: u64,
    address: u64,
    sp: u64,
    vector_registers: [u128; 24],
}

/// Exception classes (ESR_EL1.EC, Arm ARM D24.2.45).
mod class {
    pub const UNKNOWN: u64 = 0x00;
    pub const SMC: u64 = 0x17;
    pub const SYSTEM_REGISTER: u64 = 0x18;
    pub const INSTRUCTION_ABORT: u64 = 0x21;
    pub const PC_ALIGNMENT: u64 = 0x22;
    pub const DATA_ABORT: u64 = 0x25;
    pub const SP_ALIGNMENT: u64 = 0x26;
    pub const SERROR: u64 = 0x2f;
}

/// What an exception says of its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// ESR_EL1.
    pub syndrome: u64,
    /// FAR_EL1, which aborts and alignment faults alone set.
    pub address: u64,
    /// The instruction.
    pub pc: u64,
}

impl Fault {
    /// The exception class, ESR_EL1.EC.
    #[must_use]
    pub const fn class(&self) -> u64 {
        self.syndrome >> 26 & 0x3f
    }

    /// The fault status of an abort, ESR_EL1.ISS.xFSC.
    #[must_use]
    pub const fn status(&self) -> u64 {
        self.syndrome & 0x3f
    }

    /// Whether it is the exception of an instruction that does not exist at this level.
    #[must_use]
    pub const fn is_undefined(&self) -> bool {
        self.class() == class::UNKNOWN
    }

    /// Whether it is a load or store to where nothing is, or where it is not allowed.
    #[must_use]
    pub const fn is_data_abort(&self) -> bool {
        self.class() == class::DATA_ABORT
    }

    /// Whether it is an instruction fetched from where nothing is, or where it is not allowed.
    #[must_use]
    pub const fn is_instruction_abort(&self) -> bool {
        self.class() == class::INSTRUCTION_ABORT
    }

    /// The cause in words.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self.class() {
            class::UNKNOWN => "undefined instruction",
            class::SMC => "SMC",
            class::SYSTEM_REGISTER => "trapped system register",
            class::INSTRUCTION_ABORT => "instruction abort",
            class::PC_ALIGNMENT => "misaligned PC",
            class::DATA_ABORT => "data abort",
            class::SP_ALIGNMENT => "misaligned SP",
            class::SERROR => "SError",
            _ => "exception",
        }
    }
}

/// Runs `instructions`, in which a fault is no end: the first is returned, and the instruction of each is skipped, or
/// the call that led to where no instruction is.
///
/// # Safety
///
/// Only inline assembly may fault, and it must give its outputs a value before the instruction that may.
pub unsafe fn attempt(instructions: impl FnOnce()) -> Option<Fault> {
    let first: Cell<Option<Fault>> = Cell::new(None);
    // SAFETY: TPIDR_EL0 is this module's: the address of the record while an attempt lasts, else 0.
    unsafe { asm!("msr tpidr_el0, {}", in(reg) &raw const first, options(nostack)) };
    instructions();
    // SAFETY: as above.
    unsafe { asm!("msr tpidr_el0, xzr", options(nostack)) };
    first.get()
}

extern "C" fn synchronous(frame: &mut Frame) {
    let fault = Fault { syndrome: frame.syndrome, address: frame.address, pc: frame.pc };
    let attempt: *const Cell<Option<Fault>>;
    // SAFETY: reads a register; with `attempt`'s promise it is null or points to this vCPU's record, which lives on.
    let record = unsafe {
        asm!("mrs {}, tpidr_el0", out(reg) attempt, options(nostack));
        attempt.as_ref()
    };
    let Some(record) = record else { report(frame) };
    record.set(record.get().or(Some(fault)));
    frame.pc = if fault.is_instruction_abort() { frame.x[30] } else { frame.pc + 4 };
}

extern "C" fn fatal(frame: &Frame) -> ! {
    report(frame)
}

/// Says what happened and where, and ends the domain.
fn report(frame: &Frame) -> ! {
    let mut console = console::for_last_words();
    let fault = Fault { syndrome: frame.syndrome, address: frame.address, pc: frame.pc };
    console.line(format_args!(
        "crash: {} at pc {:#x}, address {:#x}, syndrome {:#x}",
        fault.name(),
        fault.pc,
        fault.address,
        fault.syndrome
    ));
    console.line(format_args!("crash: sp {:#x}, spsr {:#x}", frame.sp, frame.state));
    for (number, value) in frame.x.iter().enumerate() {
        let end = if number % 4 == 3 || number == 30 { "\n" } else { "" };
        let start = if number % 4 == 0 { "crash:" } else { "" };
        let _ = write!(console, "{start} x{number} {value:016x}{end}");
    }
    power::crash()
}
