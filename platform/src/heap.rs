//! EL2's small heap: what is left of the image's own 2 MiB blocks, and what lies behind them for what guests can make it need.
//! Guests' memory never comes from it.

use core::alloc::{GlobalAlloc, Layout};
use core::ops::Range;
use core::ptr::{self, NonNull};

use buddy_system_allocator::Heap;
use spin::Once;

use crate::image;
use crate::lock::Mutex;
use crate::mmu::PAGE_SIZE;

/// Orders up to 16 MiB: tables of all domains that there can be are so large.
struct LockedHeap(Mutex<Heap<25>>);

#[global_allocator]
static HEAP: LockedHeap = LockedHeap(Mutex::new(Heap::empty()));

// SAFETY: `Heap` hands out disjoint blocks that fit the layout, and the lock makes each call whole.
unsafe impl GlobalAlloc for LockedHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().alloc(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller vouches that the block came from `alloc` with this layout.
            unsafe { self.0.lock().dealloc(block, layout) }
        }
    }
}

/// Gives the heap its memory.
#[unsafe(link_section = ".text.boot")]
pub(crate) fn init(range: Range<usize>) {
    // SAFETY: the linker keeps everything else out of the range, it is mapped for reading and
    // writing, and the boot CPU does this once.
    unsafe { HEAP.0.lock().init(range.start, range.len()) }
}

/// Gives the heap what [`memory::init`](crate::memory::init) kept for it, once. Stacks come from what it had before: a guard
/// can be taken out of that alone.
pub fn grow() {
    static GROWN: Once = Once::new();
    let more = image::extension();
    // SAFETY: the range is EL2's own, mapped for reading and writing, nothing else is in it, and this is done once.
    GROWN.call_once(|| unsafe { HEAP.0.lock().add_to_heap(more.start, more.end) });
}

/// Bytes that are not used.
pub fn free() -> usize {
    let heap = HEAP.0.lock();
    heap.stats_total_bytes() - heap.stats_alloc_actual()
}

/// Bytes that live objects occupy, rounding by the allocator included.
pub fn used() -> usize {
    HEAP.0.lock().stats_alloc_actual()
}

/// `size` bytes above a page that the caller is to unmap; the range is both, and it is never freed.
pub(crate) fn allocate_guarded(size: usize) -> Option<Range<usize>> {
    let layout = Layout::from_size_align(size + PAGE_SIZE, PAGE_SIZE).ok()?;
    // SAFETY: the layout's size is not zero.
    let base = unsafe { alloc::alloc::alloc(layout) } as usize;
    (base != 0).then(|| base..base + layout.size())
}
