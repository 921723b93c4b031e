//! What the boot loader left for the control domain: modules and the machine's device tree, which the hypervisor maps into its memory.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::ops::Range;

use spin::Once;
use xen_abi::memory::{Reservation, op};
use xen_abi::xen::{domid, hypercall};

use super::{call, page};
use crate::arch;

/// What lies at a physical address of the machine is seen so far behind it.
const OFFSET: u64 = 0x8_0000_0000;
/// Where the library's address space ends.
const END: u64 = crate::boot::LOW_AGAIN as u64;
/// Pages in a block, as a power of two.
const BLOCK_ORDER: u32 = 9;

/// Memory that the boot loader filled. It can be read until it is given back.
pub struct BootMemory(());

impl BootMemory {
    /// All of it, for the first who asks.
    #[must_use]
    pub fn take() -> Option<Self> {
        static TAKEN: Once = Once::new();
        let mut first = None;
        TAKEN.call_once(|| first = Some(Self(())));
        first
    }

    /// The `size` bytes at the machine's address `base`, if they are there.
    #[must_use]
    pub fn bytes(&self, base: u64, size: u64) -> Option<&[u8]> {
        let start = base.checked_add(OFFSET)?;
        let last = start.checked_add(size)?.checked_sub(1).filter(|&last| size > 0 && last < END)?;
        // What the hypervisor maps it maps whole.
        let is_there = arch::can_read(start as usize) && arch::can_read(last as usize);
        // SAFETY: memory that nobody writes, and that only `release` takes away, which nobody calls while it is borrowed.
        is_there.then(|| unsafe { core::slice::from_raw_parts(start as *const u8, size as usize) })
    }

    /// Gives the pages of these ranges of machine addresses back to the hypervisor. They may overlap.
    pub fn release(&mut self, ranges: impl IntoIterator<Item = Range<u64>>) {
        let page = page::SIZE as u64;
        let frames = |range: Range<u64>| ((range.start + OFFSET) / page, (range.end + OFFSET).div_ceil(page));
        let runs: BinaryHeap<(u64, u64)> = ranges.into_iter().map(frames).collect();
        let mut next = 0;
        for (start, end) in runs.into_sorted_vec() {
            release_frames(start.max(next)..end);
            next = next.max(end);
        }
    }
}

/// Gives frames back, in blocks where these are whole.
fn release_frames(mut run: Range<u64>) {
    const BLOCK: u64 = 1 << BLOCK_ORDER;
    let first_block = run.start.next_multiple_of(BLOCK);
    let last_block = run.end / BLOCK * BLOCK;
    if first_block < last_block {
        release_extents(run.start..first_block, 0);
        release_extents(first_block..last_block, BLOCK_ORDER);
        run.start = last_block;
    }
    release_extents(run, 0);
}

fn release_extents(run: Range<u64>, order: u32) {
    let extents: Vec<u64> = run.step_by(1 << order).collect();
    let mut argument = Reservation {
        extent_start: extents.as_ptr() as u64,
        nr_extents: extents.len() as u64,
        extent_order: order,
        mem_flags: 0,
        domid: domid::SELF,
        pad: [0; 3],
    };
    // SAFETY: nothing refers to these pages any more. What is not taken stays: nobody could do anything about it.
    let _ = unsafe { call(hypercall::MEMORY_OP, op::DECREASE_RESERVATION, &mut argument) };
}
