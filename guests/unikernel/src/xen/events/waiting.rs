//! Who waits for which port.

use alloc::vec::Vec;
use core::task::Waker;

/// Wakers by port. Fields are private because they are sorted. A port that was waited for keeps its place until it is closed, so that
/// neither waiting nor waking takes longer for many ports than for few.
pub struct Waiting(Vec<(u32, Option<Waker>)>);

impl Waiting {
    pub const NOBODY: Self = Self(Vec::new());

    fn places(&mut self, port: u32) -> core::ops::Range<usize> {
        let start = self.0.partition_point(|(other, _)| *other < port);
        let same = self.0.iter().skip(start).take_while(|(other, _)| *other == port).count();
        start..start + same
    }

    /// Notes that `waker` is to be woken by `port`. Whoever looks again before that is noted once.
    pub fn note(&mut self, port: u32, waker: &Waker) {
        let places = self.places(port);
        let end = places.end;
        let places = self.0.get_mut(places).unwrap_or_default();
        if places.iter().any(|(_, known)| known.as_ref().is_some_and(|known| known.will_wake(waker))) {
            return;
        }
        match places.iter_mut().find(|(_, known)| known.is_none()) {
            Some((_, place)) => *place = Some(waker.clone()),
            None => self.0.insert(end, (port, Some(waker.clone()))),
        }
    }

    /// Wakes those who wait for `port`.
    pub fn wake(&mut self, port: u32) {
        let places = self.places(port);
        for (_, waker) in self.0.get_mut(places).unwrap_or_default() {
            waker.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Forgets a port.
    pub fn forget(&mut self, port: u32) {
        let places = self.places(port);
        self.0.drain(places);
    }
}
