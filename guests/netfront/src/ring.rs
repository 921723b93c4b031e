//! The front end's half of a ring (`io/ring.h`): it asks, and reads what is answered.

use core::sync::atomic::{AtomicU32, Ordering, fence};

use crate::{Fault, Page};

/// Words of the page: indices of what was produced, and at which the other end wants an event.
const REQ_PROD: usize = 0;
const REQ_EVENT: usize = 1;
const RSP_PROD: usize = 2;
const RSP_EVENT: usize = 3;
/// The first word of the first slot.
const SLOTS: usize = 16;
/// Slots of a ring with slots of 8 and of 12 bytes alike: the largest power of two that fits.
pub(crate) const LENGTH: u32 = 256;

/// A ring with slots of `N` words.
#[derive(Debug)]
pub(crate) struct Front<const N: usize> {
    // Private: `consumed <= published <= produced`, and no more than `LENGTH` apart.
    produced: u32,
    published: u32,
    consumed: u32,
}

impl<const N: usize> Front<N> {
    /// A ring in which nothing is, and the page made so.
    pub(crate) fn new(page: &Page) -> Self {
        for word in page {
            word.store(0, Ordering::Relaxed);
        }
        store(page, REQ_EVENT, 1, Ordering::Relaxed);
        store(page, RSP_EVENT, 1, Ordering::Release);
        Self { produced: 0, published: 0, consumed: 0 }
    }

    /// How many requests there is room for.
    pub(crate) const fn room(&self) -> u32 {
        LENGTH - self.produced.wrapping_sub(self.consumed)
    }

    /// The slot that the next request goes to.
    pub(crate) const fn next_slot(&self) -> u32 {
        self.produced % LENGTH
    }

    /// The slot from which the next response comes.
    pub(crate) const fn next_response(&self) -> u32 {
        self.consumed % LENGTH
    }

    /// Puts a request on the ring, if there is room. The other end sees it after [`Front::publish`].
    pub(crate) fn push(&mut self, page: &Page, request: [u32; N]) {
        if self.room() == 0 {
            return;
        }
        for (word, value) in slot::<N>(page, self.next_slot()).iter().zip(request) {
            word.store(value, Ordering::Relaxed);
        }
        self.produced = self.produced.wrapping_add(1);
    }

    /// Lets the other end see what was put on the ring, and says whether it wants an event.
    pub(crate) fn publish(&mut self, page: &Page) -> bool {
        let fresh = self.produced.wrapping_sub(self.published);
        if fresh == 0 {
            return false;
        }
        store(page, REQ_PROD, self.produced, Ordering::Release);
        self.published = self.produced;
        // It must see the index before we look at what it wants, or neither end would tell the other.
        fence(Ordering::SeqCst);
        self.produced.wrapping_sub(load(page, REQ_EVENT)) < fresh
    }

    /// How many responses there are.
    pub(crate) fn waiting(&self, page: &Page) -> Result<u32, Fault> {
        let waiting = load(page, RSP_PROD).wrapping_sub(self.consumed);
        if waiting > self.published.wrapping_sub(self.consumed) { Err(Fault::TooManyResponses) } else { Ok(waiting) }
    }

    /// Takes the next response, of which [`Front::waiting`] knew.
    pub(crate) fn pop(&mut self, page: &Page) -> [u32; N] {
        let mut response = [0; N];
        for (value, word) in response.iter_mut().zip(slot::<N>(page, self.next_response())) {
            *value = word.load(Ordering::Relaxed);
        }
        self.consumed = self.consumed.wrapping_add(1);
        response
    }

    /// Asks for an event with the `ahead`th response from here, and says whether there is one already.
    pub(crate) fn ask(&self, page: &Page, ahead: u32) -> Result<bool, Fault> {
        store(page, RSP_EVENT, self.consumed.wrapping_add(ahead), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        Ok(self.waiting(page)? >= ahead)
    }
}

fn slot<const N: usize>(page: &Page, number: u32) -> &[AtomicU32] {
    let start = SLOTS + number as usize % LENGTH as usize * N;
    page.get(start..start + N).unwrap_or_default()
}

fn load(page: &Page, word: usize) -> u32 {
    page.get(word).map_or(0, |word| word.load(Ordering::Acquire))
}

fn store(page: &Page, word: usize, value: u32, ordering: Ordering) {
    if let Some(word) = page.get(word) {
        word.store(value, ordering);
    }
}
