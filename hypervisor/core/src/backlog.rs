//! What was typed for a guest.

use alloc::collections::VecDeque;

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

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn what_has_no_room_is_lost() {
        let mut backlog = Backlog::new();
        (0..100).for_each(|byte| backlog.push(byte));
        let mut into = [0; 40];
        assert_eq!((backlog.take(&mut into), into[39]), (40, 39));
        assert_eq!((backlog.take(&mut into), into[23]), (24, 63));
        assert_eq!(backlog.take(&mut into), 0);
    }
}
