//! The machine's RAM by physical address: the only way in which EL2 touches memory that is not its own.
//!
//! Every access is checked against the RAM of the device tree and against EL2's own blocks, so no address that core
//! computes, however wrong, reaches an object of Rust's. Guests change this memory at any time, so no reference into
//! it exists: bytes are copied in and out, table entries are single atomic accesses.

use core::ops::Range;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use spin::Once;

use crate::image;
use crate::mmu;

const MAX_BANKS: usize = 16;
/// What `DC ZVA` writes on every CPU EL2 runs on; checked at start.
const ZERO_BLOCK: usize = 64;

#[derive(Default)]
struct Banks {
    ranges: [(usize, usize); MAX_BANKS],
    count: usize,
    zero_block: bool,
}

static BANKS: Once<Banks> = Once::new();

/// An access to what is not RAM, or is EL2's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRam;

/// Maps the machine's RAM and opens it for access.
///
/// # Errors
/// If a bank cannot be mapped, or there are more than 16.
pub fn init(ram: &[Range<usize>]) -> Result<(), mmu::MapError> {
    let mut banks = Banks {
        count: ram.len(),
        zero_block: zero_block_size() == Some(ZERO_BLOCK),
        ..Banks::default()
    };
    for (slot, bank) in ram.iter().enumerate() {
        mmu::map_ram(bank.clone())?;
        *banks.ranges.get_mut(slot).ok_or(mmu::MapError)? = (bank.start, bank.end);
    }
    BANKS.call_once(|| banks);
    Ok(())
}

/// Bytes that `DC ZVA` zeroes, if it may be used (`DCZID_EL0`, Arm ARM D24.2.38).
fn zero_block_size() -> Option<usize> {
    const PROHIBITED: u64 = 1 << 4;
    let value: u64;
    // SAFETY: reading DCZID_EL0 has no effect.
    unsafe {
        core::arch::asm!("mrs {}, dczid_el0", out(reg) value, options(nomem, nostack, preserves_flags));
    }
    (value & PROHIBITED == 0).then_some(4 << (value & 0xf))
}

fn check(base: u64, length: usize) -> Result<usize, NotRam> {
    let start = usize::try_from(base).map_err(|_| NotRam)?;
    let end = start.checked_add(length).ok_or(NotRam)?;
    let own = image::region();
    let banks = BANKS.get().ok_or(NotRam)?;
    let in_ram =
        banks.ranges.iter().take(banks.count).any(|&(from, to)| from <= start && end <= to);
    let outside_own = end <= own.start || own.end <= start;
    if in_ram && outside_own { Ok(start) } else { Err(NotRam) }
}

/// Zeroes `length` bytes from `base`, for EL2 and its tables.
///
/// # Errors
/// [`NotRam`].
pub fn zero(base: u64, length: usize) -> Result<(), NotRam> {
    zero_whole::<false>(base, length)
}

/// Zeroes `length` bytes from `base` so that a guest sees nothing else, even with its caches off.
///
/// # Errors
/// [`NotRam`].
pub fn scrub(base: u64, length: usize) -> Result<(), NotRam> {
    let lines_cleaned = data_line_size() >= ZERO_BLOCK;
    if !lines_cleaned {
        zero(base, length)?;
        return clean(base, length);
    }
    zero_whole::<true>(base, length)?;
    forget_instructions();
    Ok(())
}

fn zero_whole<const CLEAN: bool>(base: u64, length: usize) -> Result<(), NotRam> {
    const TURN: usize = 8 * ZERO_BLOCK;
    let start = check(base, length)?;
    let usable = start.is_multiple_of(ZERO_BLOCK) && BANKS.get().is_some_and(|b| b.zero_block);
    let whole = if usable { length / TURN * TURN } else { 0 };
    zero_blocks::<CLEAN>(start, whole);
    let (rest, left) = (start + whole, length - whole);
    // SAFETY: the range is RAM outside EL2's own (see `check`), where no reference points.
    unsafe { core::ptr::write_bytes(rest as *mut u8, 0, left) };
    if CLEAN && left > 0 {
        clean_lines(rest, left);
    }
    Ok(())
}

