//! The measured instructions. All `unsafe` of the benchmark is here, because what a lean guest pays is not seen through
//! a compiler's or the library's own instructions.

use core::arch::{asm, global_asm};
use core::ops::Range;

/// GICD_TYPER's offset in the distributor (GICv3 specification, 12.9.38).
const GICD_TYPER: usize = 4;
/// PSCI_VERSION (PSCI 1.1, 5.1.1).
const PSCI_VERSION: u32 = 0x8400_0000;
/// How far ahead of now the timer is set, in ticks: enough to be waiting when it fires.
const AHEAD: u64 = 5000;

// The leanest handler there is: acknowledge, silence the timer, end, note the time. It uses x9 to x11 and is on duty
// only while `with_handler` runs, whose assembly expects that. An SGI's handler has no timer to silence,
// yet one more instruction is a fair price for one handler.
global_asm!(
    r#"
    .section .text.bench_vectors, "ax"
    .balign 0x800
bench_vectors:
    b       .
    .balign 0x80
    mrs     x9, icc_iar1_el1
    msr     cntv_ctl_el0, xzr
    msr     icc_eoir1_el1, x9
    mrs     x10, cntvct_el0
    mov     x11, #1
    eret
    .balign 0x800
    "#
);

/// One HVC that the hypervisor answers at once.
pub fn psci_version() -> u64 {
    let (before, after): (u64, u64);
    // SAFETY: PSCI_VERSION changes no more than the registers that are declared.
    unsafe {
        asm!(
            "mrs {before}, cntvct_el0",
            "mov w0, {version}",
            "hvc #0",
            "mrs {after}, cntvct_el0",
            version = const PSCI_VERSION,
            before = out(reg) before, after = out(reg) after,
            out("x0") _, out("x1") _, out("x2") _, out("x3") _,
            options(nostack),
        );
    }
    after - before
}

/// One read of an emulated register, given the distributor's range.
pub fn gicd_typer(distributor: &Range<usize>) -> u64 {
    let (before, after): (u64, u64);
    // SAFETY: reads a register of the distributor, to no effect.
    unsafe {
        asm!(
            "mrs {before}, cntvct_el0",
            "ldr {value:w}, [{register}]",
            "mrs {after}, cntvct_el0",
            register = in(reg) distributor.start + GICD_TYPER,
            value = out(reg) _,
            before = out(reg) before, after = out(reg) after,
            options(nostack),
        );
    }
    after - before
}

/// From the write that sends `sgi` to this vCPU until its handler has ended it.
pub fn self_sgi(sgi: u32) -> u64 {
    // ICC_SGI1R_EL1: the interrupt, and this cluster's CPU 0 as target.
    let request = u64::from(sgi) << 24 | 1;
    let (before, after): (u64, u64);
    // SAFETY: the handler on duty changes the registers that are declared, and no memory.
    unsafe {
        asm!(
            "mrs x12, vbar_el1",
            "adr x9, bench_vectors",
            "msr vbar_el1, x9",
            "mov x11, xzr",
            "isb",
            "mrs {before}, cntvct_el0",
            "msr icc_sgi1r_el1, {request}",
            "2: cbz x11, 2b",
            "msr vbar_el1, x12",
            "isb",
            request = in(reg) request,
            before = out(reg) before,
            out("x9") _, out("x10") after, out("x11") _, out("x12") _,
            options(nostack),
        );
    }
    after - before
}

/// From the moment at which the virtual timer's condition is met until its handler has ended the interrupt.
pub fn virtual_timer() -> u64 {
    let (due, after): (u64, u64);
    // SAFETY: the handler on duty changes the registers that are declared, and no memory.
    unsafe {
        asm!(
            "mrs x12, vbar_el1",
            "adr x9, bench_vectors",
            "msr vbar_el1, x9",
            "mov x11, xzr",
            "isb",
            "mrs {due}, cntvct_el0",
            "add {due}, {due}, {ahead}",
            "msr cntv_cval_el0, {due}",
            "mov x9, #1",
            "msr cntv_ctl_el0, x9",
            "2: cbz x11, 2b",
            "msr vbar_el1, x12",
            "isb",
            ahead = in(reg) AHEAD,
            due = out(reg) due,
            out("x9") _, out("x10") after, out("x11") _, out("x12") _,
            options(nostack),
        );
    }
    after - due
}

/// One of Xen's hypercalls, and what it answers. For those whose effect on memory the caller's types allow for.
pub fn timed_hypercall(number: u64, arguments: [u64; 5]) -> (u64, u64) {
    let (before, after, answer): (u64, u64, u64);
    // SAFETY: the registers that a hypercall may change are declared, and it may read and write memory.
    unsafe {
        asm!(
            "mrs {before}, cntvct_el0",
            "hvc #0xea1",
            "mrs {after}, cntvct_el0",
            before = out(reg) before, after = out(reg) after,
            inout("x16") number => _,
            inout("x0") arguments[0] => answer, inout("x1") arguments[1] => _,
            inout("x2") arguments[2] => _, inout("x3") arguments[3] => _, inout("x4") arguments[4] => _,
            options(nostack),
        );
    }
    (answer, after - before)
}
