//! The machine's RAM by physical address: the only way in which EL2 touches memory that is not its own.
//!
//! Every access is checked against the RAM of the device tree and against EL2's own blocks, so no address that core
//! computes, however wrong, reaches an object of Rust's. Guests change this memory at any time, so no reference into
//! it exists: bytes are copied in and out, table entries are single atomic accesses.

use core::arch::asm;
use core::ops::Range;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use aarch64_cpu::asm::barrier;
use alloc::vec::Vec;
use spin::Once;

use crate::register::read;
use crate::{image, mmu};

/// What `DC ZVA` writes on every CPU EL2 runs on; looked at before it is used.
const ZERO_BLOCK: usize = 64;
/// Bytes that are zeroed at a turn.
const ZERO_TURN: usize = 32 * ZERO_BLOCK;

/// RAM without EL2's own.
static RAM: Once<Vec<Range<usize>>> = Once::new();
/// The bank in which nearly all accesses are: where it begins, where in it EL2's own begins and ends, where it ends.
static MAIN: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];

/// An access to what is not RAM, or is EL2's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRam;

/// Maps the machine's RAM and opens it for access, except `more` of it, in which nothing is: that becomes EL2's own too, and is what
/// [`heap::grow`](crate::heap::grow) gives the heap.
///
/// # Errors
/// If a bank cannot be mapped.
pub fn init(banks: &[Range<usize>], more: &Range<usize>) -> Result<(), mmu::MapError> {
    let own = image::region();
    without(banks, &own).try_for_each(mmu::map_ram)?;
    image::extend(more);
    // What is next to it is as well a part of it.
    let own = if more.start == own.end { own.start..more.end } else { own };
    let banks: Vec<_> = if own.end == more.end { banks.to_vec() } else { without(banks, more).collect() };
    let ram: Vec<_> = without(&banks, &own).collect();
    if let Some(main) = banks.iter().max_by_key(|bank| bank.len()) {
        // An end of 0 lets nothing through before it is set. No other CPU runs yet.
        for (slot, place) in MAIN.iter().zip([main.start, own.start, own.end, main.end]) {
            slot.store(place, Ordering::Relaxed);
        }
    }
    RAM.call_once(|| ram);
    Ok(())
}

/// The parts of `banks` on both sides of `own`.
fn without(banks: &[Range<usize>], own: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let parts = |bank: &Range<usize>| [bank.start..bank.end.min(own.start), bank.start.max(own.end)..bank.end];
    banks.iter().flat_map(parts).filter(|part| !part.is_empty())
}

/// Where an access is, if it is one to RAM outside EL2's own.
#[inline]
fn check(base: u64, length: usize) -> Result<usize, NotRam> {
    let start = base as usize;
    let end = start.wrapping_add(length);
    let place = |at: usize| MAIN[at].load(Ordering::Relaxed);
    let is_main = place(0) <= start && start <= end && end <= place(3) && (end <= place(1) || place(2) <= start);
    if is_main || is_elsewhere(start, end) { Ok(start) } else { Err(NotRam) }
}

/// Whether a range is in any part of RAM.
#[cold]
#[inline(never)]
fn is_elsewhere(start: usize, end: usize) -> bool {
    RAM.get().is_some_and(|ram| ram.iter().any(|part| part.start <= start && start <= end && end <= part.end))
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
    zero_whole::<true>(base, length)?;
    forget_instructions();
    Ok(())
}

fn zero_whole<const CLEAN: bool>(base: u64, length: usize) -> Result<(), NotRam> {
    /// `DCZID_EL0.DZP` and `BS` (Arm ARM D24.2.38) where `DC ZVA` may be used and zeroes a block.
    const USABLE: u64 = (ZERO_BLOCK / 4).ilog2() as u64;
    let start = check(base, length)?;
    let usable = is_by_lines::<CLEAN>(start) && read!("dczid_el0") & 0x1f == USABLE;
    let whole = if usable { length / ZERO_TURN * ZERO_TURN } else { 0 };
    zero_blocks::<CLEAN>(start, whole);
    let (rest, left) = (start + whole, length - whole);
    // SAFETY: the range is RAM outside EL2's own (see `check`), where no reference points.
    unsafe { core::ptr::write_bytes(rest as *mut u8, 0, left) };
    if CLEAN && left > 0 {
        clean_lines(rest, left);
    }
    Ok(())
}

