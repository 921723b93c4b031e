//! Entering a guest and coming back.
//!
//! While a guest runs, `SP_EL2` is the address of its [`GuestContext`], so an exit stores registers where they belong with the
//! first instruction, then takes up the stack that [`run`] left. A hypercall saves what a Rust function may clobber and no
//! more; a trap that may name any register saves all.

use core::arch::global_asm;
use core::marker::PhantomData;
use core::mem::offset_of;

mod system;

pub use system::{FloatingPoint, SystemRegisters, Traps};

/// General registers at an exit, x0 to x30, and where [`run`] keeps its stack meanwhile.
#[repr(C, align(16))]
pub struct GuestContext {
    x: [u64; 31],
    // Written and read by the entry code alone.
    host_stack: u64,
    // Not zero if x19 to x29, which the handlers leave in the CPU, are to be loaded from here again.
    preserved_changed: u64,
}

impl GuestContext {
    /// All registers zero.
    #[must_use]
    pub const fn new() -> Self {
        Self { x: [0; 31], host_stack: 0, preserved_changed: 0 }
    }

    /// The register that an instruction names with `number`: 31 is the zero register.
    #[must_use]
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

    /// All of x0 to x30.
    #[must_use]
    pub fn registers(&self) -> &[u64; 31] {
        &self.x
    }
}

impl Default for GuestContext {
    fn default() -> Self {
        Self::new()
    }
}

/// From here to x29 functions leave registers as they are (AAPCS64 6.1.1).
const FIRST_PRESERVED: u8 = 19;

/// The registers that a hypercall passes: x0 to x17 (SMCCC 2.6). The others are still in the CPU.
#[repr(transparent)]
pub struct CallRegisters(GuestContext);

impl CallRegisters {
    /// x0 to x17, to read and to answer in.
    pub fn arguments(&mut self) -> &mut [u64; 18] {
        self.0.x.first_chunk_mut().expect("there are 31 registers")
    }
}

/// What to do after an exit has been handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum After {
    /// Back into the guest.
    Resume = 0,
    /// Out of [`run`].
    Leave = 1,
}

/// Handles a guest's exits, on the pCPU's stack with interrupts masked.
pub trait ExitHandler {
    /// `HVC` from AArch64 state; the preferred return address is behind the instruction.
    fn hypercall(&mut self, call: &mut CallRegisters) -> After;
    /// Any other synchronous exception; `ESR_EL2` and its companions say which.
    fn trap(&mut self, context: &mut GuestContext) -> After;
    /// A physical interrupt, still to be acknowledged.
    fn interrupt(&mut self) -> After;
    /// A physical SError while the guest ran.
    fn serror(&mut self) -> After;
}

/// The frame that `run` leaves on the pCPU's stack for the exits: see the offsets in the assembly.
#[repr(C)]
struct Handlers<H> {
    hypercall: extern "C" fn(&mut CallRegisters, &mut H) -> After,
    trap: extern "C" fn(&mut GuestContext, &mut H) -> After,
    interrupt: extern "C" fn(&mut GuestContext, &mut H) -> After,
    serror: extern "C" fn(&mut GuestContext, &mut H) -> After,
    marker: PhantomData<H>,
}

impl<H: ExitHandler> Handlers<H> {
    const TABLE: Self = Self {
        hypercall: Self::hypercall,
        trap: Self::trap,
        interrupt: Self::interrupt,
        serror: Self::serror,
        marker: PhantomData,
    };

    extern "C" fn hypercall(call: &mut CallRegisters, handler: &mut H) -> After {
        handler.hypercall(call)
    }

    extern "C" fn trap(context: &mut GuestContext, handler: &mut H) -> After {
        handler.trap(context)
    }

    extern "C" fn interrupt(_: &mut GuestContext, handler: &mut H) -> After {
        handler.interrupt()
    }

    extern "C" fn serror(_: &mut GuestContext, handler: &mut H) -> After {
        handler.serror()
    }
}

