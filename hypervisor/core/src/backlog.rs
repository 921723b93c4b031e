//! What was typed for a guest.

use alloc::collections::VecDeque;

/// Bytes that wait for a guest to ask for them; those for which there is no room are lost, as on a wire.
#[derive(Debug, Default)]
pub struct Backlog(VecDeque<u8>);

impl Backlog {
    /// As many as a console ring holds.
    const ROOM: usize = 1024;

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
        let mut backlog = Backlog::default();
        (0..2000).for_each(|number: u32| backlog.push(number as u8));
        let mut into = [0; 1000];
        assert_eq!((backlog.take(&mut into), into[999]), (1000, 999_u32 as u8));
        assert_eq!((backlog.take(&mut into), into[23]), (24, 1023_u32 as u8));
        assert_eq!(backlog.take(&mut into), 0);
    }
}
