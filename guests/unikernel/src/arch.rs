//! The few instructions that have no name in Rust.

use core::arch::asm;
use core::ops::Range;

use aarch64_cpu::asm::{barrier, wfi};

/// Gives the vCPU up until an interrupt is pending, masked or not.
pub fn wait_for_interrupt() {
    barrier::dsb(barrier::SY);
    wfi();
}

/// Tells the CPU that what follows waits for another, so that a machine which has its CPUs by turns goes on with another.
pub fn relax() {
    // SAFETY: a hint.
    unsafe { asm!("yield", options(nomem, nostack, preserves_flags)) };
}

/// A device's 32-bit registers.
pub struct Registers {
    // Private: every access through it relies on `new`'s promise.
    range: Range<usize>,
}

impl Registers {
    /// The registers at `range`.
    ///
    /// # Safety
    ///
    /// `range` must hold a device, whose effects on memory the caller answers for.
    #[must_use]
    pub const unsafe fn new(range: Range<usize>) -> Self {
        Self { range }
    }

    /// Reads the register at `offset` bytes.
    #[must_use]
    pub fn read(&self, offset: usize) -> u32 {
        let value: u32;
        // SAFETY: `new`'s caller promised a device, and `address` stays inside it. One plain load, because a hypervisor
        // can emulate no other form.
        unsafe {
            asm!("ldr {:w}, [{}]", out(reg) value, in(reg) self.address(offset), options(nostack));
        }
        value
    }

    /// Writes `value` to the register at `offset` bytes.
    pub fn write(&self, offset: usize, value: u32) {
        // SAFETY: as in `read`.
        unsafe {
            asm!("str {:w}, [{}]", in(reg) value, in(reg) self.address(offset), options(nostack));
        }
    }

    fn address(&self, offset: usize) -> usize {
        assert!(offset.is_multiple_of(4) && offset < self.range.len());
        self.range.start + offset
    }
}

/// The affinity of this vCPU: its `MPIDR_EL1` without the flags.
#[must_use]
pub fn affinity() -> u64 {
    const AFFINITY: u64 = 0xff_00ff_ffff;
    let mpidr: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, mpidr_el1", out(reg) mpidr, options(nomem, nostack)) };
    mpidr & AFFINITY
}
