//! The interrupts that matter most, in order.

use super::bank::{Bank, bits};
use super::intid::IntId;
use super::lr::MAX_LIST_REGISTERS;

/// As many interrupts of the highest priorities as it has room for, the highest first and of equal
/// ones the lowest number.
pub(super) struct Queue {
    // As many as there is room for of all that were queued are in use, in order.
    // Each has a priority above an interrupt's number, so that their order is that of integers.
    entries: [u32; MAX_LIST_REGISTERS],
    room: usize,
    /// How many were queued, whether they fitted or not.
    pub queued: usize,
}

const PRIORITY_SHIFT: u32 = 16;
const INTID: u32 = 0xffff;

impl Queue {
    /// Room for `room` interrupts, at most [`MAX_LIST_REGISTERS`].
    pub fn new(room: usize) -> Self {
        Self { entries: [0; MAX_LIST_REGISTERS], room: room.min(MAX_LIST_REGISTERS), queued: 0 }
    }

    /// Queues the interrupts `mask` of bank number `number`.
    pub fn push_all(&mut self, bank: &Bank, number: usize, mask: u32) {
        for bit in bits(mask) {
            let intid = IntId::at(number, bit);
            let entry = u32::from(bank.priority[bit]) << PRIORITY_SHIFT | u32::from(intid.get());
            let place = self.entries.iter().take(self.len()).take_while(|&&before| before < entry).count();
            self.queued += 1;
            // The last entry is new, or the one that no longer fits.
            let len = self.len();
            if let Some(behind @ [.., _]) = self.entries.get_mut(place..len) {
                behind.rotate_right(1);
                behind[0] = entry;
            }
        }
    }

    /// The interrupts in order.
    pub fn iter(&self) -> impl Iterator<Item = IntId> {
        self.entries.iter().take(self.len()).filter_map(|entry| IntId::new(entry & INTID))
    }

    /// How many are in it.
    pub fn len(&self) -> usize {
        self.queued.min(self.room)
    }
}