/// Eight `DC ZVA` a turn, each cleaned to the point of coherency if asked: scrubbing is most of what a launch costs.
fn zero_blocks<const CLEAN: bool>(start: usize, length: usize) {
    // SAFETY: the caller checked that the range is RAM outside EL2's own and a multiple of eight blocks.
    unsafe {
        core::arch::asm!(
            "1: cmp {at}, {end}",
            "b.hs 2f",
            ".rept 8",
            "dc zva, {at}",
            ".if {clean}",
            "dc cvac, {at}",
            ".endif",
            "add {at}, {at}, #{block}",
            ".endr",
            "b 1b",
            "2:",
            at = inout(reg) start => _,
            end = in(reg) start + length,
            clean = const CLEAN as u32,
            block = const ZERO_BLOCK,
            options(nostack)
        );
    }
}

/// Copies blocks of 64 bytes by the widest loads there are without floating point.
fn copy_blocks(from: usize, to: usize, length: usize) {
    // SAFETY: the caller checked that both ranges are RAM outside EL2's own, apart from each other, and a
    // multiple of 64 bytes.
    unsafe {
        core::arch::asm!(
            "1: cmp {from}, {end}",
            "b.hs 2f",
            "ldp {a}, {b}, [{from}]",
            "ldp {c}, {d}, [{from}, #16]",
            "ldp {e}, {f}, [{from}, #32]",
            "ldp {g}, {h}, [{from}, #48]",
            "stp {a}, {b}, [{to}]",
            "stp {c}, {d}, [{to}, #16]",
            "stp {e}, {f}, [{to}, #32]",
            "stp {g}, {h}, [{to}, #48]",
            "add {from}, {from}, #64",
            "add {to}, {to}, #64",
            "b 1b",
            "2:",
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            end = in(reg) from + length,
            a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _,
            e = out(reg) _, f = out(reg) _, g = out(reg) _, h = out(reg) _,
            options(nostack)
        );
    }
}

/// Copies `length` bytes between two ranges of RAM that do not overlap.
///
/// # Errors
/// [`NotRam`]; also if they overlap.
pub fn copy(from: u64, to: u64, length: usize) -> Result<(), NotRam> {
    let source = check(from, length)?;
    let target = check(to, length)?;
    if source < target + length && target < source + length {
        return Err(NotRam);
    }
    let whole = if (source | target).is_multiple_of(8) { length / 64 * 64 } else { 0 };
    copy_blocks(source, target, whole);
    let (source, target) = (source + whole, target + whole);
    // SAFETY: both are RAM outside EL2's own, apart from each other, and nothing refers to them.
    unsafe {
        core::ptr::copy_nonoverlapping(source as *const u8, target as *mut u8, length - whole);
    }
    Ok(())
}

/// Copies bytes out of RAM.
///
/// # Errors
/// [`NotRam`].
pub fn read(base: u64, into: &mut [u8]) -> Result<(), NotRam> {
    let source = check(base, into.len())?;
    // SAFETY: RAM outside EL2's own, so it does not overlap `into`.
    unsafe { core::ptr::copy_nonoverlapping(source as *const u8, into.as_mut_ptr(), into.len()) };
    Ok(())
}

/// Copies bytes into RAM.
///
/// # Errors
/// [`NotRam`].
pub fn write(base: u64, bytes: &[u8]) -> Result<(), NotRam> {
    let target = check(base, bytes.len())?;
    // SAFETY: RAM outside EL2's own, where no reference points, so it does not overlap `bytes`.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), target as *mut u8, bytes.len()) };
    Ok(())
}

/// Makes what was written here visible to a guest that runs with its caches off, and to instruction fetch.
///
/// # Errors
/// [`NotRam`].
pub fn clean(base: u64, length: usize) -> Result<(), NotRam> {
    let start = check(base, length)?;
    clean_lines(start, length);
    forget_instructions();
    Ok(())
}

/// Writes back what the caches hold of a range and has them forget it.
///
/// # Errors
/// [`NotRam`].
pub fn flush(base: u64, length: usize) -> Result<(), NotRam> {
    let start = check(base, length)?;
    let line = data_line_size();
    for at in (start & !(line - 1)..start + length).step_by(line) {
        // SAFETY: writing a line back and forgetting it changes no value.
        unsafe { core::arch::asm!("dc civac, {}", in(reg) at, options(nostack, preserves_flags)) };
    }
    // SAFETY: waits.
    unsafe { core::arch::asm!("dsb sy", options(nostack, preserves_flags)) };
    Ok(())
}