/// Whether a range from `start` on can be done by blocks of 64 bytes, with no line left out of those that are to be cleaned.
fn is_by_lines<const CLEAN: bool>(start: usize) -> bool {
    start.is_multiple_of(ZERO_BLOCK) && (!CLEAN || data_line_size() >= ZERO_BLOCK)
}

/// Many `DC ZVA` a turn, each cleaned to the point of coherency if asked: scrubbing is most of what a launch costs.
fn zero_blocks<const CLEAN: bool>(start: usize, length: usize) {
    // SAFETY: the caller checked that the range is RAM outside EL2's own and whole turns.
    unsafe {
        asm!(
            "1: cmp {at}, {end}", "b.hs 2f",
            ".rept {turn} / {block}",
            "dc zva, {at}",
            ".if {clean}", "dc cvac, {at}", ".endif",
            "add {at}, {at}, #{block}",
            ".endr",
            "b 1b", "2:",
            at = inout(reg) start => _, end = in(reg) start + length,
            clean = const CLEAN as u32, block = const ZERO_BLOCK, turn = const ZERO_TURN, options(nostack)
        );
    }
}

/// Bytes that [`copy_blocks`] copies at a turn.
const COPY_TURN: usize = 512;

/// Copies turns of 512 bytes by way of four vector registers, whose values, a guest's, are put back. Each line is cleaned to the point of
/// coherency if asked.
fn copy_blocks<const CLEAN: bool>(from: usize, to: usize, length: usize) {
    if length == 0 {
        return;
    }
    let mut saved = [0_u128; 4];
    // SAFETY: the caller checked that both ranges are RAM outside EL2's own, apart from each other, and a multiple of 512
    // bytes, not 0. EL2 uses no vector registers elsewhere, so the compiler need not know of these.
    unsafe {
        asm!(
            ".arch_extension fp", ".arch_extension simd",
            "stp q0, q1, [{saved}]", "stp q2, q3, [{saved}, #32]",
            "1:", ".rept {turn} / 64",
            "ldp q0, q1, [{from}], #32", "ldp q2, q3, [{from}], #32",
            "stp q0, q1, [{before}, #32]!", "stp q2, q3, [{before}, #32]!",
            ".if {clean}", "dc cvac, {before}", ".endif",
            ".endr",
            "cmp {from}, {end}", "b.lo 1b",
            "ldp q0, q1, [{saved}]", "ldp q2, q3, [{saved}, #32]",
            ".arch_extension nosimd", ".arch_extension nofp",
            saved = in(reg) saved.as_mut_ptr(), turn = const COPY_TURN, clean = const CLEAN as u32,
            from = inout(reg) from => _, before = inout(reg) to - 32 => _, end = in(reg) from + length, options(nostack)
        );
    }
}

/// Copies `length` bytes between two ranges of RAM.
///
/// # Errors
/// [`NotRam`].
pub fn copy(from: u64, to: u64, length: usize) -> Result<(), NotRam> {
    copy_whole::<false>(from, to, length)
}

/// The same so that a guest sees them, even with its caches off, and can execute them.
///
/// # Errors
/// [`NotRam`].
pub fn copy_for_guest(from: u64, to: u64, length: usize) -> Result<(), NotRam> {
    copy_whole::<true>(from, to, length)?;
    forget_instructions();
    Ok(())
}

