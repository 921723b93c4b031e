//! From the boot loader's jump to Rust: the arm64 Image header, relocation, the first stack, and
//! the same for CPUs that PSCI starts.
//!
//! The loader's contract is Linux's (`Documentation/arch/arm64/booting.rst`): EL2, MMU and data
//! cache off, the image clean to the point of coherency, x0 = physical address of the device tree.

use core::arch::global_asm;

use crate::{exceptions, image, mmu};

/// `CurrentEL` at EL2 (Arm ARM C5.2.1).
const CURRENT_EL2: u32 = 2 << 2;

global_asm!(
    r#"
    .section .text.header, "ax"
    .global image_header
image_header:
    b       primary_entry
    .long   0
    .quad   0                           // text_offset: at any 2 MiB boundary
    .quad   __image_size                // with .bss and the boot stack
    .quad   0xa                         // flags: little-endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

    .section .text.boot, "ax"
primary_entry:
    mrs     x1, CurrentEL
    cmp     x1, #{CURRENT_EL2}
    b.ne    park                        // nothing is known yet that could tell anyone
    msr     daifset, #0xf
    mov     x19, x0

    adr     x1, __bss_start
    adr     x2, __bss_end
1:  stp     xzr, xzr, [x1], #16
    cmp     x1, x2
    b.lo    1b

    // An even word is where one word is to be relocated, an odd one says which of the next 63 are.
    adr     x1, __relr_start
    adr     x2, __relr_end
    adr     x3, __image_start
2:  cmp     x1, x2
    b.hs    5f
    ldr     x4, [x1], #8
    mov     w7, #63
    tbnz    x4, #0, 3f
    add     x5, x4, x3
    mov     x4, #2
    mov     w7, #1
3:  lsr     x4, x4, #1
    tbz     x4, #0, 4f
    ldr     x6, [x5]
    add     x6, x6, x3
    str     x6, [x5]
4:  add     x5, x5, #8
    subs    w7, w7, #1
    b.ne    3b
    b       2b

5:  adr     x1, __boot_stack_top
    mov     sp, x1
    mov     x0, x19
    bl      {map_image}                 // builds the tables: MMU still off
    cbz     x0, park
    bl      enable_translation
    mov     x0, x19
    bl      {primary}
park:
    wfe
    b       park

// x0 = TCR_EL2. Leaves x19 alone.
enable_translation:
    ldr     x1, ={MAIR}
    adrp    x2, {tables}
    ldr     x3, ={SCTLR}
    msr     mair_el2, x1
    msr     tcr_el2, x0
    msr     ttbr0_el2, x2
    dsb     sy
    tlbi    alle2
    ic      iallu
    dsb     sy
    isb
    msr     sctlr_el2, x3
    isb
    ret

// PSCI CPU_ON: x0 = the SecondaryStart of this CPU.
    .global secondary_entry
secondary_entry:
    msr     daifset, #0xf
    mov     x19, x0
    ldp     x0, x1, [x19]
    mov     sp, x1
    bl      enable_translation
    ldr     x0, [x19, #16]
    bl      {secondary}
    b       park
    "#,
    CURRENT_EL2 = const CURRENT_EL2,
    MAIR = const mmu::MAIR,
    SCTLR = const mmu::SCTLR,
    tables = sym mmu::POOL,
    map_image = sym mmu::map_image,
    primary = sym primary,
    secondary = sym secondary,
);

/// What a CPU that PSCI starts needs before it can run Rust: read by `secondary_entry` with the MMU off.
#[repr(C)]
pub(crate) struct SecondaryStart {
    /// Its `TCR_EL2`.
    pub control: u64,
    /// Top of its stack.
    pub stack_top: usize,
    /// Its pCPU number.
    pub pcpu: usize,
}

unsafe extern "C" {
    /// Where PSCI starts a CPU.
    pub(crate) static secondary_entry: u8;
    /// Defined by [`crate::entry!`].
    safe fn hypervisor_main(device_tree: u64) -> !;
    /// Defined by [`crate::entry!`].
    safe fn hypervisor_secondary(pcpu: usize) -> !;
    /// Defined by [`crate::entry!`].
    pub(crate) safe fn hypervisor_fault(report: &exceptions::FaultReport) -> !;
}

/// Names the functions with which the hypervisor's binary begins and ends: `main(device_tree: u64) -> !` on
/// the boot CPU, given the physical address of the machine's device tree, `secondary(pcpu: usize) -> !`
/// on every other one, and `fault(&FaultReport) -> !` that tells of a fault in EL2.
#[macro_export]
macro_rules! entry {
    ($main:path, $secondary:path, $fault:path) => {
        #[allow(unsafe_code)]
        const _: () = {
            #[unsafe(no_mangle)]
            extern "C" fn hypervisor_main(device_tree: u64) -> ! {
                $main(device_tree)
            }
            #[unsafe(no_mangle)]
            extern "C" fn hypervisor_secondary(pcpu: usize) -> ! {
                $secondary(pcpu)
            }
            #[unsafe(no_mangle)]
            extern "C" fn hypervisor_fault(report: &$crate::exceptions::FaultReport) -> ! {
                $fault(report)
            }
        };
    };
}

extern "C" fn primary(device_tree: u64) -> ! {
    crate::cpu::init_this(0);
    crate::heap::init(image::heap());
    hypervisor_main(device_tree)
}

extern "C" fn secondary(pcpu: usize) -> ! {
    crate::cpu::init_this(pcpu);
    hypervisor_secondary(pcpu)
}

/// A copy of the flattened device tree at a physical address that the boot loader passed; `None` if there is none there.
pub fn boot_tree(address: u64) -> Option<alloc::vec::Vec<u8>> {
    let base = address as usize;
    let size = mmu::device_tree_size(base);
    // SAFETY: `map_image` mapped as many bytes as the tree says it has, in RAM that is not EL2's own.
    (size != 0).then(|| unsafe { core::slice::from_raw_parts(base as *const u8, size) }.into())
}
