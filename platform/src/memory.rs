//! The machine's RAM by physical address: the only way in which EL2 touches memory that is not its own.
//!
//! Every access is checked against the RAM of the device tree and against EL2's own blocks, so no address that core
//! computes, however wrong, reaches an object of Rust's. Guests change this memory at any time, so no reference into
//! it exists: bytes are copied in and out, table entries are single atomic accesses.

use core::ops::Range;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

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

/// The bank of RAM in which nearly all accesses are: where it begins, where in it EL2's own begins and ends, where it ends.
static MAIN: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];

/// An access to what is not RAM, or is EL2's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRam;

/// Maps the machine's RAM and opens it for access.
///
/// # Errors
/// If a bank cannot be mapped, or there are more than 16.
pub fn init(ram: &[Range<usize>]) -> Result<(), mmu::MapError> {
    let mut banks = Banks { count: ram.len(), zero_block: zero_block_size() == Some(ZERO_BLOCK), ..Banks::default() };
    for (slot, bank) in ram.iter().enumerate() {
        mmu::map_ram(bank.clone())?;
        *banks.ranges.get_mut(slot).ok_or(mmu::MapError)? = (bank.start, bank.end);
    }
    if let Some(main) = ram.iter().max_by_key(|bank| bank.len()) {
        let own = image::region();
        // An end of 0 lets nothing through before it is set. No other CPU runs yet.
        for (slot, place) in MAIN.iter().zip([main.start, own.start, own.end, main.end]) {
            slot.store(place, Ordering::Relaxed);
        }
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

/// Where an access is, if it is one to RAM outside EL2's own.
#[inline]
fn check(base: u64, length: usize) -> Result<usize, NotRam> {
    let start = base as usize;
    let place = |at: usize| MAIN[at].load(Ordering::Relaxed);
    let end = start.wrapping_add(length);
    let is_main = place(0) <= start && start <= end && end <= place(3);
    let is_own = start < place(2) && place(1) < end;
    if is_main && !is_own || is_elsewhere(start, length) { Ok(start) } else { Err(NotRam) }
}

/// Whether a range is in any bank, and outside EL2's own.
#[cold]
#[inline(never)]
fn is_elsewhere(start: usize, length: usize) -> bool {
    let Some(end) = start.checked_add(length) else { return false };
    let own = image::region();
    let within = |&&(from, to): &&(usize, usize)| from <= start && end <= to;
    let in_bank = |banks: &Banks| banks.ranges.iter().take(banks.count).any(|bank| within(&bank));
    (end <= own.start || own.end <= start) && BANKS.get().is_some_and(in_bank)
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

/// Bytes that [`copy_blocks`] copies at a turn.
const COPY_TURN: usize = 512;

/// Copies turns of 512 bytes by way of four vector registers, whose values, a guest's, are put back.
fn copy_blocks(from: usize, to: usize, length: usize) {
    if length == 0 {
        return;
    }
    let mut saved = [0_u128; 4];
    // SAFETY: the caller checked that both ranges are RAM outside EL2's own, apart from each other, and a multiple of 512
    // bytes, not 0. EL2 uses no vector registers elsewhere, so the compiler need not know of these.
    unsafe {
        core::arch::asm!(
            ".arch_extension fp",
            ".arch_extension simd",
            "stp q0, q1, [{saved}]",
            "stp q2, q3, [{saved}, #32]",
            "1:",
            ".rept {turn} / 64",
            "ldp q0, q1, [{from}], #32",
            "ldp q2, q3, [{from}], #32",
            "stp q0, q1, [{to}], #32",
            "stp q2, q3, [{to}], #32",
            ".endr",
            "cmp {from}, {end}",
            "b.lo 1b",
            "ldp q0, q1, [{saved}]",
            "ldp q2, q3, [{saved}, #32]",
            ".arch_extension nosimd",
            ".arch_extension nofp",
            saved = in(reg) saved.as_mut_ptr(),
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            end = in(reg) from + length,
            turn = const COPY_TURN,
            options(nostack)
        );
    }
}

/// Copies `length` bytes between two ranges of RAM.
///
/// # Errors
/// [`NotRam`].
pub fn copy(from: u64, to: u64, length: usize) -> Result<(), NotRam> {
    let source = check(from, length)?;
    let target = check(to, length)?;
    let apart = source + length <= target || target + length <= source;
    let by_turns = apart && (source | target).is_multiple_of(align_of::<u128>());
    let whole = if by_turns { length / COPY_TURN * COPY_TURN } else { 0 };
    copy_blocks(source, target, whole);
    let (source, target) = (source + whole, target + whole);
    // SAFETY: both are RAM outside EL2's own, and nothing refers to them.
    unsafe { core::ptr::copy(source as *const u8, target as *mut u8, length - whole) };
    Ok(())
}

/// Copies bytes out of RAM.
///
/// # Errors
/// [`NotRam`].
pub fn read(base: u64, into: &mut [u8]) -> Result<(), NotRam> {
    let source = check(base, into.len())?;
    // SAFETY: RAM outside EL2's own, so it does not overlap `into`.
    unsafe { copy_few(source, into.as_mut_ptr() as usize, into.len()) };
    Ok(())
}

/// Copies bytes into RAM.
///
/// # Errors
/// [`NotRam`].
pub fn write(base: u64, bytes: &[u8]) -> Result<(), NotRam> {
    let target = check(base, bytes.len())?;
    // SAFETY: RAM outside EL2's own, where no reference points, so it does not overlap `bytes`.
    unsafe { copy_few(bytes.as_ptr() as usize, target, bytes.len()) };
    Ok(())
}

/// Copies the bytes of a structure or two: with less ado than the `memcpy` for all sizes.
///
/// # Safety
/// `from` may be read and `to` be written, and they do not overlap.
#[inline]
unsafe fn copy_few(from: usize, to: usize, length: usize) {
    // SAFETY: the caller's to say.
    unsafe {
        core::arch::asm!(
            "subs {left}, {left}, #8",
            "b.lo 2f",
            "1: ldr {bytes}, [{from}], #8",
            "str {bytes}, [{to}], #8",
            "subs {left}, {left}, #8",
            "b.hs 1b",
            "2: adds {left}, {left}, #8",
            "b.eq 4f",
            "3: ldrb {bytes:w}, [{from}], #1",
            "strb {bytes:w}, [{to}], #1",
            "subs {left}, {left}, #1",
            "b.ne 3b",
            "4:",
            bytes = out(reg) _,
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            left = inout(reg) length => _,
            options(nostack)
        );
    }
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
    unsafe { core::arch::asm!("dsb sy", "ic ialluis", "dsb sy", "isb", options(nostack, preserves_flags)) };
}

/// Smallest data cache line in bytes (`CTR_EL0.DminLine`).
fn data_line_size() -> usize {
    let value: u64;
    // SAFETY: reading CTR_EL0 has no effect.
    unsafe { core::arch::asm!("mrs {}, ctr_el0", out(reg) value, options(nomem, nostack, preserves_flags)) };
    4 << (value >> 16 & 0xf)
}

/// Reads the 8 bytes at `base` at once. Unaligned addresses are refused.
///
/// # Errors
/// [`NotRam`].
#[inline]
pub fn load(base: u64) -> Result<u64, NotRam> {
    Ok(word(base)?.load(Ordering::Relaxed))
}

/// Reads the 4 bytes at `base` at once. Unaligned addresses are refused.
///
/// # Errors
/// [`NotRam`].
#[inline]
pub fn load_word(base: u64) -> Result<u32, NotRam> {
    let address = check(base, size_of::<AtomicU32>())?;
    if !address.is_multiple_of(align_of::<AtomicU32>()) {
        return Err(NotRam);
    }
    // SAFETY: as in `word`.
    Ok(unsafe { AtomicU32::from_ptr(address as *mut u32) }.load(Ordering::Relaxed))
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

#[inline]
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
