//! Packets on their way in: pages that the back end fills, and the ring on which it says how.

use mote_protocols::ring::{Front, Shared};

use crate::wire::{EXTRA_MORE, RX_CHECKSUM_BLANK, RX_DATA_VALIDATED, RX_EXTRA_INFO, RX_MORE_DATA};
use crate::{Fault, PAGE};

/// Slots of the ring: pages that a pool may have.
pub const PAGES_MAX: usize = 256;

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

/// The receiving end, whose ring is in a page of type `P`.
pub struct Receiver<P> {
    ring: Front<P, [u32; 2], [u32; 2]>,
    /// The page that was asked to be filled in each slot. The answer comes in the same slot.
    slots: [u8; PAGES_MAX],
    /// The slots of the next request and of the next answer.
    given: u8,
    answered: u8,
    next: Next,
    pages: usize,
}

impl<P: Shared> Receiver<P> {
    /// A receiver that has all of its `pages` filled, of which there may be [`PAGES_MAX`]; `reference` knows the grant of each.
    #[must_use]
    pub fn new(ring: P, pages: usize, reference: impl Fn(usize) -> u32) -> Self {
        let pages = pages.min(PAGES_MAX);
        let ring = Front::new(ring);
        let mut receiver = Self { ring, slots: [0; PAGES_MAX], given: 0, answered: 0, next: Next::First, pages };
        for page in 0..pages {
            receiver.give(page, reference(page));
        }
        receiver
    }

    /// Has `page` filled (again).
    pub fn give(&mut self, page: usize, reference: u32) {
        if page >= self.pages || !self.ring.push(&[page as u32, reference]) {
            return;
        }
        if let Some(slot) = self.slots.get_mut(usize::from(self.given)) {
            *slot = page as u8;
        }
        self.given = self.given.wrapping_add(1);
    }

    /// Lets the back end see which pages it may fill, and says whether it wants an event.
    pub fn publish(&mut self) -> bool {
        self.ring.publish()
    }

    /// The next fragment. Its page must be given back. An extra's page is given back here.
    ///
    /// # Errors
    /// The back end answers what was not asked, or what cannot be.
    pub fn take(&mut self, reference: impl Fn(usize) -> u32) -> Result<Option<Fragment>, Fault> {
        while let Some([low, high]) = self.ring.next()? {
            let page = usize::from(self.slots.get(usize::from(self.answered)).copied().unwrap_or_default());
            self.answered = self.answered.wrapping_add(1);
            let Next::Extra(more_data) = self.next else { return self.fragment(page, low, high).map(Some) };
            self.next = after_extra(low, more_data);
            self.give(page, reference(page));
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
    pub fn ask(&mut self) -> bool {
        self.ring.arm()
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
