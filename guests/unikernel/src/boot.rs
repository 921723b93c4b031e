//! From the loader's jump to `main`: the arm64 Image header, the translation tables, the stacks, and
//! the same for the vCPUs that PSCI starts.
//!
//! The loader's contract is Linux's (`Documentation/arch/arm64/booting.rst`): EL1, MMU off, x0 = address
//! of the device tree, the image at a boundary of 2 MiB. The image is linked where Xen and Mote put it.
//! Should another loader put it elsewhere, the linked addresses are mapped to that place as well.
//!
//! Translation is an identity map of 64 GiB that never changes: devices in the first GiB, memory in
//! the others; but the last GiB is the first again, as memory, for pages of the hypervisor's among the devices. What a domain was not given, the hypervisor's own translation refuses. In the 2 MiB that
//! begin with the image pages are single: code executable, code and constants read-only, nothing both
//! writable and executable, and no page at all below a stack.

use core::arch::global_asm;

use crate::vectors;

/// Stage 1 descriptors (Arm ARM D8.3).
mod descriptor {
    /// A table, and a page at level 3.
    pub const TABLE: u64 = 0b11;
    /// A block at level 1 or 2.
    const BLOCK: u64 = 0b01;
    const ACCESSED: u64 = 1 << 10;
    const INNER_SHAREABLE: u64 = 0b11 << 8;
    pub const READ_ONLY: u64 = 1 << 7;
    pub const PRIVILEGED_NEVER_EXECUTE: u64 = 1 << 53;
    const NEVER_EXECUTE: u64 = PRIVILEGED_NEVER_EXECUTE | 1 << 54;
    /// Index of the memory type in [`super::MAIR`].
    const NORMAL: u64 = INNER_SHAREABLE;
    const DEVICE: u64 = 1 << 2;

    pub const DEVICE_BLOCK: u64 = BLOCK | ACCESSED | DEVICE | NEVER_EXECUTE;
    pub const MEMORY_BLOCK: u64 = BLOCK | ACCESSED | NORMAL | NEVER_EXECUTE;
    pub const TEXT_PAGE: u64 = TABLE | ACCESSED | NORMAL | READ_ONLY | 1 << 54;
}

/// Attribute 0: normal memory, write-back; attribute 1: Device-nGnRE (Arm ARM D24.2.109).
const MAIR: u64 = 0x04ff;
/// Identity of 36 address bits through TTBR0 in 4 KiB granules, walks cached, no TTBR1 (TCR_EL1).
const TCR: u64 = 28 | 0b01 << 8 | 0b01 << 10 | 0b11 << 12 | 1 << 23 | 0b001 << 32;
/// SCTLR_EL1: MMU, caches, stack alignment check, WXN, and the bits that are RES1 on Armv8.0.
const SCTLR: u64 = 1 | 1 << 2 | 1 << 3 | 1 << 12 | 1 << 19 | SCTLR_RES1;
const SCTLR_RES1: u64 = 1 << 11 | 1 << 20 | 1 << 22 | 1 << 23 | 1 << 28 | 1 << 29;
/// CPACR_EL1.FPEN: floating point at EL1 and EL0.
const CPACR_FP: u64 = 0b11 << 20;
/// The smallest data cache line of any Armv8-A core, in bytes.
const CACHE_LINE: u64 = 64;

