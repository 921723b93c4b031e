//! The functions on memory that the compiler calls, for machines whose memory takes accesses at any address: the ones that come with it go byte by
//! byte where something is not aligned, and half of what a network does is to copy.
//!
//! Up to 32 bytes everything is loaded before anything is stored, beyond that the end that might be overwritten is: so what overlaps is moved
//! rightly, and one function does for both. The last part overlaps the one before instead of being shorter.

use core::arch::naked_asm;

/// Moves `length` bytes; the two places may overlap. Also `memcpy`.
///
/// # Safety
///
/// As C has it: that many bytes at both places.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    naked_asm!(
        "add     x4, x1, x2",
        "add     x5, x0, x2",
        "cmp     x2, #16",
        "b.lo    3f",
        "cmp     x2, #32",
        "b.hi    2f",
        "ldr     q0, [x1]",
        "ldr     q1, [x4, #-16]",
        "str     q0, [x0]",
        "str     q1, [x5, #-16]",
        "ret",
        // More than 32: backwards if the destination begins inside the source.
        "2: sub  x6, x0, x1",
        "cmp     x6, x2",
        "b.lo    5f",
        "ldp     q2, q3, [x4, #-32]",
        "sub     x4, x4, #32",
        "mov     x3, x0",
        "4: ldp  q0, q1, [x1], #32",
        "stp     q0, q1, [x3], #32",
        "cmp     x1, x4",
        "b.lo    4b",
        "stp     q2, q3, [x5, #-32]",
        "ret",
        "5: ldp  q2, q3, [x1]",
        "add     x1, x1, #32",
        "6: ldp  q0, q1, [x4, #-32]!",
        "stp     q0, q1, [x5, #-32]!",
        "cmp     x4, x1",
        "b.hi    6b",
        "stp     q2, q3, [x0]",
        "ret",
        // Less than 16.
        "3: tbz  x2, #3, 7f",
        "ldr     x6, [x1]",
        "ldr     x7, [x4, #-8]",
        "str     x6, [x0]",
        "str     x7, [x5, #-8]",
        "ret",
        "7: tbz  x2, #2, 8f",
        "ldr     w6, [x1]",
        "ldr     w7, [x4, #-4]",
        "str     w6, [x0]",
        "str     w7, [x5, #-4]",
        "ret",
        "8: cbz  x2, 9f",
        // One to three: the first, the middle and the last.
        "lsr     x3, x2, #1",
        "ldrb    w6, [x1]",
        "ldrb    w7, [x1, x3]",
        "ldrb    w8, [x4, #-1]",
        "strb    w6, [x0]",
        "strb    w7, [x0, x3]",
        "strb    w8, [x5, #-1]",
        "9: ret",
    )
}

/// See [`memmove`].
///
/// # Safety
///
/// As there.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    naked_asm!("b {}", sym memmove)
}

/// Sets `length` bytes to the low byte of `value`.
///
/// # Safety
///
/// As C has it: that many bytes are there.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, length: usize) -> *mut u8 {
    naked_asm!(
        "dup     v0.16b, w1",
        "add     x5, x0, x2",
        "cmp     x2, #16",
        "b.lo    3f",
        "cmp     x2, #32",
        "b.hi    2f",
        "str     q0, [x0]",
        "str     q0, [x5, #-16]",
        "ret",
        "2: sub  x6, x5, #32",
        "mov     x3, x0",
        "4: stp  q0, q0, [x3], #32",
        "cmp     x3, x6",
        "b.lo    4b",
        "stp     q0, q0, [x6]",
        "ret",
        "3: fmov x6, d0",
        "tbz     x2, #3, 7f",
        "str     x6, [x0]",
        "str     x6, [x5, #-8]",
        "ret",
        "7: tbz  x2, #2, 8f",
        "str     w6, [x0]",
        "str     w6, [x5, #-4]",
        "ret",
        "8: cbz  x2, 9f",
        "lsr     x3, x2, #1",
        "strb    w6, [x0]",
        "strb    w6, [x0, x3]",
        "strb    w6, [x5, #-1]",
        "9: ret",
    )
}

/// Compares `length` bytes as numbers without sign, the first that differ decide. Also `bcmp`.
///
/// # Safety
///
/// As C has it: that many bytes at both places.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, length: usize) -> i32 {
    naked_asm!(
        "subs    x2, x2, #8",
        "b.lo    3f",
        "2: ldr  x3, [x0], #8",
        "ldr     x4, [x1], #8",
        "cmp     x3, x4",
        "b.ne    4f",
        "subs    x2, x2, #8",
        "b.hs    2b",
        "cmn     x2, #8",
        "b.eq    5f",
        // The last eight, some of which were equal already.
        "ldr     x3, [x0, x2]",
        "ldr     x4, [x1, x2]",
        "cmp     x3, x4",
        "b.eq    5f",
        "4: rev  x3, x3",
        "rev     x4, x4",
        "cmp     x3, x4",
        "cset    w0, hi",
        "csinv   w0, w0, wzr, hs",
        "ret",
        "5: mov  w0, #0",
        "ret",
        // Less than 8: what is left of x2 has its three low bits as they were.
        "3: tbz  x2, #2, 6f",
        "ldr     w3, [x0], #4",
        "ldr     w4, [x1], #4",
        "cmp     w3, w4",
        "b.ne    4b",
        "6: tbz  x2, #1, 7f",
        "ldrh    w3, [x0], #2",
        "ldrh    w4, [x1], #2",
        "cmp     w3, w4",
        "b.ne    4b",
        "7: tbz  x2, #0, 5b",
        "ldrb    w3, [x0]",
        "ldrb    w4, [x1]",
        "sub     w0, w3, w4",
        "ret",
    )
}

/// Whether `length` bytes differ.
///
/// # Safety
///
/// As C has it: that many bytes at both places.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, length: usize) -> i32 {
    naked_asm!("b {}", sym memcmp)
}
