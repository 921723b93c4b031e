//! What somebody is to read when there is time: kept in order, in bounded room.

use alloc::collections::VecDeque;

/// Notes that were not read yet, at most `ROOM` of them.
#[derive(Debug)]
pub struct Ledger<T, const ROOM: usize> {
    notes: VecDeque<T>,
    /// How many were lost.
    pub lost: u64,
}

impl<T, const ROOM: usize> Default for Ledger<T, ROOM> {
    fn default() -> Self {
        Self { notes: VecDeque::new(), lost: 0 }
    }
}

impl<T, const ROOM: usize> Ledger<T, ROOM> {
    /// Adds one; whether it is the only one, so that the reader is to be told. Without room for it, it is lost.
    pub fn add(&mut self, note: T) -> bool {
        if self.notes.len() >= ROOM || self.notes.try_reserve(1).is_err() {
            self.lost += 1;
            return false;
        }
        self.notes.push_back(note);
        self.notes.len() == 1
    }

    /// Takes the oldest.
    pub fn take(&mut self) -> Option<T> {
        self.notes.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_and_the_first_is_told_of() {
        let mut ledger = Ledger::<u32, 3>::default();
        let told: std::vec::Vec<bool> = (0..5).map(|note| ledger.add(note)).collect();
        assert_eq!((told.as_slice(), ledger.lost), ([true, false, false, false, false].as_slice(), 2));
        assert_eq!([ledger.take(), ledger.take()], [Some(0), Some(1)]);
        assert!(!ledger.add(7), "one is still there");
        assert_eq!([ledger.take(), ledger.take(), ledger.take()], [Some(2), Some(7), None]);
        assert!(ledger.add(8));
    }
}
