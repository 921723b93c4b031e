//! Entering a guest and coming back.
//!
//! While a guest runs, `SP_EL2` is the address of its [`GuestContext`], so an exit stores registers where they belong with the
//! first instruction, then takes up the stack that [`run`] left. A hypercall saves what a Rust function may clobber and no
//! more; a trap that may name any register saves all.

use core::arch::global_asm;
use core::mem::offset_of;

use crate::register::pairs;

mod system;

pub use system::{FloatingPoint, SystemRegisters, configure_traps};

/// General registers at an exit, x0 to x30, and where [`run`] keeps its stack meanwhile. By default all zero.
#[repr(C, align(16))]
#[derive(Clone, Default)]
pub struct GuestContext {
    x: [u64; 31],
    // Written and read by the entry code alone.
    host_stack: u64,
    // Not zero if x19 to x29, which the handlers leave in the CPU, are to be loaded from here again.
    preserved_changed: u64,
}

impl GuestContext {
    /// The register that an instruction names with `number`: 31 is the zero register.
    pub fn register(&self, number: u8) -> u64 {
        self.x.get(usize::from(number)).copied().unwrap_or(0)
    }

    /// Sets the register that an instruction names with `number`: 31 is discarded.
    pub fn set_register(&mut self, number: u8, value: u64) {
        if let Some(register) = self.x.get_mut(usize::from(number)) {
            *register = value;
            if number >= FIRST_PRESERVED {
                self.preserved_changed = 1;
            }
        }
    }

    /// x0 to x17, to read and to answer in.
    pub fn call_registers(&mut self) -> &mut CallRegisters {
        self.x.first_chunk_mut().expect("there are 31 registers")
    }
}

/// From here to x29 functions leave registers as they are (AAPCS64 6.1.1).
const FIRST_PRESERVED: u8 = 19;

/// The registers that a hypercall passes: x0 to x17 (SMCCC 2.6), with which a [`GuestContext`] begins. The others are still in
/// the CPU.
pub type CallRegisters = [u64; 18];

/// What to do after an exit has been handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum After {
    /// Back into the guest.
    Resume = 0,
    /// Out of [`run`].
    Leave = 1,
}

/// Handles a guest's exits, on the pCPU's stack with interrupts masked. The entry code calls these functions itself.
pub trait ExitHandler {
    /// `HVC` from AArch64 state; the preferred return address is behind the instruction.
    extern "C" fn hypercall(&mut self, call: &mut CallRegisters) -> After;
    /// Any other synchronous exception; `ESR_EL2` and its companions say which.
    extern "C" fn trap(&mut self, context: &mut GuestContext) -> After;
    /// A physical interrupt, still to be acknowledged.
    extern "C" fn interrupt(&mut self) -> After;
    /// A physical SError while the guest ran.
    extern "C" fn serror(&mut self) -> After;
}

/// What the entry code calls: see `CALL_HANDLER` in the assembly.
#[repr(C)]
struct Handlers<H> {
    hypercall: extern "C" fn(&mut H, &mut CallRegisters) -> After,
    trap: extern "C" fn(&mut H, &mut GuestContext) -> After,
    interrupt: extern "C" fn(&mut H) -> After,
    serror: extern "C" fn(&mut H) -> After,
}

/// Runs the guest whose system registers and stage 2 are loaded, until `handler` says to leave.
pub fn run<H: ExitHandler>(context: &mut GuestContext, handler: &mut H) {
    unsafe extern "C" {
        fn guest_run(context: *mut u8, handler: *mut u8, handlers: *const u8);
    }
    let handlers: &Handlers<H> =
        const { &Handlers { hypercall: H::hypercall, trap: H::trap, interrupt: H::interrupt, serror: H::serror } };
    // SAFETY: `guest_run` keeps all three pointers for the time of the call alone; it hands `context` and
    // `handler` to the functions of `handlers`, which take just these types, and never both at once to two of
    // them. The guest it enters sees memory through stage 2 only.
    unsafe {
        guest_run((&raw mut *context).cast(), (&raw mut *handler).cast(), (&raw const *handlers).cast());
    }
}

