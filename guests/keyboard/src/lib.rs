//! The keyboard of the machine: what is typed goes to one domain at a time, or to none, and Ctrl-A three times moves on to the next, as on
//! Xen.
//!
//! What belongs here: to whom a byte goes, and what waits for a domain that does not read. What does not: where bytes come from, and how
//! they reach a domain.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::iter::repeat_n;
use core::mem::take;

/// Ctrl-A.
const SWITCH: u8 = 1;
/// How often it must be typed in a row.
const SWITCH_COUNT: usize = 3;

/// What was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// This, for whoever has the keyboard.
    Text(Vec<u8>),
    /// That the next is to have the keyboard.
    Switch,
}

/// Who has the keyboard.
#[derive(Debug, Default)]
pub struct Keyboard {
    /// The domain that gets what is typed, if one does.
    pub owner: Option<u16>,
    // How often Ctrl-A was typed since something else was.
    switches: usize,
}

impl Keyboard {
    /// Tells commands from text: Ctrl-A is text once it turns out to be no command.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<Typed> {
        let (mut all, mut text) = (Vec::new(), Vec::new());
        for &byte in bytes {
            if byte != SWITCH {
                text.extend(repeat_n(SWITCH, take(&mut self.switches)));
                text.push(byte);
                continue;
            }
            self.switches += 1;
            if self.switches == SWITCH_COUNT {
                self.switches = 0;
                all.extend([Typed::Text(take(&mut text)), Typed::Switch]);
            }
        }
        all.push(Typed::Text(text));
        all.retain(|typed| !matches!(typed, Typed::Text(text) if text.is_empty()));
        all
    }

    /// Who is to have the keyboard next: the first of the domains, which come by their numbers; from each the one behind it; and from the
    /// last nobody.
    pub fn next(&self, mut domains: impl Iterator<Item = u16>) -> Option<u16> {
        domains.find(|&domain| Some(domain) > self.owner)
    }
}

/// What was typed for a domain that has not read it yet: as much as a console ring holds. More is dropped, as a UART drops it.
#[derive(Debug, Default)]
pub struct Backlog(VecDeque<u8>);

impl Backlog {
    /// Bytes that it has room for.
    const ROOM: usize = 1024;

    /// Something was typed.
    pub fn add(&mut self, text: &[u8]) {
        let room = Self::ROOM.saturating_sub(self.0.len());
        self.0.extend(text.iter().take(room));
    }

    /// Takes the oldest bytes, at most so many.
    pub fn take(&mut self, most: usize) -> Vec<u8> {
        self.0.drain(..most.min(self.0.len())).collect()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Typed {
        Typed::Text(bytes.into())
    }

    #[test]
    fn three_switches_in_a_row_are_a_command_and_others_are_text() {
        let mut keyboard = Keyboard::default();
        let typed = keyboard.read(b"x\x01\x01\x01a\x01\x01b\x01\x01\x01\x01\x01\x01c");
        assert_eq!(typed, [text(b"x"), Typed::Switch, text(b"a\x01\x01b"), Typed::Switch, Typed::Switch, text(b"c")]);
    }

    #[test]
    fn a_command_may_come_in_pieces() {
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.read(b"\x01\x01"), []);
        assert_eq!(keyboard.read(b"\x01\x01"), [Typed::Switch]);
        assert_eq!(keyboard.read(b"d"), [text(b"\x01d")]);
        assert_eq!(keyboard.read(b""), []);
    }

    #[test]
    fn the_keyboard_goes_around_and_to_nobody_once() {
        let mut keyboard = Keyboard::default();
        let mut owners = Vec::new();
        for _ in 0..4 {
            keyboard.owner = keyboard.next([1, 2, 7].into_iter());
            owners.push(keyboard.owner);
        }
        assert_eq!(owners, [Some(1), Some(2), Some(7), None]);
        // Its owner is gone.
        keyboard.owner = Some(2);
        assert_eq!(keyboard.next([1, 7].into_iter()), Some(7));
        assert_eq!(keyboard.next([].into_iter()), None);
    }

    #[test]
    fn what_is_not_read_waits_up_to_a_limit() {
        let mut backlog = Backlog::default();
        backlog.add(b"abc");
        backlog.add(&[b'x'; 2 * Backlog::ROOM]);
        assert_eq!(backlog.take(4), b"abcx");
        assert_eq!(backlog.take(usize::MAX).len(), Backlog::ROOM - 4);
        assert!(backlog.is_empty() && backlog.take(1).is_empty());
    }
}
