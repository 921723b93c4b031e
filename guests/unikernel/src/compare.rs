//! Comparing memory: `memcmp` and `bcmp` by 8 bytes at a time, in place of the compiler's own, which take a byte at a time. What looks
//! things up by name, as xenstore does, spends most of its time there.

use core::arch::global_asm;

// Loads need not be aligned: translation is on and alignment is not checked (SCTLR_EL1.A) when the first Rust runs, and what Rust compares
// is normal memory. Both read exactly the bytes that they are given. Of two words the first byte that differs decides, which is the highest
// one when they are reversed.
global_asm!(
    ".pushsection .text.memcmp, \"ax\"",
    ".global memcmp",
    ".global bcmp",
    "memcmp:",
    "bcmp:",
    "subs x2, x2, #8",
    "b.lo 2f",
    "1: ldr x3, [x0], #8",
    "ldr x4, [x1], #8",
    "cmp x3, x4",
    "b.ne 5f",
    "subs x2, x2, #8",
    "b.hs 1b",
    "2: adds x2, x2, #8",
    "b.eq 4f",
    "3: ldrb w3, [x0], #1",
    "ldrb w4, [x1], #1",
    "subs w3, w3, w4",
    "b.ne 6f",
    "subs x2, x2, #1",
    "b.ne 3b",
    "4: mov w0, #0",
    "ret",
    "5: rev x3, x3",
    "rev x4, x4",
    "cmp x3, x4",
    "cset w0, hi",
    "csinv w0, w0, wzr, hs",
    "ret",
    "6: mov w0, w3",
    "ret",
    ".popsection",
);