/// Runs the guest whose system registers and stage 2 are loaded, until `handler` says to leave.
pub fn run<H: ExitHandler>(context: &mut GuestContext, handler: &mut H) {
    unsafe extern "C" {
        fn guest_run(context: *mut u8, handler: *mut u8, handlers: *const u8);
    }
    let handlers = const { &Handlers::<H>::TABLE };
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
    .macro SAVE_VOLATILE
    stp     x0, x1, [sp, #0]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    str     x18, [sp, #144]
    str     x30, [sp, #240]
    .endm

    .macro SAVE_PRESERVED base
    stp     x19, x20, [\base, #152]
    stp     x21, x22, [\base, #168]
    stp     x23, x24, [\base, #184]
    stp     x25, x26, [\base, #200]
    stp     x27, x28, [\base, #216]
    str     x29, [\base, #232]
    .endm

    .macro LOAD_PRESERVED
    ldp     x19, x20, [sp, #152]
    ldp     x21, x22, [sp, #168]
    ldp     x23, x24, [sp, #184]
    ldp     x25, x26, [sp, #200]
    ldp     x27, x28, [sp, #216]
    ldr     x29, [sp, #232]
    .endm

    // The speculation barrier behind ERET is never reached: it keeps the CPU from running on past it.
    .macro LOAD_VOLATILE_AND_ERET
    ldp     x0, x1, [sp, #0]
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
    eret
    dsb     nsh
    isb
    .endm

    // From SP = context to the stack of guest_run, with x0 = context, x1 = handler, and the
    // handler's function at \slot called.
    .macro CALL_HANDLER slot
    mov     x0, sp
    ldr     x2, [sp, #{HOST_STACK}]
    mov     sp, x2
    ldp     x1, x2, [sp, #{FRAME_HANDLER}]
    ldr     x2, [x2, #\slot]
    blr     x2
    ldr     x1, [sp, #{FRAME_CONTEXT}]
    .endm

    .global guest_synchronous
guest_synchronous:
    SAVE_VOLATILE
    mrs     x0, esr_el2
    lsr     x0, x0, #26
    cmp     x0, #{EC_HVC64}
    b.ne    1f
    CALL_HANDLER 0
    cbnz    x0, leave_saving
    mov     sp, x1
    LOAD_VOLATILE_AND_ERET
1:  SAVE_PRESERVED sp
    CALL_HANDLER 8
    cbnz    x0, leave
    mov     sp, x1
    ldr     x0, [sp, #{PRESERVED_CHANGED}]
    cbz     x0, 2f
    str     xzr, [sp, #{PRESERVED_CHANGED}]
    LOAD_PRESERVED
2:  LOAD_VOLATILE_AND_ERET

    .global guest_interrupt
guest_interrupt:
    SAVE_VOLATILE
    CALL_HANDLER 16
    cbnz    x0, leave_saving
    mov     sp, x1
    LOAD_VOLATILE_AND_ERET

    .global guest_serror
guest_serror:
    SAVE_VOLATILE
    CALL_HANDLER 24
    cbnz    x0, leave_saving
    mov     sp, x1
    LOAD_VOLATILE_AND_ERET

leave_saving:
    SAVE_PRESERVED x1
leave:
    ldp     x19, x20, [sp, #0]
    ldp     x21, x22, [sp, #16]
    ldp     x23, x24, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x27, x28, [sp, #64]
    ldp     x29, x30, [sp, #80]
    add     sp, sp, #{FRAME_SIZE}
    ret

    .global guest_run
guest_run:
    sub     sp, sp, #{FRAME_SIZE}
    stp     x19, x20, [sp, #0]
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    str     x0, [sp, #{FRAME_CONTEXT}]
    stp     x1, x2, [sp, #{FRAME_HANDLER}]
    mov     x3, sp
    str     x3, [x0, #{HOST_STACK}]
    mov     sp, x0
    LOAD_PRESERVED
    LOAD_VOLATILE_AND_ERET
    "#,
    EC_HVC64 = const EC_HVC64,
    HOST_STACK = const offset_of!(GuestContext, host_stack),
    PRESERVED_CHANGED = const offset_of!(GuestContext, preserved_changed),
    FRAME_SIZE = const FRAME_SIZE,
    FRAME_CONTEXT = const FRAME_CONTEXT,
    FRAME_HANDLER = const FRAME_HANDLER,
);