#[inline]
fn copy_whole<const CLEAN: bool>(from: u64, to: u64, length: usize) -> Result<(), NotRam> {
    let source = check(from, length)?;
    let target = check(to, length)?;
    let apart = source + length <= target || target + length <= source;
    let aligned = (source | target).is_multiple_of(align_of::<u128>());
    let by_turns = apart && aligned && (!CLEAN || is_by_lines::<CLEAN>(target));
    let whole = if by_turns { length / COPY_TURN * COPY_TURN } else { 0 };
    copy_blocks::<CLEAN>(source, target, whole);
    let (source, target, left) = (source + whole, target + whole, length - whole);
    if left > 0 {
        // SAFETY: both are RAM outside EL2's own, and nothing refers to them.
        unsafe { core::ptr::copy(source as *const u8, target as *mut u8, left) };
        if CLEAN {
            clean_lines(target, left);
        }
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

/// Writes back what the caches hold of a range and has them forget it.
///
/// # Errors
/// [`NotRam`].
pub fn flush(base: u64, length: usize) -> Result<(), NotRam> {
    for line in lines(check(base, length)?, length) {
        // SAFETY: writing a line back and forgetting it changes no value.
        unsafe { asm!("dc civac, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    barrier::dsb(barrier::SY);
    Ok(())
}

/// Makes a mapped range visible to who looks at it with caches off, once a barrier has followed.
pub(crate) fn clean_lines(start: usize, length: usize) {
    for line in lines(start, length) {
        // SAFETY: cleaning a line to the point of coherency changes no value.
        unsafe { asm!("dc cvac, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
}

/// The data cache lines in which a range is.
fn lines(start: usize, length: usize) -> impl Iterator<Item = usize> {
    let line = data_line_size();
    (start & !(line - 1)..start + length).step_by(line)
}

/// Waits for the cleaning, and has all CPUs fetch instructions anew.
fn forget_instructions() {
    // SAFETY: forgetting cached instructions changes no value.
    unsafe { asm!("dsb sy", "ic ialluis", "dsb sy", "isb", options(nostack, preserves_flags)) };
}

/// Smallest data cache line in bytes (`CTR_EL0.DminLine`).
fn data_line_size() -> usize {
    4 << (read!("ctr_el0") >> 16 & 0xf)
}

/// Reads the 8 bytes at `base` at once. Unaligned addresses are refused.
///
/// # Errors
/// [`NotRam`].
#[inline]
pub fn load(base: u64) -> Result<u64, NotRam> {
    Ok(double(base)?.load(Ordering::Relaxed))
}

/// Reads the 4 bytes at `base` at once. Unaligned addresses are refused.
///
/// # Errors
/// [`NotRam`].
#[inline]
pub fn load_word(base: u64) -> Result<u32, NotRam> {
    let address = aligned(base, size_of::<AtomicU32>())?;
    // SAFETY: as in `double`.
    Ok(unsafe { AtomicU32::from_ptr(address as *mut u32) }.load(Ordering::Relaxed))
}

#[inline]
fn double(base: u64) -> Result<&'static AtomicU64, NotRam> {
    let address = aligned(base, size_of::<AtomicU64>())?;
    // SAFETY: aligned RAM outside EL2's own, mapped for good; others change it by atomic accesses or, as guests do,
    // outside Rust.
    Ok(unsafe { AtomicU64::from_ptr(address as *mut u64) })
}

/// Where something is that lies at a multiple of its size.
#[inline]
fn aligned(base: u64, size: usize) -> Result<usize, NotRam> {
    check(base, size).and_then(|address| if address.is_multiple_of(size) { Ok(address) } else { Err(NotRam) })
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
    #[inline]
    pub fn new(base: u64) -> Result<Self, NotRam> {
        Ok(Self { base: aligned(base, Self::MASK + 1)? })
    }

    /// The first 8 bytes from the `index`th on that are not 0, and which they are.
    pub fn first_set(&self, mut index: usize) -> Option<(usize, u64)> {
        // So many are looked at together where they may all be 0.
        const MANY: usize = 8;
        let value = |index: usize| self.double(index * size_of::<u64>()).load(Ordering::Relaxed);
        while index <= Self::MASK / size_of::<u64>() {
            match value(index) {
                0 if index.is_multiple_of(MANY) && (1..MANY).fold(0, |all, more| all | value(index + more)) == 0 => {
                    index += MANY;
                }
                0 => index += 1,
                value => return Some((index, value)),
            }
        }
        None
    }

    /// Its physical address.
    pub const fn base(self) -> u64 {
        self.base as u64
    }

    /// The 4 bytes at `offset`, which is cut down to a multiple of 4 within the page.
    pub fn word(&self, offset: usize) -> &AtomicU32 {
        let address = self.base + (offset & Self::MASK & !3);
        // SAFETY: as in `double` above.
        unsafe { AtomicU32::from_ptr(address as *mut u32) }
    }

    /// The 8 bytes at `offset`, which is cut down to a multiple of 8 within the page.
    pub fn double(&self, offset: usize) -> &AtomicU64 {
        let address = self.base + (offset & Self::MASK & !7);
        // SAFETY: as in `double` above.
        unsafe { AtomicU64::from_ptr(address as *mut u64) }
    }
}
