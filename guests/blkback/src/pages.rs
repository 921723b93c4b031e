//! Pages of the backend's own, through which data passes.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use mote_protocols::blkif::SECTOR;
use mote_protocols::reserve;
use zerocopy::FromZeros;

use crate::Part;

/// A page.
#[derive(FromZeros)]
#[repr(C, align(4096))]
pub struct Page([u8; 4096]);

impl Page {
    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 4096] {
        &self.0
    }

    /// Its bytes, to be changed.
    #[must_use]
    pub const fn bytes_mut(&mut self) -> &mut [u8; 4096] {
        &mut self.0
    }
}

/// A page of which some sectors are used, the same ones as of the page of the guest's that it stands for.
pub struct Buffer {
    page: Box<Page>,
    // In the page: a `Part` promises it.
    used: Range<usize>,
}

impl Buffer {
    fn new(page: Box<Page>, part: &Part) -> Self {
        Self { page, used: part.range() }
    }

    /// One with a page of its own, if there is memory.
    pub(crate) fn make(part: &Part) -> Option<Self> {
        Some(Self::new(Page::new_box_zeroed().ok()?, part))
    }

    /// The sectors that are used.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.page.0.get(self.used.clone()).unwrap_or_default()
    }

    /// The sectors that are used, to be changed.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.page.0.get_mut(self.used.clone()).unwrap_or_default()
    }

    /// How many they are.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        (self.used.len() / SECTOR) as u64
    }
}

/// Pages that wait to be used again; what is in them is old.
pub(crate) struct Pool {
    free: Vec<Box<Page>>,
    /// How many there may still be.
    unmade: usize,
}

impl Pool {
    /// None yet, and never more than `limit`.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { free: Vec::new(), unmade: limit }
    }

    /// A buffer for each of `parts`, or none at all if there are too few pages just now.
    pub(crate) fn take(&mut self, parts: &[Part]) -> Option<Vec<Buffer>> {
        while self.free.len() < parts.len() {
            self.unmade = self.unmade.checked_sub(1)?;
            let page = if reserve::is_there() { Page::new_box_zeroed().ok() } else { None };
            let Some(page) = page else {
                self.unmade += 1;
                return None;
            };
            self.free.push(page);
        }
        let rest = self.free.len() - parts.len();
        Some(self.free.drain(rest..).zip(parts).map(|(page, part)| Buffer::new(page, part)).collect())
    }

    /// Takes buffers back.
    pub(crate) fn give(&mut self, buffers: Vec<Buffer>) {
        self.free.extend(buffers.into_iter().map(|buffer| buffer.page));
    }
}
