//! The console ring of a guest (`io/console.h`), of which the hypervisor is the other end.
//!
//! The four counters and all bytes are the guest's to change at any time: each is read once for each pass, and a pass moves no
//! more bytes than a ring holds.

use alloc::collections::VecDeque;
use core::mem::offset_of;
use core::sync::atomic::Ordering;

use xen_abi::console::{IN_SIZE, OUT_SIZE, Ring};

use crate::events::Page;

/// Bytes that are taken at once: a slow wire keeps the pCPU no longer.
const PART: u32 = 128;

/// A guest's console ring.
pub struct PvConsole<P>(P);

impl<P: Page> PvConsole<P> {
    /// The ring in `page`.
    pub const fn new(page: P) -> Self {
        Self(page)
    }

    /// Takes a part of what the guest has written; returns how many bytes that were, and whether there is more.
    pub fn take(&self, mut show: impl FnMut(u8)) -> (u32, bool) {
        let produced = self.counter(offset_of!(Ring, out_prod));
        let consumed = self.counter(offset_of!(Ring, out_cons));
        // Of more than the ring holds the last are there.
        let written = produced.wrapping_sub(consumed).min(OUT_SIZE as u32);
        let consumed = produced.wrapping_sub(written);
        let count = written.min(PART);
        for index in 0..count {
            let at = consumed.wrapping_add(index) as usize % OUT_SIZE;
            show(self.byte(offset_of!(Ring, output) + at));
        }
        self.0.word(offset_of!(Ring, out_cons)).store(consumed.wrapping_add(count), Ordering::Release);
        (count, written > count)
    }

    /// Whether the guest has written anything yet.
    pub fn is_in_use(&self) -> bool {
        self.counter(offset_of!(Ring, out_prod)) != 0
    }

    /// Passes the guest a byte; `false` if it has not read those before.
    pub fn put(&self, byte: u8) -> bool {
        let produced = self.counter(offset_of!(Ring, in_prod));
        let consumed = self.counter(offset_of!(Ring, in_cons));
        if produced.wrapping_sub(consumed) >= IN_SIZE as u32 {
            return false;
        }
        let at = produced as usize % IN_SIZE;
        let shift = at % 4 * 8;
        let word = self.0.word(offset_of!(Ring, input) + at / 4 * 4);
        let rest = word.load(Ordering::Relaxed) & !(0xff << shift);
        word.store(rest | u32::from(byte) << shift, Ordering::Relaxed);
        let next = produced.wrapping_add(1);
        self.0.word(offset_of!(Ring, in_prod)).store(next, Ordering::Release);
        true
    }

    fn counter(&self, offset: usize) -> u32 {
        self.0.word(offset).load(Ordering::Acquire)
    }

    fn byte(&self, offset: usize) -> u8 {
        let word = self.0.word(offset / 4 * 4).load(Ordering::Relaxed);
        word.to_le_bytes()[offset % 4]
    }
}

/// Bytes that wait for a guest to ask for them; those for which there is no room are lost, as on a wire.
#[derive(Debug, Default)]
pub struct Backlog(VecDeque<u8>);

impl Backlog {
    const ROOM: usize = 64;

    /// None.
    pub fn new() -> Self {
        Self(VecDeque::with_capacity(Self::ROOM))
    }

    /// One more.
    pub fn push(&mut self, byte: u8) {
        if self.0.len() < Self::ROOM {
            self.0.push_back(byte);
        }
    }

    /// Takes as many as there are and `into` has room for; returns their number.
    pub fn take(&mut self, into: &mut [u8]) -> usize {
        let count = self.0.len().min(into.len());
        for (place, byte) in into.iter_mut().zip(self.0.drain(..count)) {
            *place = byte;
        }
        count
    }
}
