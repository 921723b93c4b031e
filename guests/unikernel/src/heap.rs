//! The heap: all memory of the domain in which nothing lies from the start, claimed at the first allocation.

use core::alloc::{GlobalAlloc, Layout};
use core::ops::Range;
use core::ptr;

use spin::Mutex;
use talc::{DefaultBinning, base::Talc, base::binning::Binning, source::Source};

use crate::{Machine, interrupts};

/// Bytes of the smallest part of memory that is used.
const LEAST: usize = 4096;
/// Where the memory ends that stage 1 maps.
const MAPPED: usize = crate::boot::LOW_AGAIN;

#[global_allocator]
static HEAP: Heap = Heap(Mutex::new(Talc::new(Unclaimed(true))));

struct Heap(Mutex<Talc<Unclaimed, DefaultBinning>>);

/// Bytes of the heap that are in use, and bytes that are free.
#[cfg(feature = "accounting")]
#[must_use]
pub fn use_and_room() -> (usize, usize) {
    interrupts::masked(|| {
        let heap = HEAP.0.lock();
        (heap.counters().allocated_bytes, heap.counters().available_bytes)
    })
}

/// Whether the domain's memory is still to be claimed.
#[derive(Debug)]
struct Unclaimed(bool);

// SAFETY: `acquire` says that there is more memory only after it claimed some.
unsafe impl Source for Unclaimed {
    fn acquire<B: Binning>(heap: &mut Talc<Self, B>, _: Layout) -> Result<(), ()> {
        if !core::mem::take(&mut heap.source.0) {
            return Err(());
        }
        let machine = Machine::get().ok_or(())?;
        let mut claimed = Err(());
        for bank in machine.memory() {
            each_gap(bank, machine.reserved(), |gap| {
                // SAFETY: the domain's memory, mapped by stage 1, in which neither image nor tree nor ramdisk lies,
                // and claimed this once.
                if unsafe { heap.claim(gap.start as *mut u8, gap.len()) }.is_some() {
                    claimed = Ok(());
                }
            });
        }
        claimed
    }
}

/// Calls `found` with each part of `bank` that is mapped and not `reserved`, if it is worth it: what is allocated should lie together.
// A clone has its own of each page that it writes to.
fn each_gap(bank: Range<usize>, mut reserved: [Range<usize>; 4], mut found: impl FnMut(Range<usize>)) {
    reserved.sort_unstable_by_key(|range| range.start);
    let end = bank.end.min(MAPPED);
    let mut free = bank.start;
    for taken in reserved {
        if free + LEAST <= taken.start.min(end) {
            found(free..taken.start.min(end));
        }
        free = free.max(taken.end);
    }
    if free + LEAST <= end {
        found(free..end);
    }
}

/// Small blocks that were freed, by their size, for whoever wants one of that size next: most of what comes and goes is small, and to find it
/// a place in the heap and to join it with its neighbours again takes long.
#[cfg(feature = "small-blocks")]
struct Small([*mut u8; SMALL / STEP]);

#[cfg(feature = "small-blocks")]
const SMALL: usize = 1024;
/// Sizes are multiples of this, and so are the blocks' addresses.
#[cfg(feature = "small-blocks")]
const STEP: usize = 16;

// SAFETY: the blocks are nobody's, whoever looks at the list.
#[cfg(feature = "small-blocks")]
unsafe impl Send for Small {}

#[cfg(feature = "small-blocks")]
impl Small {
    /// The list of blocks for a layout.
    #[inline]
    fn list(&mut self, layout: Layout) -> Option<&mut *mut u8> {
        self.0.get_mut((layout.size().max(1) - 1) / STEP).filter(|_| layout.align() <= STEP)
    }

    /// Takes a block for a layout out of its list, if there is one.
    #[inline]
    fn take(&mut self, layout: Layout) -> Option<*mut u8> {
        let first = self.list(layout).filter(|first| !first.is_null())?;
        let block = *first;
        // SAFETY: a block in the list is free, and begins with the address of the next one.
        *first = unsafe { block.cast::<*mut u8>().read() };
        Some(block)
    }

    /// The layout that all blocks in a layout's list have.
    fn rounded(layout: Layout) -> Layout {
        let whole = Layout::from_size_align(layout.size().next_multiple_of(STEP), STEP);
        whole.ok().filter(|whole| whole.size() <= SMALL && layout.align() <= STEP).unwrap_or(layout)
    }
}

#[cfg(feature = "small-blocks")]
static FREED: Mutex<Small> = Mutex::new(Small([ptr::null_mut(); SMALL / STEP]));

impl Heap {
    /// Apart from what most calls need, which is little.
    #[inline(never)]
    fn find(&self, layout: Layout) -> *mut u8 {
        #[cfg(feature = "small-blocks")]
        let layout = Small::rounded(layout);
        // SAFETY: whoever calls the allocator promises a layout of a size other than zero.
        let block = interrupts::masked(|| unsafe { self.0.lock().allocate(layout) });
        block.map_or(ptr::null_mut(), |block| block.as_ptr())
    }
}

// SAFETY: the lock makes talc's allocator the only user of its memory at any time; interrupts are masked under it, so
// that a handler may allocate.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        #[cfg(feature = "small-blocks")]
        if let Some(block) = interrupts::masked(|| FREED.lock().take(layout)) {
            return block;
        }
        self.find(layout)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        interrupts::masked(|| {
            #[cfg(feature = "small-blocks")]
            if let Some(first) = FREED.lock().list(layout) {
                // SAFETY: the caller gives up a block that is at least as large and aligned as an address.
                unsafe { block.cast::<*mut u8>().write(*first) };
                *first = block;
                return;
            }
            // SAFETY: the caller promised that `block` came from `alloc` with this layout.
            unsafe { self.0.lock().deallocate(block, layout) };
        });
    }
}