/// `ESR_ELx.EC` of an `HVC` from AArch64 state (Arm ARM D24.2.40).
const EC_HVC64: u32 = 0x16;
/// Where `guest_run` keeps the frame: x19 to x30, then context, handler, handlers.
const FRAME_SIZE: usize = 128;
const FRAME_CONTEXT: usize = 96;
const FRAME_HANDLER: usize = 104;

global_asm!(
    r#"
    .section .text.guest, "ax"
    // x0 to x18 and x30, which a Rust function may clobber.
    .macro VOLATILE pair, single
    "#,
    pairs!("\\pair", "x", 8, "sp, #0": 0 1, 2 3, 4 5, 6 7, 8 9, 10 11, 12 13, 14 15, 16 17),
    r#"
    \single x18, [sp, #144]
    \single x30, [sp, #240]
    .endm

    // x19 to x29, which it leaves as they are.
    .macro PRESERVED pair, single, base
    "#,
    pairs!("\\pair", "x", 8, "\\base, #0": 19 20, 21 22, 23 24, 25 26, 27 28),
    r#"
    \single x29, [\base, #232]
    .endm

    // The host's x19 to x30, at the beginning of the frame.
    .macro FRAME pair
    "#,
    pairs!("\\pair", "x", 8, "sp, #-8 * 19": 19 20, 21 22, 23 24, 25 26, 27 28, 29 30),
    r#"
    .endm

    // The speculation barrier behind ERET is never reached: it keeps the CPU from running on past it.
    .macro RESUME
    VOLATILE ldp, ldr
    eret
    dsb     nsh
    isb
    .endm

    // From SP = context to the stack of guest_run, with x0 = handler, x1 = context, and the
    // handler's function at \slot called; then x1 = context again, x0 = what to do.
    .macro CALL_HANDLER slot
    mov     x1, sp
    ldr     x2, [sp, #{HOST_STACK}]
    mov     sp, x2
    ldp     x0, x2, [sp, #{FRAME_HANDLER}]
    ldr     x2, [x2, #\slot]
    blr     x2
    ldr     x1, [sp, #{FRAME_CONTEXT}]
    .endm

    // An exit of which the handler sees no register but those that VOLATILE saved.
    .macro CALL_AND_RESUME slot
    CALL_HANDLER \slot
    cbnz    x0, leave_saving
    mov     sp, x1
    RESUME
    .endm

    .global guest_synchronous
guest_synchronous:
    VOLATILE stp, str
    mrs     x0, esr_el2
    lsr     x0, x0, #26
    cmp     x0, #{EC_HVC64}
    b.ne    1f
    CALL_AND_RESUME 0
1:  PRESERVED stp, str, sp
    CALL_HANDLER 8
    cbnz    x0, leave
    mov     sp, x1
    ldr     x0, [sp, #{PRESERVED_CHANGED}]
    cbz     x0, 2f
    str     xzr, [sp, #{PRESERVED_CHANGED}]
    PRESERVED ldp, ldr, sp
2:  RESUME

    .global guest_interrupt
guest_interrupt:
    VOLATILE stp, str
    CALL_AND_RESUME 16

    .global guest_serror
guest_serror:
    VOLATILE stp, str
    CALL_AND_RESUME 24

leave_saving:
    PRESERVED stp, str, x1
leave:
    FRAME   ldp
    add     sp, sp, #{FRAME_SIZE}
    ret

    .global guest_run
guest_run:
    sub     sp, sp, #{FRAME_SIZE}
    FRAME   stp
    str     x0, [sp, #{FRAME_CONTEXT}]
    stp     x1, x2, [sp, #{FRAME_HANDLER}]
    mov     x3, sp
    str     x3, [x0, #{HOST_STACK}]
    mov     sp, x0
    PRESERVED ldp, ldr, sp
    RESUME
    "#,
    EC_HVC64 = const EC_HVC64,
    HOST_STACK = const offset_of!(GuestContext, host_stack),
    PRESERVED_CHANGED = const offset_of!(GuestContext, preserved_changed),
    FRAME_SIZE = const FRAME_SIZE,
    FRAME_CONTEXT = const FRAME_CONTEXT,
    FRAME_HANDLER = const FRAME_HANDLER,
);
