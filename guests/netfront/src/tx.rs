//! Packets on their way out: a pool of pages that the back end may read, and the ring on which it is told what is in them.

use mote_protocols::ring::{Front, Shared};

use crate::wire::{
    EXTRA_GSO, GSO_TCPV4, SLOTS_MAX, STATUS_NULL, TX_CHECKSUM_BLANK, TX_DATA_VALIDATED, TX_EXTRA_INFO, TX_MORE_DATA,
};
use crate::{Fault, PAGE};

/// Pages that a pool may have.
pub const PAGES_MAX: usize = 64;
/// Slots that are kept free for a packet's extra, and lest the ring be full.
const SPARE: u32 = 2;

/// Pages in a row, in which a packet may be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The first page's number in the pool.
    pub first: usize,
    /// How many pages.
    pub pages: usize,
}

/// What is said of a packet besides its length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The back end is to fill in the checksum, from the pseudo-header's that stands in its place.
    pub checksum: bool,
    /// The back end is to cut the packet into segments with so much of TCP's data; 0 is none.
    pub segment: u16,
}

/// The sending end, whose ring is in a page of type `P`.
pub struct Sender<P> {
    ring: Front<P, [u32; 3], [u32; 1]>,
    /// A bit for each page that is neither reserved nor on the ring.
    free: u64,
    /// A bit for each page that is on the ring and was not answered yet.
    sent: u64,
}

impl<P: Shared> Sender<P> {
    /// A sender with a pool of `pages`, of which there may be [`PAGES_MAX`].
    #[must_use]
    pub fn new(ring: P, pages: usize) -> Self {
        let free = if pages >= PAGES_MAX { u64::MAX } else { (1 << pages) - 1 };
        Self { ring: Front::new(ring), free, sent: 0 }
    }

    /// Whether a packet of `length` bytes finds room now.
    #[must_use]
    pub fn has_room(&self, length: usize) -> bool {
        self.find(length).is_some()
    }

    /// Takes room for a packet of `length` bytes, if there is any. It must be given to [`Sender::send`].
    pub fn reserve(&mut self, length: usize) -> Option<Room> {
        let room = self.find(length)?;
        self.free &= !mask(room);
        Some(room)
    }

    fn find(&self, length: usize) -> Option<Room> {
        let pages = length.div_ceil(PAGE).max(1);
        if pages > SLOTS_MAX || self.ring.room() < pages as u32 + SPARE {
            return None;
        }
        // After this a bit stands for a page that begins so many free ones.
        let starts = (1..pages).fold(self.free, |starts, distance| starts & self.free >> distance);
        (starts != 0).then_some(Room { first: starts.trailing_zeros() as usize, pages })
    }

    /// Puts the packet in `room` on the ring; `reference` knows the grant of each page.
    pub fn send(&mut self, room: Room, length: usize, offload: Offload, reference: impl Fn(usize) -> u32) {
        let length = length.min(room.pages * PAGE);
        let used = length.div_ceil(PAGE).max(1);
        // What is not needed after all.
        self.free |= mask(Room { first: room.first + used, pages: room.pages.saturating_sub(used) });
        self.sent |= mask(Room { first: room.first, pages: used });
        for index in 0..used {
            let page = room.first + index;
            let rest = length - index * PAGE;
            let mut flags = if index + 1 < used { TX_MORE_DATA } else { 0 };
            if index == 0 {
                flags |= first_flags(offload);
            }
            // The first request has the whole packet's size.
            let size = if index == 0 { length } else { rest.min(PAGE) };
            // There is room: `find` saw to it.
            let _ = self.ring.push(&[reference(page), u32::from(flags) << 16, (size as u32) << 16 | page as u32]);
            if index == 0 && offload.segment != 0 {
                let _ = self.ring.push(&segmentation(offload.segment));
            }
        }
    }

    /// The page that the ring is in.
    #[must_use]
    pub const fn page(&self) -> &P {
        self.ring.page()
    }

    /// Lets the back end see what was sent, and says whether it wants an event.
    pub fn publish(&mut self) -> bool {
        self.ring.publish()
    }

    /// Takes back the pages that the back end is done with.
    ///
    /// # Errors
    /// It answers what was not asked.
    pub fn collect(&mut self) -> Result<(), Fault> {
        while let Some([answer]) = self.ring.next()? {
            if (answer >> 16) as i16 == STATUS_NULL {
                continue;
            }
            let bit = 1_u64.checked_shl(answer & 0xffff).ok_or(Fault::UnknownResponse)?;
            if self.sent & bit == 0 {
                return Err(Fault::UnknownResponse);
            }
            self.sent &= !bit;
            self.free |= bit;
        }
        Ok(())
    }

    /// Whether everything that was sent was answered.
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        self.sent == 0
    }

    /// Asks for an event when a page is free again, and says whether one is already.
    pub fn ask(&mut self) -> bool {
        self.ring.arm()
    }
}

/// The bits of the pages of `room`.
const fn mask(room: Room) -> u64 {
    if room.pages == 0 || room.first >= PAGES_MAX { 0 } else { u64::MAX >> (PAGES_MAX - room.pages) << room.first }
}

const fn first_flags(offload: Offload) -> u16 {
    let checksum = if offload.checksum { TX_CHECKSUM_BLANK | TX_DATA_VALIDATED } else { 0 };
    checksum | if offload.segment != 0 { TX_EXTRA_INFO } else { 0 }
}

/// `netif_extra_info`: type and flags, then the size of a segment and the protocol.
const fn segmentation(size: u16) -> [u32; 3] {
    [EXTRA_GSO as u32 | (size as u32) << 16, GSO_TCPV4 as u32, 0]
}
