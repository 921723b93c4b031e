//! An Ethernet frame on its way, in pages of the backend's own.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use crate::Page;
use crate::pool::{PAGE, Pool};

/// Bytes in front of the frame in its first page: a device's header fits there, and what follows Ethernet's is aligned no worse than the page.
pub const HEADROOM: usize = 16;

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

/// A frame. Its fields are private because the pages are as many as the length needs.
pub struct Frame {
    first: Box<Page>,
    rest: Vec<Box<Page>>,
    len: usize,
    /// Its checksum.
    pub checksum: Checksum,
    /// If it is to be cut into segments, bytes of TCP's data in each; else 0.
    pub segment: u16,
}

/// How many pages a frame of `len` bytes needs.
pub(crate) const fn pages(len: usize) -> usize {
    (len + HEADROOM).div_ceil(PAGE)
}

impl Frame {
    /// A frame of `len` bytes, for which [`Frame::add`] must add pages if one is too small.
    pub(crate) const fn new(first: Box<Page>, len: usize) -> Self {
        Self { first, rest: Vec::new(), len, checksum: Checksum::Unknown, segment: 0 }
    }

    /// A frame of `len` bytes that a device has put behind the headroom of `page`. If it does not fit there, it is cut.
    #[must_use]
    pub fn received(page: Box<Page>, len: usize) -> Self {
        Self::new(page, len.min(PAGE - HEADROOM))
    }

    pub(crate) fn add(&mut self, page: Box<Page>) {
        self.rest.push(page);
    }

    /// Its pages.
    #[must_use]
    pub fn into_pages(self) -> (Box<Page>, Vec<Box<Page>>) {
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

    /// What of it is in its first page: at least all headers that matter here.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        let end = HEADROOM + self.len;
        self.first.bytes().get(HEADROOM..end.min(PAGE)).unwrap_or_default()
    }

    /// The same, to be changed.
    #[must_use]
    pub fn head_mut(&mut self) -> &mut [u8] {
        let end = HEADROOM + self.len;
        self.first.bytes_mut().get_mut(HEADROOM..end.min(PAGE)).unwrap_or_default()
    }

    /// The headroom.
    #[must_use]
    pub fn headroom_mut(&mut self) -> &mut [u8] {
        self.first.bytes_mut().get_mut(..HEADROOM).unwrap_or_default()
    }

    /// Its bytes from `start` on, page by page. With `headroom` bytes of what is before it, if `start` is 0.
    pub fn bytes_from(&self, start: usize, headroom: usize) -> impl Iterator<Item = &[u8]> {
        let mut position = HEADROOM + start - headroom.min(HEADROOM);
        let end = HEADROOM + self.len;
        core::iter::from_fn(move || {
            let page = match position / PAGE {
                0 => &self.first,
                number => self.rest.get(number - 1)?,
            };
            let (begin, stop) = (position % PAGE, PAGE.min(end - position / PAGE * PAGE));
            let bytes = page.bytes().get(begin..stop)?;
            position += bytes.len();
            (!bytes.is_empty()).then_some(bytes)
        })
    }

    /// For writing it from its beginning to its end.
    pub(crate) fn writer(&mut self) -> Writer<'_> {
        let here = self.first.bytes_mut().get_mut(HEADROOM..).unwrap_or_default();
        Writer { here, rest: self.rest.iter_mut() }
    }

    /// For reading it from byte `start` on.
    pub(crate) fn reader(&self, start: usize) -> Reader<'_> {
        let first = self.first.bytes().get(HEADROOM..).unwrap_or_default();
        let mut reader = Reader { here: first, rest: self.rest.iter(), left: self.len };
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

/// Room of a frame that was not written yet.
#[derive(Default)]
pub(crate) struct Writer<'a> {
    here: &'a mut [u8],
    rest: core::slice::IterMut<'a, Box<Page>>,
}

impl<'a> Writer<'a> {
    /// The next bytes, which lie in one page: `wanted` or fewer, and none at the end.
    pub(crate) fn take(&mut self, wanted: usize) -> &'a mut [u8] {
        if self.here.is_empty()
            && let Some(page) = self.rest.next()
        {
            self.here = page.bytes_mut();
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
    rest: core::slice::Iter<'a, Box<Page>>,
    left: usize,
}

impl<'a> Reader<'a> {
    /// The next bytes, which lie in one page: `wanted` or fewer, and none at the end.
    pub(crate) fn take(&mut self, wanted: usize) -> &'a [u8] {
        if self.here.is_empty()
            && let Some(page) = self.rest.next()
        {
            self.here = page.bytes();
        }
        let here = mem::take(&mut self.here);
        let (taken, here) = here.split_at(wanted.min(self.left).min(here.len()));
        self.here = here;
        self.left -= taken.len();
        taken
    }
}