global_asm!(
    r#"
    .section .text.header, "ax"
    .global image_header
image_header:
    mrs     x1, cntpct_el0              // the very first instruction notes the time
    b       primary_entry
    .quad   0                           // text_offset
    .quad   __image_size
    .quad   0xa                         // flags: little-endian, 4 KiB pages, anywhere in memory
    .quad   0
    .quad   0
    .quad   0
    .ascii  "ARM\x64"
    .long   0

    .section .text.boot, "ax"
primary_entry:
    mov     x19, x0
    mov     x20, x1
    adrp    x21, image_header           // where the image is
    ldr     x22, =image_header          // where it is linked
    adrp    x23, __level1
    add     x23, x23, :lo12:__level1
    adrp    x24, __level2
    adrp    x25, __level3

    mov     x0, x23
    ldr     x1, ={MEMORY_BLOCK}
    mov     x2, #1 << 30
    mov     x3, #64
    bl      fill
    ldr     x1, ={MEMORY_BLOCK}
    str     x1, [x23, #{LOW_AGAIN}]
    ldr     x1, ={DEVICE_BLOCK}
    str     x1, [x23]
    orr     x1, x24, #{TABLE}
    lsr     x2, x21, #30
    str     x1, [x23, x2, lsl #3]
    lsr     x2, x22, #30
    str     x1, [x23, x2, lsl #3]

    mov     x0, x24
    ldr     x1, ={MEMORY_BLOCK}
    and     x2, x21, #~((1 << 30) - 1)
    orr     x1, x1, x2
    mov     x2, #1 << 21
    mov     x3, #512
    bl      fill
    orr     x1, x25, #{TABLE}
    ubfx    x2, x21, #21, #9
    str     x1, [x24, x2, lsl #3]
    ubfx    x2, x22, #21, #9
    str     x1, [x24, x2, lsl #3]

    mov     x0, x25
    ldr     x1, ={TEXT_PAGE}
    orr     x1, x1, x21
    mov     x2, #1 << 12
    mov     x3, #:abs_g0:__text_pages
    bl      fill
    orr     x1, x1, #{PXN}
    mov     x3, #:abs_g0:__rodata_pages
    bl      fill
    and     x1, x1, #~{READ_ONLY}
    mov     x3, #:abs_g0:__writable_pages
    bl      fill
    mov     x2, #:abs_g0:__level2_page
    str     xzr, [x25, x2, lsl #3]
    mov     x2, #:abs_g0:__level3_page
    str     xzr, [x25, x2, lsl #3]

    // The tables were written past the caches: drop what those may hold of them.
    dmb     sy
    adrp    x1, __tables_end
1:  dc      ivac, x23
    add     x23, x23, #{CACHE_LINE}
    cmp     x23, x1
    b.lo    1b

    bl      enable_translation
    ldr     x0, =2f
    br      x0
2:  ldr     x0, =__bss_start
    ldr     x1, =__bss_end
3:  cmp     x0, x1
    b.hs    4f
    stp     xzr, xzr, [x0], #16
    b       3b
    // The initial values of statics lie below where they belong, or overlap that.
4:  ldr     x0, =__data_start
    ldr     x1, =__data_end
    ldr     x2, =__values_end
5:  cmp     x1, x0
    b.ls    6f
    ldp     x3, x4, [x2, #-16]!
    stp     x3, x4, [x1, #-16]!
    b       5b

6:  ldr     x0, =__exception_stack_top
    mov     sp, x0
    msr     spsel, #0
    ldr     x0, =__stack_top
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x19
    mov     x1, x20
    sub     x2, x21, x22
    bl      {start}

// x0 = first slot, x1 = first descriptor, x2 = bytes that each maps, x3 = how many.
fill:
    str     x1, [x0], #8
    add     x1, x1, x2
    subs    x3, x3, #1
    b.ne    fill
    ret

enable_translation:
    adrp    x0, __level1
    add     x0, x0, :lo12:__level1
    msr     ttbr0_el1, x0
    ldr     x0, ={MAIR}
    msr     mair_el1, x0
    ldr     x0, ={TCR}
    msr     tcr_el1, x0
    ldr     x0, ={vectors}
    msr     vbar_el1, x0
    mov     x0, #{CPACR_FP}
    msr     cpacr_el1, x0
    dsb     sy
    tlbi    vmalle1
    ic      iallu
    dsb     sy
    isb
    ldr     x0, ={SCTLR}
    msr     sctlr_el1, x0
    isb
    ret

// PSCI CPU_ON: x0 = the `Stacks` of this vCPU.
    .global secondary_entry
secondary_entry:
    mov     x19, x0
    bl      enable_translation
    ldr     x0, =5f
    br      x0
5:  ldp     x0, x1, [x19]
    mov     sp, x0
    msr     spsel, #0
    mov     sp, x1
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x19
    bl      {start_secondary}
    .ltorg
    "#,
    MEMORY_BLOCK = const descriptor::MEMORY_BLOCK,
    LOW_AGAIN = const (LOW_AGAIN >> 30) * 8,
    DEVICE_BLOCK = const descriptor::DEVICE_BLOCK,
    TEXT_PAGE = const descriptor::TEXT_PAGE,
    TABLE = const descriptor::TABLE,
    READ_ONLY = const descriptor::READ_ONLY,
    PXN = const descriptor::PRIVILEGED_NEVER_EXECUTE,
    MAIR = const MAIR,
    TCR = const TCR,
    SCTLR = const SCTLR,
    CPACR_FP = const CPACR_FP,
    CACHE_LINE = const CACHE_LINE,
    vectors = sym vectors::vectors,
    start = sym crate::start,
    start_secondary = sym crate::cpus::start_secondary,
);

/// Where the first GiB is seen as memory. What a domain is given at this address and above it cannot reach.
pub(crate) const LOW_AGAIN: usize = 63 << 30;

/// Bytes from the image's first that one level-3 table maps.
pub(crate) const IMAGE_WINDOW: usize = 2 << 20;

unsafe extern "C" {
    #[cfg(feature = "terse")]
    static __rodata_start: u8;
    static __image_end: u8;
    static __image_start: u8;
    static secondary_entry: u8;
}

/// The linked address of the image's first byte.
pub(crate) fn image_start() -> usize {
    &raw const __image_start as usize
}

/// The linked address of the first byte past the image, its stacks and its tables.
pub(crate) fn image_end() -> usize {
    &raw const __image_end as usize
}

/// The linked address at which PSCI is to start a vCPU.
pub(crate) fn secondary_start() -> usize {
    &raw const secondary_entry as usize
}

/// The linked addresses of the image's code.
#[cfg(feature = "terse")]
pub(crate) fn code() -> core::ops::Range<usize> {
    image_start()..&raw const __rodata_start as usize
}
