//! The interrupts that matter most, in order.

use super::bank::{Bank, take_lowest};
use super::intid::IntId;
use super::lr::MAX_LIST_REGISTERS;

/// As many interrupts of the highest priorities as it has room for, the highest first and of equal
/// ones the lowest number.
pub(super) struct Queue {
    // The first `len` are in use, in order; `len` is at most `room`, which is at most their number.
    // Each has a priority above an interrupt's number, so that their order is that of integers.
    entries: [u32; MAX_LIST_REGISTERS],
    len: usize,
    room: usize,
    overflowed: bool,
}

const PRIORITY_SHIFT: u32 = 16;
const INTID: u32 = 0xffff;

impl Queue {
    /// Room for `room` interrupts, at most [`MAX_LIST_REGISTERS`].
    pub fn new(room: usize) -> Self {
        let room = room.min(MAX_LIST_REGISTERS);
        Self { entries: [0; MAX_LIST_REGISTERS], len: 0, room, overflowed: false }
    }

    /// Queues the interrupts `mask` of bank number `number`.
    pub fn push_all(&mut self, bank: &Bank, number: usize, mut mask: u32) {
        while let Some(bit) = take_lowest(&mut mask) {
            let intid = IntId::at(number, bit);
            self.push(u32::from(bank.priority(intid)) << PRIORITY_SHIFT | u32::from(intid.get()));
        }
    }

    fn push(&mut self, entry: u32) {
        let place = self.entries.iter().take(self.len).take_while(|&&before| before < entry).count();
        if self.len == self.room {
            self.overflowed = true;
        } else {
            self.len += 1;
        }
        // The last entry is new, or the one that no longer fits.
        if let Some(behind) = self.entries.get_mut(place..self.len)
            && let Some(last) = behind.last_mut()
        {
            *last = entry;
            behind.rotate_right(1);
        }
    }

    /// The interrupts in order.
    pub fn iter(&self) -> impl Iterator<Item = IntId> {
        self.entries.iter().take(self.len).filter_map(|entry| IntId::new(entry & INTID))
    }

    /// How many are in it.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether some did not fit.
    pub const fn overflowed(&self) -> bool {
        self.overflowed
    }
}
