//! Which domains ended, for somebody to read when there is time: kept in order, in bounded room.

use alloc::collections::VecDeque;

use xen_abi::mote::End;

/// What was not read yet, at most `ROOM` of them.
#[derive(Debug, Default)]
pub struct Ledger<const ROOM: usize> {
    notes: VecDeque<End>,
    /// How many were lost.
    pub lost: u64,
}

impl<const ROOM: usize> Ledger<ROOM> {
    /// Adds one; whether it is the only one, so that the reader is to be told. Without room for it, it is lost.
    pub fn add(&mut self, note: End) -> bool {
        if self.notes.len() >= ROOM || self.notes.try_reserve(1).is_err() {
            self.lost += 1;
            return false;
        }
        self.notes.push_back(note);
        self.notes.len() == 1
    }

    /// Takes the oldest.
    pub fn take(&mut self) -> Option<End> {
        self.notes.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_and_the_first_is_told_of() {
        let end = |domain| End { domain, template: 0, code: 0, pages: 0, lived: 0, ran: 0 };
        let mut ledger = Ledger::<3>::default();
        let told: std::vec::Vec<bool> = (0..5).map(|domain| ledger.add(end(domain))).collect();
        assert_eq!((told.as_slice(), ledger.lost), ([true, false, false, false, false].as_slice(), 2));
        assert_eq!([ledger.take(), ledger.take()], [Some(end(0)), Some(end(1))]);
        assert!(!ledger.add(end(7)), "one is still there");
        assert_eq!([ledger.take(), ledger.take(), ledger.take()], [Some(end(2)), Some(end(7)), None]);
        assert!(ledger.add(end(8)));
    }
}
