//! The interrupts that matter most, in order.

use super::bank::{Bank, take_lowest};
use super::intid::IntId;
use super::lr::MAX_LIST_REGISTERS;

/// As many interrupts of the highest priorities as it has room for, the highest first and of equal
/// ones the earliest.
pub(super) struct Queue {
    // The first `len` are in use, in order; `len` is at most `room`, which is at most their number.
    entries: [(u8, IntId); MAX_LIST_REGISTERS],
    len: usize,
    room: usize,
    overflowed: bool,
}

impl Queue {
    /// Room for `room` interrupts, at most [`MAX_LIST_REGISTERS`].
    pub fn new(room: usize) -> Self {
        let room = room.min(MAX_LIST_REGISTERS);
        Self { entries: [(0, IntId::FIRST); MAX_LIST_REGISTERS], len: 0, room, overflowed: false }
    }

    /// Queues the interrupts `mask` of bank number `number`.
    pub fn push_all(&mut self, bank: &Bank, number: usize, mut mask: u32) {
        while let Some(bit) = take_lowest(&mut mask) {
            let intid = IntId::at(number, bit);
            self.push(bank.priority(intid), intid);
        }
    }

    fn push(&mut self, priority: u8, intid: IntId) {
        let place = self.iter_entries().take_while(|entry| entry.0 <= priority).count();
        if self.len == self.room {
            self.overflowed = true;
        } else {
            self.len += 1;
        }
        // The last entry is new, or the one that no longer fits.
        if let Some(behind) = self.entries.get_mut(place..self.len)
            && let Some(last) = behind.last_mut()
        {
            *last = (priority, intid);
            behind.rotate_right(1);
        }
    }

    fn iter_entries(&self) -> impl Iterator<Item = &(u8, IntId)> {
        self.entries.iter().take(self.len)
    }

    /// The interrupts in order.
    pub fn iter(&self) -> impl Iterator<Item = IntId> {
        self.iter_entries().map(|entry| entry.1)
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
