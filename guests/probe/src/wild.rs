//! Everything that Rust would not let a program do. Each function is safe to call because of what this program is: every address
//! and frame that it passes on is one of [`Pages`](crate::pages::Pages), whose bytes are atomic, or has nothing of Rust's at it.

use core::arch::{asm, global_asm};
use core::fmt;

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

/// Encodings of system registers with op0 of 2 and 3: then 3 bits of op1, 4 of CRn, 4 of CRm and 3 of op2 (Arm ARM C5.1.2).
pub const ENCODINGS: u32 = 2 << (3 + 4 + 4 + 3);

// Each entry is the instruction on x0 and a return. Encoding n is `MRS x0, n` with n in bits 5 to 19.
global_asm!(
    r#"
    .section .text.registers, "ax"
    .balign 8
register_reads:
    .set n, 0
    .rept {ENCODINGS}
    .inst   0xd5300000 | n << 5
    ret
    .set n, n + 1
    .endr

register_writes:
    .set n, 0
    .rept {ENCODINGS}
    .inst   0xd5100000 | n << 5
    ret
    .set n, n + 1
    .endr
    "#,
    ENCODINGS = const ENCODINGS,
);

unsafe extern "C" {
    static register_reads: [[u32; 2]; ENCODINGS as usize];
    static register_writes: [[u32; 2]; ENCODINGS as usize];
}

/// A system register by its encoding.
#[derive(Clone, Copy)]
pub struct Register(u32);

impl Register {
    /// The register `S<op0>_<op1>_C<n>_C<m>_<op2>`.
    pub const fn new(op0: u32, op1: u32, n: u32, m: u32, op2: u32) -> Self {
        Self((op0 & 1) << 14 | (op1 & 7) << 11 | (n & 15) << 7 | (m & 15) << 3 | op2 & 7)
    }

    /// Its value.
    pub fn read(self) -> Result<u64, Fault> {
        let mut value = 0;
        // SAFETY: the entry reads a register into x0, which has a value before, and returns. None that is read means memory.
        let fault = unsafe {
            let entry = (&raw const register_reads[self.0 as usize]) as usize;
            attempt(|| asm!("blr {}", in(reg) entry, inout("x0") value, out("x30") _, options(nostack)))
        };
        fault.map_or(Ok(value), Err)
    }

    /// Writes it.
    pub fn write(self, value: u64) -> Result<(), Fault> {
        // SAFETY: the entry writes x0 and returns. Registers of the interrupt controller alone are written, or with their value.
        let fault = unsafe {
            let entry = (&raw const register_writes[self.0 as usize]) as usize;
            attempt(|| asm!("blr {}", "isb", in(reg) entry, in("x0") value, out("x30") _, options(nostack)))
        };
        fault.map_or(Ok(()), Err)
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = |shift: u32, bits: u32| self.0 >> shift & ((1 << bits) - 1);
        let (op0, op1) = (field(14, 1) + 2, field(11, 3));
        write!(f, "s{op0}_{op1}_c{}_c{}_{}", field(7, 4), field(3, 4), field(0, 3))
    }
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
