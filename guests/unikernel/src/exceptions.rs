//! Exceptions that are no interrupts: they end the domain with a report, unless [`attempt`] expects them.

use core::arch::asm;
use core::cell::Cell;
use core::fmt::Write;

use crate::{console, power, vectors::Frame};

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

/// An exception in the guest's code. The vectors' way in.
pub(crate) extern "C" fn synchronous(frame: &mut Frame) {
    let fault = Fault { syndrome: frame.syndrome, address: frame.address, pc: frame.pc };
    let attempt: *const Cell<Option<Fault>>;
    // SAFETY: reads a register; with `attempt`'s promise it is null or points to this vCPU's record, which lives on.
    let record = unsafe {
        asm!("mrs {}, tpidr_el0", out(reg) attempt, options(nostack));
        attempt.as_ref()
    };
    let Some(record) = record else { report(frame) };
    record.set(record.get().or(Some(fault)));
    frame.pc = if fault.is_instruction_abort() { frame.link() } else { frame.pc + 4 };
}

/// An exception in a handler, or one that no guest expects. The vectors' way in.
pub(crate) extern "C" fn fatal(frame: &Frame) -> ! {
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
    for (number, value) in frame.general_registers().enumerate() {
        let start = if number % 4 == 0 { "crash:" } else { "" };
        let end = if number % 4 == 3 || number == 30 { "\n" } else { "" };
        let _ = write!(console, "{start} x{number} {value:016x}{end}");
    }
    power::crash()
}

/// Calls `found` with what lies on the stack and may be a return address, the innermost first: not all of them are.
#[cfg(feature = "terse")]
pub(crate) fn code_addresses(mut found: impl FnMut(usize)) {
    /// Words that are looked at, and addresses that are told at most.
    const WORDS: usize = 128;
    const ADDRESSES: usize = 16;
    let stack: *const usize;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, sp", out(reg) stack, options(nomem, nostack, preserves_flags)) };
    // SAFETY: the stack and, should it end before, what lies above it is memory. Nobody else writes to it now.
    let words = (0..WORDS).map(|index| unsafe { stack.wrapping_add(index).read_volatile() });
    let code = crate::boot::code();
    words.filter(|word| code.contains(word) && word.is_multiple_of(4)).take(ADDRESSES).for_each(&mut found);
}
