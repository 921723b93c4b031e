//! Everything that Rust would not let a program do. Each function is safe to call because of what this program is: every address
//! and frame that it passes on is one of [`Pages`](crate::pages::Pages), whose bytes are atomic, or has nothing of Rust's at it.

use core::arch::asm;
use core::fmt;

pub use ::registers::Register;
use mote_unikernel::exceptions::{Fault, attempt};

use crate::pages::Answer;

/// Xen's hypercall `number`.
pub fn hypercall(number: u64, arguments: [u64; 5]) -> Answer {
    // SAFETY: as the module says.
    let answer = unsafe { mote_unikernel::xen::hypercall(number, arguments) };
    Answer(answer.unwrap_or_else(|error| error.answer()))
}

/// By which instruction a function of firmware or hypervisor is called.
#[derive(Clone, Copy)]
pub enum Conduit {
    Hvc,
    Smc,
}

/// A function by the SMC calling convention, and the answer in x0 to x3.
pub fn smccc(conduit: Conduit, function: u64, arguments: [u64; 3]) -> Result<[u64; 4], Fault> {
    let (mut x0, [mut x1, mut x2, mut x3]) = (function, arguments);
    // SAFETY: no function is called that starts a vCPU at an address or changes memory.
    let fault = unsafe {
        attempt(|| match conduit {
            Conduit::Hvc => {
                asm!("hvc #0", inout("x0") x0, inout("x1") x1, inout("x2") x2, inout("x3") x3, options(nostack));
            }
            Conduit::Smc => {
                asm!("smc #0", inout("x0") x0, inout("x1") x1, inout("x2") x2, inout("x3") x3, options(nostack));
            }
        })
    };
    fault.map_or(Ok([x0, x1, x2, x3]), Err)
}

/// How wide an access is.
#[derive(Clone, Copy, Debug)]
pub enum Width {
    Byte,
    Half,
    Word,
    Double,
}

/// Every width.
pub const WIDTHS: [Width; 4] = [Width::Byte, Width::Half, Width::Word, Width::Double];

/// Reads a device, or from where nothing of Rust's is.
pub fn load(address: usize, width: Width) -> Result<u64, Fault> {
    let mut value = 0_u64;
    // SAFETY: as the module says; the output has a value before the instruction that may fault.
    let fault = unsafe {
        attempt(|| match width {
            Width::Byte => asm!("ldrb {:w}, [{}]", inout(reg) value, in(reg) address, options(nostack)),
            Width::Half => asm!("ldrh {:w}, [{}]", inout(reg) value, in(reg) address, options(nostack)),
            Width::Word => asm!("ldr {:w}, [{}]", inout(reg) value, in(reg) address, options(nostack)),
            Width::Double => asm!("ldr {}, [{}]", inout(reg) value, in(reg) address, options(nostack)),
        })
    };
    fault.map_or(Ok(value), Err)
}

/// Writes to a device, or to where nothing of Rust's is.
pub fn store(address: usize, width: Width, value: u64) -> Result<(), Fault> {
    // SAFETY: as the module says.
    let fault = unsafe {
        attempt(|| match width {
            Width::Byte => asm!("strb {:w}, [{}]", in(reg) value, in(reg) address, options(nostack)),
            Width::Half => asm!("strh {:w}, [{}]", in(reg) value, in(reg) address, options(nostack)),
            Width::Word => asm!("str {:w}, [{}]", in(reg) value, in(reg) address, options(nostack)),
            Width::Double => asm!("str {}, [{}]", in(reg) value, in(reg) address, options(nostack)),
        })
    };
    fault.map_or(Ok(()), Err)
}

/// Writes a register of the interrupt controller, or any register with its own value.
pub fn write(register: Register, value: u64) -> Result<(), Fault> {
    // SAFETY: neither changes what memory and control flow are.
    unsafe { register.write(value) }
}

/// A value, or how the instruction ended.
pub struct Outcome(pub Result<u64, Fault>);

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(value) => write!(f, "{value:#x}"),
            Err(fault) if fault.is_data_abort() => write!(f, "data abort, status {:#x}", fault.status()),
            Err(fault) => f.write_str(fault.name()),
        }
    }
}
