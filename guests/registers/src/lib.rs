//! One MRS and one MSR for each of the 32,768 encodings with op0 of 2 (debug) and 3, for guests that try registers by number.

#![no_std]

use core::arch::{asm, global_asm};
use core::fmt;

use mote_unikernel::exceptions::{Fault, attempt};

/// Encodings: op0 has two values here, then 3 bits of op1, 4 of CRn, 4 of CRm and 3 of op2 (Arm ARM C5.1.2).
const ENCODINGS: u32 = 2 << (3 + 4 + 4 + 3);

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
    /// Every encoding there is.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..ENCODINGS).map(Self)
    }

    /// The register `S<op0>_<op1>_C<n>_C<m>_<op2>`, of which op0 is 2 or 3.
    #[must_use]
    pub const fn new(op0: u32, op1: u32, n: u32, m: u32, op2: u32) -> Self {
        Self((op0 & 1) << 14 | (op1 & 7) << 11 | (n & 15) << 7 | (m & 15) << 3 | op2 & 7)
    }

    /// The register's value.
    ///
    /// # Errors
    /// The exception that came instead.
    pub fn read(self) -> Result<u64, Fault> {
        let mut value = 0;
        // SAFETY: the entry reads a register into x0, which has a value before, and returns.
        let fault = unsafe {
            let entry = (&raw const register_reads[self.0 as usize]) as usize;
            attempt(|| asm!("blr {}", in(reg) entry, inout("x0") value, out("x30") _, options(nostack)))
        };
        fault.map_or(Ok(value), Err)
    }

    /// Writes `value` to the register, and has it take effect.
    ///
    /// # Errors
    /// The exception that came instead.
    ///
    /// # Safety
    /// What the register then does must leave memory and control flow what the program takes them for, as the value that was read
    /// from it does.
    pub unsafe fn write(self, value: u64) -> Result<(), Fault> {
        // SAFETY: the entry writes x0 to a register and returns; for what that does the caller answers.
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
