//! Where everything goes in a domain's memory, by Xen's guest memory map.

use alloc::vec::Vec;

use thiserror::Error;
use xen_abi::arch_arm::{RAM0, RAM1};

use crate::addr::{Ipa, PAGE_SIZE};
use crate::image::{Base, Kernel};
use crate::sorted;

/// Bits of a guest physical address that the hypervisor translates.
const IPA_BITS: u32 = 39;

/// A run of guest physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IpaRange {
    /// First address.
    pub base: Ipa,
    /// Bytes.
    pub size: u64,
}

impl IpaRange {
    const fn end(self) -> u64 {
        self.base.0 + self.size
    }

    const fn overlaps(self, other: Self) -> bool {
        self.base.0 < other.end() && other.base.0 < self.end()
    }
}

/// A domain's memory and what is in it when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Its RAM, in order: one bank or two, or as many as the machine's frames made.
    pub banks: Vec<IpaRange>,
    /// Its kernel.
    pub kernel: IpaRange,
    /// Its RAM disk.
    pub ramdisk: Option<IpaRange>,
    /// Its device tree.
    pub tree: IpaRange,
}

/// Why a domain's content does not fit its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LayoutError {
    /// More memory than the memory map has room for.
    #[error("memory is more than a domain can have")]
    TooMuch,
    /// The kernel wants to be where there is no RAM.
    #[error("the kernel wants to be loaded where the domain has no RAM")]
    KernelPlace,
    /// Kernel, RAM disk and device tree need more; in bytes, at least.
    #[error("memory is too small: kernel, ramdisk and device tree need at least {} KiB", .0.div_ceil(1024))]
    TooLittle(u64),
}

/// Xen puts the RAM disk and the tree below this much of RAM.
const LOW: u64 = 128 << 20;
/// The boot protocol wants a tree not to cross a boundary of this size.
const TREE_ALIGNMENT: u64 = 2 << 20;

impl Layout {
    /// Places a kernel, a RAM disk of `ramdisk` bytes and a tree of `tree` bytes (at most 2 MiB) in the first of `banks`.
    ///
    /// # Errors
    /// If something does not fit.
    pub fn new(banks: Vec<IpaRange>, kernel: &Kernel, ramdisk: Option<u64>, tree: u64) -> Result<Self, LayoutError> {
        let bank = *banks.first().ok_or(LayoutError::TooMuch)?;
        let banks = sorted(banks);
        let base = match kernel.base {
            Base::Ram(offset) => bank.base.0.checked_add(offset).ok_or(LayoutError::KernelPlace)?,
            Base::Fixed(ipa) => ipa.0,
        };
        let end = base.checked_add(kernel.size).ok_or(LayoutError::KernelPlace)?;
        let tree_size = tree.next_multiple_of(PAGE_SIZE);
        let needed = (end - bank.base.0.min(base)).saturating_add(ramdisk.unwrap_or(0)).saturating_add(tree_size);
        if base < bank.base.0 {
            return Err(LayoutError::KernelPlace);
        }
        if end > bank.end() {
            return Err(LayoutError::TooLittle(needed));
        }
        let kernel = IpaRange { base: Ipa(base), size: kernel.size };
        let mut taken = alloc::vec![kernel];
        let mut place = |size, alignment| {
            let in_low = highest(bank, bank.end().min(bank.base.0 + LOW), &taken, size, alignment);
            let place = in_low.or_else(|| highest(bank, bank.end(), &taken, size, alignment));
            taken.extend(place);
            place.ok_or(LayoutError::TooLittle(needed))
        };
        let tree = place(tree_size, TREE_ALIGNMENT.min(tree_size.next_power_of_two()))?;
        let ramdisk = ramdisk.map(|size| place(size, PAGE_SIZE)).transpose()?;
        Ok(Self { banks, kernel, ramdisk, tree })
    }

    /// Addresses at which there could be RAM and is none, in pieces of 2 MiB, of 64 MiB at least, as Xen finds them
    /// (`find_unallocated_memory`).
    pub fn unused(&self) -> impl Iterator<Item = IpaRange> {
        const GRAIN: u64 = 2 << 20;
        const LEAST: u64 = 64 << 20;
        [RAM0, RAM1].into_iter().filter_map(|window| {
            let within = |bank: &&IpaRange| bank.base.0 < window.end() && window.base < bank.end();
            let used = self.banks.iter().filter(within).map(|bank| bank.end()).max().unwrap_or(window.base);
            let (base, end) = (used.next_multiple_of(GRAIN), window.end().min(1 << IPA_BITS));
            let size = end.checked_sub(base).filter(|&size| size >= LEAST)?;
            Some(IpaRange { base: Ipa(base), size })
        })
    }
}

/// Where a domain has so much RAM, unless it is to have it where the machine does.
///
/// # Errors
/// If it is more than the memory map has room for.
pub fn banks(memory: u64) -> Result<Vec<IpaRange>, LayoutError> {
    let first = memory.min(RAM0.size);
    let second = memory - first;
    if second > RAM1.size.min((1 << IPA_BITS) - RAM1.base) {
        return Err(LayoutError::TooMuch);
    }
    let banks = [(RAM0.base, first), (RAM1.base, second)].into_iter().filter(|&(_, size)| size > 0);
    Ok(banks.map(|(base, size)| IpaRange { base: Ipa(base), size }).collect())
}

/// The highest place of `size` bytes in a bank that ends at `end` or below and is not taken.
fn highest(bank: IpaRange, mut end: u64, taken: &[IpaRange], size: u64, alignment: u64) -> Option<IpaRange> {
    loop {
        let base = end.checked_sub(size)? & !(alignment - 1);
        let place = IpaRange { base: Ipa(base), size };
        if base < bank.base.0 {
            return None;
        }
        match taken.iter().find(|other| other.overlaps(place)) {
            // Each turn ends lower than the last.
            Some(other) => end = other.base.0,
            None => return Some(place),
        }
    }
}

#[cfg(test)]
mod tests;
