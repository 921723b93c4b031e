//! The last of what a domain said on its console.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::toolstack::Said;

/// Bytes that were said, the last of them kept.
#[derive(Clone, Debug)]
pub struct Scrollback {
    room: usize,
    // No more than `room`.
    kept: VecDeque<u8>,
    /// How many bytes were said before those.
    before: u64,
}

impl Scrollback {
    /// Nothing was said, and `room` bytes will be kept.
    #[must_use]
    pub const fn new(room: usize) -> Self {
        Self { room, kept: VecDeque::new(), before: 0 }
    }

    /// Keeps so many bytes from now on.
    pub fn resize(&mut self, room: usize) {
        self.room = room;
        self.forget(self.kept.len().saturating_sub(room));
        self.kept.shrink_to(room);
    }

    /// Something more was said.
    pub fn push(&mut self, bytes: &[u8]) {
        let lost = bytes.len().saturating_sub(self.room);
        let bytes = bytes.get(lost..).unwrap_or_default();
        self.forget((self.kept.len() + bytes.len()).saturating_sub(self.room));
        self.before += lost as u64;
        self.kept.extend(bytes);
    }

    /// What was said from byte `from` on, as far as it is kept.
    #[must_use]
    pub fn since(&self, from: u64) -> Said<'static> {
        let skip = from.saturating_sub(self.before).min(self.kept.len() as u64);
        let bytes: Vec<u8> = self.kept.range(skip as usize..).copied().collect();
        Said { from: self.before + skip, bytes: bytes.into() }
    }

    fn forget(&mut self, bytes: usize) {
        self.before += bytes as u64;
        self.kept.drain(..bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_are_kept_with_their_numbers() {
        let mut console = Scrollback::new(8);
        let since = |console: &Scrollback, from| {
            let said = console.since(from);
            (said.from, alloc::string::String::from_utf8(said.bytes.into_owned()).expect("text"))
        };
        assert_eq!(since(&console, 5), (0, "".into()));
        console.push(b"hello");
        assert_eq!(since(&console, 0), (0, "hello".into()));
        assert_eq!(since(&console, 3), (3, "lo".into()));
        console.push(b", you");
        assert_eq!(since(&console, 0), (2, "llo, you".into()));
        console.push(b"a line longer than the room");
        assert_eq!(since(&console, 0), (29, "the room".into()));
        assert_eq!(since(&console, 100), (37, "".into()));
        console.resize(4);
        assert_eq!(since(&console, 0), (33, "room".into()));
        console.push(b"s");
        assert_eq!(since(&console, 0), (34, "ooms".into()));
    }

    #[test]
    fn without_room_bytes_are_counted_all_the_same() {
        let mut console = Scrollback::new(0);
        console.push(b"hello");
        assert_eq!(console.since(0), Said { from: 5, bytes: Vec::new().into() });
    }
}
