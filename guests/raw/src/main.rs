//! A guest without a library, a device tree or a translation table: all it knows is Xen's memory map.
//!
//! It says so on the console, reads both parts of the GIC, takes an interrupt that it sends itself and asks PSCI to be
//! switched off. It is there to be named as a file, like any image from elsewhere.

#![no_std]
#![no_main]

use core::arch::global_asm;
use core::panic::PanicInfo;

use xen_abi::arch_arm::{GICV3_DISTRIBUTOR, GICV3_REDISTRIBUTORS, VPL011};

/// PSCI SYSTEM_OFF (PSCI 1.1, 5.1.9).
const SYSTEM_OFF: u32 = 0x8400_0008;
/// The redistributor's frame for SGIs and PPIs (GICv3 specification, 12.10).
const SGI_FRAME: u64 = GICV3_REDISTRIBUTORS.base + 0x1_0000;

global_asm!(
    r#"
    .section .text.header, "ax"
    .global image_header
image_header:
    b       start
    .long   0
    .quad   0                           // text_offset
    .quad   image_size
    .quad   0xa                         // flags: little-endian, 4 KiB pages, anywhere in memory
    .quad   0
    .quad   0
    .quad   0
    .ascii  "ARM\x64"
    .long   0

begins: .asciz  "raw: begins\n"
ends:   .asciz  "raw: ok\n"
bad:    .asciz  "raw: an exception, or a register that reads as nothing\n"

    .balign 0x800
vectors:
    .rept   16
    .balign 0x80
    b       failed
    .endr

    // Current EL with SP_EL1, IRQ: acknowledge and end.
    .balign 0x800
sgi_vectors:
    .rept   5
    .balign 0x80
    b       failed
    .endr
    .balign 0x80
    mrs     x9, icc_iar1_el1
    msr     icc_eoir1_el1, x9
    eret

start:
    adr     x0, vectors
    msr     vbar_el1, x0
    isb
    adr     x1, begins
    bl      print

    ldr     x0, ={DISTRIBUTOR}
    ldr     w1, [x0, #0x4]              // GICD_TYPER
    cbz     w1, failed
    mov     w1, #0x12                   // GICD_CTLR: affinity routing, group 1
    str     w1, [x0]
    ldr     x0, ={REDISTRIBUTOR}
    ldr     x1, [x0, #0x8]              // GICR_TYPER
    tbz     x1, #4, failed              // this is the last, as there is one vCPU
    str     wzr, [x0, #0x14]            // GICR_WAKER
    ldr     x0, ={SGI_FRAME}
    mov     w1, #-1
    str     w1, [x0, #0x80]             // GICR_IGROUPR0
    mov     w1, #1 << 1
    str     w1, [x0, #0x100]            // GICR_ISENABLER0

    adr     x0, sgi_vectors
    msr     vbar_el1, x0
    mov     x0, #0xff
    msr     icc_pmr_el1, x0
    mov     x0, #1
    msr     icc_igrpen1_el1, x0
    isb
    mov     x9, #1023                   // no interrupt
    msr     daifclr, #2
    ldr     x0, =0x01000001             // SGI 1 to vCPU 0
    msr     icc_sgi1r_el1, x0
1:  cmp     x9, #1
    b.ne    1b

    adr     x1, ends
    bl      print
    b       off

failed:
    adr     x1, bad
    bl      print
off:
    ldr     w0, ={SYSTEM_OFF}
    hvc     #0
    b       .

print:
    ldr     x2, ={UART}
2:  ldrb    w3, [x1], #1
    cbz     w3, 3f
    str     w3, [x2]
    b       2b
3:  ret
    .ltorg
    "#,
    DISTRIBUTOR = const GICV3_DISTRIBUTOR.base,
    REDISTRIBUTOR = const GICV3_REDISTRIBUTORS.base,
    SGI_FRAME = const SGI_FRAME,
    UART = const VPL011.base,
    SYSTEM_OFF = const SYSTEM_OFF,
);

/// Nothing here can panic, yet a program without the standard library must say what it would do.
#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    loop {}
}
