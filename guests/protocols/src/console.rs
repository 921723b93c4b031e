//! The console ring of a guest (`io/console.h`), from the end that shows what the guest writes.
//!
//! The four counters and all bytes are the guest's to change at any time: each is read once for each pass, and a pass moves no
//! more bytes than a ring holds.

use core::sync::atomic::{Ordering, fence};

use crate::ring::Shared;

/// Bytes of `xencons_interface.in` and `out`, and where its counters are.
const IN_SIZE: u32 = 1024;
const OUT_SIZE: u32 = 2048;
const OUTPUT: usize = 1024;
const IN_CONS: usize = 3072;
const IN_PROD: usize = 3076;
const OUT_CONS: usize = 3080;
const OUT_PROD: usize = 3084;

/// The shower's end of a console ring in `page`.
pub struct Console<P>(P);

impl<P: Shared> Console<P> {
    /// The ring in `page`.
    pub const fn new(page: P) -> Self {
        Self(page)
    }

    /// Takes what the guest has written, and as much as `into` has room for; returns how many bytes that were, and whether the guest may
    /// have found the ring full, so that it waits for an event.
    pub fn take(&self, into: &mut [u8]) -> (usize, bool) {
        let produced = self.counter(OUT_PROD);
        // Of more than the ring holds the last are there.
        let written = produced.wrapping_sub(self.counter(OUT_CONS)).min(OUT_SIZE);
        let consumed = produced.wrapping_sub(written);
        let count = (written as usize).min(into.len());
        for (index, place) in (0..).zip(into.iter_mut().take(count)) {
            *place = self.byte(OUTPUT + (consumed.wrapping_add(index) % OUT_SIZE) as usize);
        }
        self.0.word(OUT_CONS).store(consumed.wrapping_add(count as u32), Ordering::Release);
        // Whatever the guest writes from now on it writes knowing that there is room.
        fence(Ordering::SeqCst);
        (count, count > 0 && self.counter(OUT_PROD).wrapping_sub(consumed) >= OUT_SIZE)
    }

    /// Whether the guest has ever written to it, so that it reads there, too.
    pub fn is_in_use(&self) -> bool {
        self.counter(OUT_PROD) != 0
    }

    /// How many bytes [`Self::put`] has room for.
    pub fn room(&self) -> usize {
        IN_SIZE.saturating_sub(self.counter(IN_PROD).wrapping_sub(self.counter(IN_CONS))) as usize
    }

    /// Passes the guest bytes; those for which there is no room are lost.
    pub fn put(&self, bytes: &[u8]) {
        let mut produced = self.counter(IN_PROD);
        for &byte in bytes.iter().take(self.room()) {
            let at = produced % IN_SIZE;
            let shift = at % 4 * 8;
            let word = self.0.word((at / 4 * 4) as usize);
            let rest = word.load(Ordering::Relaxed) & !(0xff << shift);
            word.store(rest | u32::from(byte) << shift, Ordering::Relaxed);
            produced = produced.wrapping_add(1);
        }
        self.0.word(IN_PROD).store(produced, Ordering::Release);
    }

    fn counter(&self, offset: usize) -> u32 {
        self.0.word(offset).load(Ordering::Acquire)
    }

    fn byte(&self, offset: usize) -> u8 {
        let word = self.0.word(offset / 4 * 4).load(Ordering::Relaxed);
        (word >> (offset % 4 * 8)) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicU32;

    struct Words([AtomicU32; 1024]);

    impl Shared for &Words {
        fn word(&self, offset: usize) -> &AtomicU32 {
            &self.0[offset / 4]
        }
    }

    fn page() -> Words {
        Words([const { AtomicU32::new(0) }; 1024])
    }

    /// The guest's end.
    fn write(page: &Words, bytes: &[u8]) {
        for &byte in bytes {
            let at = page.0[OUT_PROD / 4].load(Ordering::Relaxed) as usize % 2048 + OUTPUT;
            let word = &page.0[at / 4];
            let shift = at % 4 * 8;
            word.store(word.load(Ordering::Relaxed) & !(0xff << shift) | u32::from(byte) << shift, Ordering::Relaxed);
            page.0[OUT_PROD / 4].fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_written_is_taken_once_and_in_order_over_the_end() {
        let page = page();
        let console = Console::new(&page);
        assert!(!console.is_in_use());
        let mut into = [0; 300];
        for turn in 0..100_u8 {
            let text = [turn; 250];
            write(&page, &text);
            assert_eq!(console.take(&mut into), (250, false));
            assert_eq!(into[..250], text);
            assert!(console.is_in_use());
            assert_eq!(console.take(&mut into), (0, false));
        }
    }

    #[test]
    fn counters_that_jump_move_no_more_than_a_ring() {
        let page = page();
        let console = Console::new(&page);
        page.0[OUT_PROD / 4].store(0xffff_ff00, Ordering::Relaxed);
        page.0[OUT_CONS / 4].store(0x1234, Ordering::Relaxed);
        let mut into = [0; 4096];
        assert_eq!(console.take(&mut into), (2048, true));
        page.0[IN_PROD / 4].store(7, Ordering::Relaxed);
        page.0[IN_CONS / 4].store(9, Ordering::Relaxed);
        assert_eq!(console.room(), 0);
        console.put(b"lost");
        assert_eq!(page.0[IN_PROD / 4].load(Ordering::Relaxed), 7);
    }

    #[test]
    fn what_is_typed_arrives_while_there_is_room() {
        let page = page();
        let console = Console::new(&page);
        console.put(b"hello");
        assert_eq!(page.0[0].load(Ordering::Relaxed).to_le_bytes(), *b"hell");
        assert_eq!(console.room(), 1019);
        console.put(&[1; 2000]);
        assert_eq!((console.room(), page.0[IN_PROD / 4].load(Ordering::Relaxed)), (0, 1024));
    }
}
