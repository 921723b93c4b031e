//! An Ethernet frame on its way, in pages of the backend's own.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use crate::Page;
use crate::pool::{PAGE, Pool};

/// Bytes in front of the frame in its first page: a device's header fits there, and what follows Ethernet's is aligned no worse than the page.
pub const HEADROOM: usize = 16;
/// Bytes of a frame that fit into its first page.
pub(crate) const FIRST_MAX: usize = PAGE - HEADROOM;

/// What is known of a frame's TCP or UDP checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// It is there, right or wrong.
    #[default]
    Unknown,
    /// It is there and right.
    Valid,
    /// It is missing; where it belongs stands the pseudo-header's sum.
    Blank,
}

/// A part of a frame: the beginning of a page.
pub(crate) struct Fragment {
    pub(crate) page: Box<Page>,
    len: usize,
}

/// A frame. Its fields are private because the fragments' lengths fit into their pages and come to that of the frame.
pub struct Frame {
    first: Box<Page>,
    first_len: usize,
    rest: Vec<Fragment>,
    len: usize,
    /// Its checksum.
    pub checksum: Checksum,
    /// If it is to be cut into segments, bytes of TCP's data in each; else 0.
    pub segment: u16,
}

impl Frame {
    /// A frame that a device has put behind the headroom of `page`. What of `len` bytes does not fit there is cut.
    #[must_use]
    pub fn received(page: Box<Page>, len: usize) -> Self {
        let len = len.min(FIRST_MAX);
        Self { first: page, first_len: len, rest: Vec::new(), len, checksum: Checksum::Unknown, segment: 0 }
    }

    /// Makes it longer by up to `len` bytes in a page of their own.
    pub(crate) fn add(&mut self, page: Box<Page>, len: usize) {
        let len = len.min(PAGE);
        self.len += len;
        self.rest.push(Fragment { page, len });
    }

    /// Its pages.
    pub fn into_pages(self) -> impl Iterator<Item = Box<Page>> {
        core::iter::once(self.first).chain(self.rest.into_iter().map(|fragment| fragment.page))
    }

    pub(crate) fn into_parts(self) -> (Box<Page>, Vec<Fragment>) {
        (self.first, self.rest)
    }

    /// Its length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "no frame is empty")]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// How many pages it has.
    #[must_use]
    pub const fn pages(&self) -> usize {
        1 + self.rest.len()
    }

    /// The lengths of its parts, each in a page.
    pub(crate) fn fragments(&self) -> impl Iterator<Item = usize> {
        core::iter::once(self.first_len).chain(self.rest.iter().map(|fragment| fragment.len))
    }

    /// What of it is in its first page: at least all headers that matter here.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        self.first.bytes().get(HEADROOM..HEADROOM + self.first_len).unwrap_or_default()
    }

    /// The same, to be changed.
    #[must_use]
    pub fn head_mut(&mut self) -> &mut [u8] {
        self.first.bytes_mut().get_mut(HEADROOM..HEADROOM + self.first_len).unwrap_or_default()
    }

    /// The headroom.
    #[must_use]
    pub fn headroom_mut(&mut self) -> &mut [u8] {
        self.first.bytes_mut().get_mut(..HEADROOM).unwrap_or_default()
    }

    /// Its parts, the first one with the last `headroom` bytes of the headroom before it.
    pub fn parts(&self, headroom: usize) -> impl Iterator<Item = &[u8]> {
        let start = HEADROOM.saturating_sub(headroom);
        let first = self.first.bytes().get(start..HEADROOM + self.first_len).unwrap_or_default();
        core::iter::once(first).chain(self.rest.iter().map(Fragment::bytes))
    }

    /// For writing it from its beginning to its end.
    pub(crate) fn writer(&mut self) -> Writer<'_> {
        let here = self.first.bytes_mut().get_mut(HEADROOM..HEADROOM + self.first_len).unwrap_or_default();
        Writer { here, rest: self.rest.iter_mut() }
    }

    /// For reading it from byte `start` on.
    pub(crate) fn reader(&self, start: usize) -> Reader<'_> {
        let mut reader = Reader { here: self.head(), rest: self.rest.iter() };
        let mut skip = start;
        while skip > 0 {
            let skipped = reader.take(skip).len();
            if skipped == 0 {
                break;
            }
            skip -= skipped;
        }
        reader
    }

    /// The same once more, if there are pages for it.
    pub(crate) fn duplicate(&self, pool: &mut Pool) -> Option<Self> {
        let mut copy = pool.frame(self.len)?;
        (copy.checksum, copy.segment) = (self.checksum, self.segment);
        copy.writer().write(&mut self.reader(0), self.len);
        Some(copy)
    }
}

impl Fragment {
    fn bytes(&self) -> &[u8] {
        self.page.bytes().get(..self.len).unwrap_or_default()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.page.bytes_mut().get_mut(..self.len).unwrap_or_default()
    }
}

/// Room of a frame that was not written yet.
#[derive(Default)]
pub(crate) struct Writer<'a> {
    here: &'a mut [u8],
    rest: core::slice::IterMut<'a, Fragment>,
}

impl<'a> Writer<'a> {
    /// The next bytes, which lie in one page: `wanted` or fewer, and none at the end.
    pub(crate) fn take(&mut self, wanted: usize) -> &'a mut [u8] {
        if self.here.is_empty()
            && let Some(fragment) = self.rest.next()
        {
            self.here = fragment.bytes_mut();
        }
        let here = mem::take(&mut self.here);
        let len = wanted.min(here.len());
        let (taken, here) = here.split_at_mut(len);
        self.here = here;
        taken
    }

    /// Copies the next `len` bytes from `reader`.
    pub(crate) fn write(&mut self, reader: &mut Reader<'_>, len: usize) {
        let mut left = len;
        while left > 0 {
            let from = reader.take(left);
            left -= from.len();
            if from.is_empty() || !self.put(from) {
                return;
            }
        }
    }

    /// Copies `bytes`. False if they do not fit.
    pub(crate) fn put(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let to = self.take(bytes.len());
            let Some((now, later)) = bytes.split_at_checked(to.len()).filter(|_| !to.is_empty()) else { return false };
            to.copy_from_slice(now);
            bytes = later;
        }
        true
    }
}

/// What of a frame was not read yet.
#[derive(Default)]
pub(crate) struct Reader<'a> {
    here: &'a [u8],
    rest: core::slice::Iter<'a, Fragment>,
}

impl<'a> Reader<'a> {
    /// The next bytes, which lie in one page: `wanted` or fewer, and none at the end.
    pub(crate) fn take(&mut self, wanted: usize) -> &'a [u8] {
        if self.here.is_empty()
            && let Some(fragment) = self.rest.next()
        {
            self.here = fragment.bytes();
        }
        let here = mem::take(&mut self.here);
        let (taken, here) = here.split_at(wanted.min(here.len()));
        self.here = here;
        taken
    }
}
