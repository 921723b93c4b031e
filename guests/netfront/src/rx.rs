//! Packets on their way in: pages that the back end fills, and the ring on which it says how.

use crate::ring::{Front, LENGTH};
use crate::wire::{EXTRA_MORE, RX_CHECKSUM_BLANK, RX_DATA_VALIDATED, RX_EXTRA_INFO, RX_MORE_DATA};
use crate::{Fault, PAGE, Page};

/// Part of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// In which page of the pool.
    pub page: usize,
    /// Where in the page.
    pub offset: usize,
    /// Bytes. With `offset` no more than a page.
    pub length: usize,
    /// It begins a packet. Of one that was begun and did not end, nothing more comes.
    pub first: bool,
    /// It ends the packet.
    pub last: bool,
    /// The packet's checksum need not be looked at. Said with the first fragment.
    pub trusted: bool,
    /// The back end could not deliver the packet: there is nothing to be had of it.
    pub failed: bool,
}

/// What the next response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    First,
    /// An extra, and whether a fragment follows.
    Extra(bool),
    More,
}

/// The receiving end.
#[derive(Debug)]
pub struct Receiver {
    ring: Front<2>,
    /// The page that was asked to be filled in each slot. The answer comes in the same slot.
    slots: [u8; LENGTH as usize],
    next: Next,
    pages: usize,
}

impl Receiver {
    /// A receiver that has all of its `pages` filled, of which there may be 256; `reference` knows the grant of each.
    #[must_use]
    pub fn new(ring: &Page, pages: usize, reference: impl Fn(usize) -> u32) -> Self {
        let pages = pages.min(LENGTH as usize);
        let mut receiver = Self { ring: Front::new(ring), slots: [0; LENGTH as usize], next: Next::First, pages };
        for page in 0..pages {
            receiver.give(ring, page, reference(page));
        }
        receiver
    }

    /// Has `page` filled (again).
    pub fn give(&mut self, ring: &Page, page: usize, reference: u32) {
        if page >= self.pages {
            return;
        }
        if let Some(slot) = self.slots.get_mut(self.ring.next_slot() as usize) {
            *slot = page as u8;
        }
        self.ring.push(ring, [page as u32, reference]);
    }

    /// Lets the back end see which pages it may fill, and says whether it wants an event.
    pub fn publish(&mut self, ring: &Page) -> bool {
        self.ring.publish(ring)
    }

    /// The next fragment. Its page must be given back. An extra's page is given back here.
    ///
    /// # Errors
    /// The back end answers what was not asked, or what cannot be.
    pub fn next(&mut self, ring: &Page, reference: impl Fn(usize) -> u32) -> Result<Option<Fragment>, Fault> {
        for _ in 0..self.ring.waiting(ring)? {
            let slot = self.ring.next_response() as usize;
            let page = usize::from(self.slots.get(slot).copied().unwrap_or_default());
            let [low, high] = self.ring.pop(ring);
            match self.next {
                Next::Extra(more_data) => {
                    self.next = after_extra(low, more_data);
                    self.give(ring, page, reference(page));
                }
                Next::First | Next::More => return self.fragment(page, low, high).map(Some),
            }
        }
        Ok(None)
    }

    /// Reads `netif_rx_response`: number, offset; flags, and the length or what went wrong.
    fn fragment(&mut self, page: usize, low: u32, high: u32) -> Result<Fragment, Fault> {
        let (id, offset) = (low as u16, low >> 16);
        let (flags, status) = (high as u16, (high >> 16) as i16);
        if usize::from(id) != page {
            return Err(Fault::UnknownResponse);
        }
        let length = usize::try_from(status).unwrap_or_default();
        let offset = offset as usize;
        if offset + length > PAGE {
            return Err(Fault::BeyondPage);
        }
        let first = self.next == Next::First;
        let more = flags & RX_MORE_DATA != 0;
        self.next = match (first && flags & RX_EXTRA_INFO != 0, more) {
            (true, more) => Next::Extra(more),
            (false, true) => Next::More,
            (false, false) => Next::First,
        };
        let trusted = flags & (RX_DATA_VALIDATED | RX_CHECKSUM_BLANK) != 0;
        Ok(Fragment { page, offset, length, first, last: !more, trusted, failed: status < 0 })
    }

    /// Asks for an event when something comes, and says whether something has come already.
    ///
    /// # Errors
    /// The back end answers what was not asked.
    pub fn ask(&self, ring: &Page) -> Result<bool, Fault> {
        self.ring.ask(ring, 1)
    }
}

/// What follows an extra: `netif_extra_info` begins with its type and its flags.
const fn after_extra(low: u32, more_data: bool) -> Next {
    if (low >> 8) as u8 & EXTRA_MORE != 0 {
        Next::Extra(more_data)
    } else if more_data {
        Next::More
    } else {
        Next::First
    }
}
