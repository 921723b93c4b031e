//! The two byte rings in a page.

use core::sync::atomic::Ordering;

use mote_protocols::ring::{Broken, Shared};
use mote_protocols::xs_wire::page::{
    REQUEST_CONSUMER, REQUEST_PRODUCER, REQUESTS, RESPONSE_CONSUMER, RESPONSE_PRODUCER, RESPONSES, RING_SIZE,
};

/// Loads a word; what is loaded afterwards is no older.
pub(crate) fn load(page: &impl Shared, offset: usize) -> u32 {
    page.word(offset).load(Ordering::Acquire)
}

/// Stores a word; what was stored before is seen by whoever sees it.
pub(crate) fn store(page: &impl Shared, offset: usize, value: u32) {
    page.word(offset).store(value, Ordering::Release);
}

/// One direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    data: usize,
    consumer: usize,
    producer: usize,
}

pub(crate) const REQUEST_RING: Ring = Ring { data: REQUESTS, consumer: REQUEST_CONSUMER, producer: REQUEST_PRODUCER };
pub(crate) const RESPONSE_RING: Ring =
    Ring { data: RESPONSES, consumer: RESPONSE_CONSUMER, producer: RESPONSE_PRODUCER };

impl Ring {
    /// Takes bytes out, as many as there are and fit into `bytes`. `index` is where this end is, whatever the page says; the other end
    /// learns of it by [`Ring::show_taken`].
    ///
    /// # Errors
    /// [`Broken`] if the producer's index cannot be.
    pub fn take(self, page: &impl Shared, index: &mut u32, bytes: &mut [u8]) -> Result<usize, Broken> {
        let there = load(page, self.producer).wrapping_sub(*index);
        if there > RING_SIZE {
            return Err(Broken);
        }
        let count = bytes.len().min(there as usize);
        let mut word = 0;
        for (position, byte) in bytes.iter_mut().take(count).enumerate() {
            let (offset, place) = self.place(index.wrapping_add(position as u32));
            if place == 0 || position == 0 {
                word = load(page, offset);
            }
            *byte = word.to_le_bytes()[place];
        }
        *index = index.wrapping_add(count as u32);
        Ok(count)
    }

    /// Puts bytes in, as many as there is room for; the other end learns of them by [`Ring::show_put`].
    ///
    /// # Errors
    /// [`Broken`] if the consumer's index cannot be.
    pub fn put(self, page: &impl Shared, index: &mut u32, bytes: &[u8]) -> Result<usize, Broken> {
        let there = index.wrapping_sub(load(page, self.consumer));
        let room = RING_SIZE.checked_sub(there).ok_or(Broken)?;
        let count = bytes.len().min(room as usize);
        let mut done = 0;
        while let Some(rest) = bytes.get(done..count).filter(|rest| !rest.is_empty()) {
            let (offset, place) = self.place(index.wrapping_add(done as u32));
            // Bytes beside those that are put belong to the same direction, which only this end writes.
            let mut word = if place == 0 && rest.len() >= 4 { [0; 4] } else { load(page, offset).to_le_bytes() };
            let part = (4 - place).min(rest.len());
            word.iter_mut().skip(place).zip(rest).for_each(|(to, from)| *to = *from);
            store(page, offset, u32::from_le_bytes(word));
            done += part;
        }
        *index = index.wrapping_add(count as u32);
        Ok(count)
    }

    /// The word in which a byte is, and its place in it.
    const fn place(self, position: u32) -> (usize, usize) {
        let offset = (position % RING_SIZE) as usize;
        (self.data + offset / 4 * 4, offset % 4)
    }

    /// Has the other end see what was taken.
    pub fn show_taken(self, page: &impl Shared, index: u32) {
        store(page, self.consumer, index);
    }

    /// Has the other end see what was put.
    pub fn show_put(self, page: &impl Shared, index: u32) {
        store(page, self.producer, index);
    }

    /// Empties it.
    pub fn reset(self, page: &impl Shared) {
        store(page, self.consumer, 0);
        store(page, self.producer, 0);
    }

    /// Where the consumer and the producer are.
    pub fn indices(self, page: &impl Shared) -> (u32, u32) {
        (load(page, self.consumer), load(page, self.producer))
    }
}
