//! Pages of the backend's own, through which frames pass.

use alloc::boxed::Box;
use alloc::vec::Vec;

use mote_protocols::reserve;
use zerocopy::FromZeros;

use crate::Frame;
use crate::frame::FIRST_MAX;
use crate::queue::Scratch;

/// Bytes in a page.
pub(crate) const PAGE: usize = 4096;

/// Pages that no backlog may have, so that a batch of frames always finds room.
const RESERVE: usize = 64;

/// A page.
#[derive(FromZeros)]
#[repr(C, align(4096))]
pub struct Page([u8; PAGE]);

impl Page {
    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; PAGE] {
        &self.0
    }

    /// Its bytes, to be changed.
    #[must_use]
    pub const fn bytes_mut(&mut self) -> &mut [u8; PAGE] {
        &mut self.0
    }
}

/// Pages that wait to be used again; what is in them is old, so no byte leaves that was not written since.
pub struct Pool {
    free: Vec<Box<Page>>,
    /// How many there may still be.
    unmade: usize,
    /// For the queue that has its turn.
    pub(crate) scratch: Scratch,
}

impl Pool {
    /// None yet, and never more than `limit`.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { free: Vec::new(), unmade: limit, scratch: Scratch::default() }
    }

    /// A page, if one is left.
    pub fn page(&mut self) -> Option<Box<Page>> {
        if let Some(page) = self.free.pop() {
            return Some(page);
        }
        self.unmade = self.unmade.checked_sub(1)?;
        let page = if reserve::is_there() { Page::new_box_zeroed().ok() } else { None };
        self.unmade += usize::from(page.is_none());
        page
    }

    /// A frame of `len` bytes, which have yet to be written, in as few pages as can be, if there are so many.
    pub fn frame(&mut self, len: usize) -> Option<Frame> {
        let first = len.min(FIRST_MAX);
        let rest = (first..len).step_by(PAGE).map(|start| PAGE.min(len - start));
        self.frame_of(first, rest)
    }

    /// A frame whose first page has `first` bytes, and one page more for each of `rest`.
    pub(crate) fn frame_of(&mut self, first: usize, rest: impl Iterator<Item = usize>) -> Option<Frame> {
        let mut frame = Frame::received(self.page()?, first);
        for len in rest {
            let Some(page) = self.page() else {
                self.give(frame);
                return None;
            };
            frame.add(page, len);
        }
        Some(frame)
    }

    /// Takes a frame's pages back.
    pub fn give(&mut self, frame: Frame) {
        let (first, rest) = frame.into_parts();
        self.free.push(first);
        self.free.extend(rest.into_iter().map(|fragment| fragment.page));
    }

    /// Takes a page back.
    pub fn give_page(&mut self, page: Box<Page>) {
        self.free.push(page);
    }

    /// How many pages are left.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.free.len() + self.unmade
    }

    /// Whether somebody for whom frames of `waiting` pages wait may have one of `more` pages. The fewer are left, the less may wait for
    /// each: however many there are for whom frames wait, others find some.
    #[must_use]
    pub const fn may_wait(&self, waiting: usize, more: usize) -> bool {
        waiting + more + RESERVE <= self.left()
    }
}
