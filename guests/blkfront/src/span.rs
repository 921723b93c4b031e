//! How much is moved by one request.

use core::ops::Range;

use mote_protocols::blkif::{SECTOR, SECTORS_PER_PAGE, SEGMENTS};

/// Part of a transfer: what one request moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first sector.
    pub sector: u64,
    /// Where its data is in the caller's memory, in bytes.
    pub bytes: Range<usize>,
}

impl Span {
    /// How many pages its data takes.
    #[must_use]
    pub const fn pages(&self) -> usize {
        (self.bytes.end - self.bytes.start).div_ceil(SECTOR * SECTORS_PER_PAGE as usize)
    }
}

/// Cuts a transfer of `len` bytes from `sector` on into requests of at most `pages` pages each.
pub fn spans(sector: u64, len: usize, pages: usize) -> impl Iterator<Item = Span> {
    let most = pages.clamp(1, SEGMENTS) * SECTOR * usize::from(SECTORS_PER_PAGE);
    (0..len.div_ceil(most)).map(move |number| {
        let start = number * most;
        Span { sector: sector.saturating_add((start / SECTOR) as u64), bytes: start..len.min(start + most) }
    })
}
