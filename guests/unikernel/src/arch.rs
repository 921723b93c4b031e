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

/// The smallest data cache line of any Armv8-A core, and bytes that [`copy_for_others`] moves at once: two of them.
const LINE: usize = 64;
const PART: usize = 2 * LINE;

/// Copies bytes to where others read them, who may have no caches on yet.
///
/// # Safety
///
/// `to` must be as many bytes of memory that nothing in Rust refers to.
pub unsafe fn copy_for_others(from: &[u8], to: *mut u8) {
    let whole = from.len() / PART * PART;
    let end = from.as_ptr().wrapping_add(whole);
    if whole > 0 {
        // SAFETY: reads what `from` has and writes what the caller promised, line by line.
        unsafe {
            asm!(
                "2: ldp {a:q}, {b:q}, [{from}]",
                "ldp {c:q}, {d:q}, [{from}, #32]",
                "stp {a:q}, {b:q}, [{to}]",
                "stp {c:q}, {d:q}, [{to}, #32]",
                "dc cvac, {to}",
                "ldp {a:q}, {b:q}, [{from}, #64]",
                "ldp {c:q}, {d:q}, [{from}, #96]",
                "add {from}, {from}, #128",
                "stp {a:q}, {b:q}, [{to}, #64]",
                "stp {c:q}, {d:q}, [{to}, #96]",
                "add {to}, {to}, #64",
                "dc cvac, {to}",
                "add {to}, {to}, #64",
                "cmp {from}, {end}",
                "b.ne 2b",
                from = inout(reg) from.as_ptr() => _,
                to = inout(reg) to => _,
                end = in(reg) end,
                a = out(vreg) _, b = out(vreg) _, c = out(vreg) _, d = out(vreg) _,
                options(nostack),
            );
        }
    }
    for (offset, byte) in from.iter().enumerate().skip(whole) {
        // SAFETY: as above.
        unsafe { to.add(offset).write_volatile(*byte) };
    }
    let last = from.len().saturating_sub(1);
    for offset in (whole..last).step_by(LINE).chain([last]) {
        // SAFETY: lines of which a part was just written; a hint to the caches.
        unsafe { asm!("dc cvac, {}", in(reg) to.wrapping_add(offset), options(nostack)) };
    }
    barrier::dsb(barrier::SY);
}

/// Whether the byte at an address can be read.
#[must_use]
pub fn can_read(address: usize) -> bool {
    // SAFETY: only the load may fault, and its output has a value before. What it reads is not looked at.
    let fault = unsafe {
        crate::exceptions::attempt(|| {
            asm!("ldrb {value:w}, [{address}]", value = inout(reg) 0_u64 => _, address = in(reg) address, options(nostack));
        })
    };
    fault.is_none()
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
