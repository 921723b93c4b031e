//! Memory that a back end keeps for what it cannot do without, whatever its guests ask for.

use alloc::vec::Vec;

/// Bytes that are left to all else when pages for data are made.
const RESERVE: usize = 256 << 10;

/// Whether there is so much memory that a page for guests' data may be made.
#[must_use]
pub fn is_there() -> bool {
    let mut reserve = Vec::<u8>::new();
    let is_there = reserve.try_reserve_exact(RESERVE).is_ok();
    // Else it would never be asked for: a compiler may leave out what is not used.
    core::hint::black_box(&reserve);
    is_there
}
