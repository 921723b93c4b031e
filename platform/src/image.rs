//! Where the linker put the hypervisor, and what of its last 2 MiB block is left for the heap.

use core::ops::Range;

use spin::Once;

/// Size of the blocks in which RAM is divided between EL2 and the frame pool, in bytes.
pub const BLOCK_SIZE: usize = 2 << 20;

unsafe extern "C" {
    static __image_start: u8;
    static __rodata_start: u8;
    static __data_start: u8;
    static __file_end: u8;
    static __bss_end: u8;
    static __boot_stack: u8;
    static __boot_stack_top: u8;
    static __image_end: u8;
}

/// Where the heap's memory elsewhere is.
static EXTENSION: Once<Range<usize>> = Once::new();

/// The image's parts: code, constants, statics, and the boot CPU's stack, below which a page is a guard.
pub(crate) fn parts() -> [Range<usize>; 4] {
    let bounds = [
        (&raw const __image_start, &raw const __rodata_start),
        (&raw const __rodata_start, &raw const __data_start),
        (&raw const __data_start, &raw const __bss_end),
        (&raw const __boot_stack, &raw const __boot_stack_top),
    ];
    bounds.map(|(start, end)| start as usize..end as usize)
}

/// The heap's first memory: from the image's end to the end of its 2 MiB block.
pub(crate) fn heap() -> Range<usize> {
    &raw const __image_end as usize..region().end
}

/// Memory elsewhere that is EL2's own as well: the heap's, for what guests can make it need.
pub fn extension() -> Range<usize> {
    EXTENSION.get().cloned().unwrap_or_default()
}

/// Sets where that is. Before anybody else uses it.
pub(crate) fn extend(range: &Range<usize>) {
    EXTENSION.call_once(|| range.clone());
}

/// Memory that is EL2's own from the start, in whole 2 MiB blocks.
#[inline]
pub fn region() -> Range<usize> {
    let (start, end) = (&raw const __image_start as usize, &raw const __image_end as usize);
    (start & !(BLOCK_SIZE - 1))..end.next_multiple_of(BLOCK_SIZE)
}

/// Bytes of the image as the boot loader loads it: code, constants and initialised statics.
pub fn file_size() -> usize {
    &raw const __file_end as usize - &raw const __image_start as usize
}