fn clean_lines(start: usize, length: usize) {
    let line = data_line_size();
    let (mut at, end) = (start & !(line - 1), start + length);
    while at < end {
        // SAFETY: cleaning a line of RAM to the point of coherency changes no value.
        unsafe { core::arch::asm!("dc cvac, {}", in(reg) at, options(nostack, preserves_flags)) };
        at += line;
    }
}

/// Waits for the cleaning, and has all CPUs fetch instructions anew.
fn forget_instructions() {
    // SAFETY: forgetting cached instructions changes no value.
    unsafe {
        core::arch::asm!("dsb sy", "ic ialluis", "dsb sy", "isb", options(nostack, preserves_flags))
    };
}

/// Smallest data cache line in bytes (`CTR_EL0.DminLine`).
fn data_line_size() -> usize {
    let value: u64;
    // SAFETY: reading CTR_EL0 has no effect.
    unsafe {
        core::arch::asm!("mrs {}, ctr_el0", out(reg) value, options(nomem, nostack, preserves_flags))
    };
    4 << (value >> 16 & 0xf)
}

/// Reads the 8 bytes at `base` at once. Unaligned addresses are refused.
///
/// # Errors
/// [`NotRam`].
pub fn load(base: u64) -> Result<u64, NotRam> {
    Ok(word(base)?.load(Ordering::Relaxed))
}

/// Writes the 8 bytes at `base` at once. Unaligned addresses are refused.
///
/// # Errors
/// [`NotRam`].
pub fn store(base: u64, value: u64) -> Result<(), NotRam> {
    word(base)?.store(value, Ordering::Relaxed);
    Ok(())
}

/// A page of RAM outside EL2's own, of which words can be had without checking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    // Checked once: RAM stays mapped where it is.
    base: usize,
}

impl Page {
    const MASK: usize = 4095;

    /// The page at `base`.
    ///
    /// # Errors
    /// [`NotRam`]; also if it is not aligned.
    pub fn new(base: u64) -> Result<Self, NotRam> {
        let base = check(base, Self::MASK + 1)?;
        if base & Self::MASK == 0 { Ok(Self { base }) } else { Err(NotRam) }
    }

    /// Its physical address.
    #[must_use]
    pub const fn base(self) -> u64 {
        self.base as u64
    }

    /// The 4 bytes at `offset`, which is cut down to a multiple of 4 within the page.
    #[must_use]
    pub fn word(&self, offset: usize) -> &AtomicU32 {
        let address = self.base + (offset & Self::MASK & !3);
        // SAFETY: aligned RAM outside EL2's own, mapped for good, which others change by atomic accesses or, as guests
        // do, outside Rust.
        unsafe { AtomicU32::from_ptr(address as *mut u32) }
    }

    /// The 8 bytes at `offset`, which is cut down to a multiple of 8 within the page.
    #[must_use]
    pub fn double(&self, offset: usize) -> &AtomicU64 {
        let address = self.base + (offset & Self::MASK & !7);
        // SAFETY: as in `word`.
        unsafe { AtomicU64::from_ptr(address as *mut u64) }
    }
}

fn word(base: u64) -> Result<&'static AtomicU64, NotRam> {
    let address = check(base, size_of::<AtomicU64>())?;
    if !address.is_multiple_of(align_of::<AtomicU64>()) {
        return Err(NotRam);
    }
    // SAFETY: aligned RAM outside EL2's own, mapped for good; others change it by atomic accesses or, as guests do,
    // outside Rust.
    Ok(unsafe { AtomicU64::from_ptr(address as *mut u64) })
}

/// The bytes of a boot module or the device tree, which no guest can reach yet.
///
/// # Errors
/// [`NotRam`].
pub fn boot_bytes(base: u64, length: usize) -> Result<alloc::vec::Vec<u8>, NotRam> {
    let mut bytes = alloc::vec![0; length];
    read(base, &mut bytes)?;
    Ok(bytes)
}
