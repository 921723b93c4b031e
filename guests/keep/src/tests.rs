//! The writer is killed at every byte that it writes, and again while it goes on.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;

use proptest::prelude::*;

use crate::{Error, Journal, Memory};

/// Memory whose writer is killed after so many bytes: what comes later is lost.
struct Mortal<'a> {
    bytes: &'a RefCell<Vec<u8>>,
    left: usize,
}

impl Memory for Mortal<'_> {
    fn size(&self) -> usize {
        self.bytes.borrow().len()
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.bytes.borrow()[offset..offset + bytes.len()]);
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let count = bytes.len().min(self.left);
        self.left -= count;
        self.bytes.borrow_mut()[offset..offset + count].copy_from_slice(&bytes[..count]);
    }
}

/// What the tests keep: records set a key's value, or remove it if it is empty.
type State = BTreeMap<u8, Vec<u8>>;

fn apply(state: &mut State, record: &[u8]) {
    let Some((key, value)) = record.split_first() else { return };
    if value.is_empty() {
        state.remove(key)
    } else {
        state.insert(*key, value.to_vec())
    };
}

fn snapshot(state: &State) -> Vec<Vec<u8>> {
    state.iter().map(|(key, value)| [&[*key], &value[..]].concat()).collect()
}

fn open<'a>(bytes: &'a RefCell<Vec<u8>>, left: usize) -> (Journal<Mortal<'a>>, State) {
    let mut state = State::new();
    let journal = Journal::open(Mortal { bytes, left }, |record| apply(&mut state, record));
    (journal.expect("a region that is large enough"), state)
}

/// Appends the records until the writer is killed or refused. The answer is the state before the last step and after it.
fn write(
    journal: &mut Journal<Mortal>,
    mut state: State,
    records: &[Vec<u8>],
    alive: impl Fn(usize) -> bool,
) -> [State; 2] {
    let mut before = state.clone();
    for (index, record) in records.iter().enumerate() {
        if !alive(index) {
            break;
        }
        before = state.clone();
        let mut after = state.clone();
        apply(&mut after, record);
        let is_full = journal.append(record) == Err(Error::Full);
        if is_full && journal.compact(snapshot(&after)) == Err(Error::Full) {
            // Refused: nothing is to have changed.
            continue;
        }
        state = after;
    }
    [before, state]
}

fn records() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let record = (0_u8..6, prop::collection::vec(any::<u8>(), 0..24));
    let record = record.prop_map(|(key, value)| [&[key], &value[..]].concat());
    prop::collection::vec(record, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whoever_is_killed_at_any_byte_has_kept_each_step_or_not_begun_it(records in records(), size in 260_usize..700) {
        let before = RefCell::new(vec![0; size]);
        let (_, state) = open(&before, usize::MAX);
        prop_assert!(state.is_empty());
        for record in &records {
            // From here each byte that this one step writes may be the last.
            let (_, known) = open(&before, usize::MAX);
            let mut after = known.clone();
            apply(&mut after, record);
            let mut budget = 0;
            loop {
                let bytes = RefCell::new(before.borrow().clone());
                let (mut journal, _) = open(&bytes, budget);
                let [_, _] = write(&mut journal, known.clone(), core::slice::from_ref(record), |_| true);
                let (mut journal, found) = open(&bytes, usize::MAX);
                prop_assert!(found == known || found == after, "{found:?} is neither {known:?} nor {after:?}");
                // The successor can go on where it was.
                let [_, expected] = write(&mut journal, found, &records, |_| true);
                prop_assert_eq!(open(&bytes, usize::MAX).1, expected);
                if budget > 2 * size {
                    break;
                }
                budget += if budget < 64 { 1 } else { 7 };
            }
            let (mut journal, _) = open(&before, usize::MAX);
            write(&mut journal, known, core::slice::from_ref(record), |_| true);
        }
    }

    #[test]
    fn what_is_no_journal_is_taken_for_an_empty_one(bytes in prop::collection::vec(any::<u8>(), 60..300)) {
        let bytes = RefCell::new(bytes);
        prop_assert_eq!(open(&bytes, usize::MAX).1, State::new());
        let (mut journal, _) = open(&bytes, usize::MAX);
        prop_assert_eq!(journal.append(b"\x01a"), Ok(()));
        prop_assert_eq!(open(&bytes, usize::MAX).1, State::from([(1, b"a".to_vec())]));
    }

    #[test]
    fn a_bit_that_flips_ends_the_records_before_it(records in records(), at in 0_usize..600, bit in 0_u8..8) {
        let bytes = RefCell::new(vec![0; 4096]);
        let (mut journal, _) = open(&bytes, usize::MAX);
        records.iter().for_each(|record| journal.append(record).expect("room for all"));
        bytes.borrow_mut()[12 + at] ^= 1 << bit;
        let mut found = Vec::new();
        Journal::open(Mortal { bytes: &bytes, left: usize::MAX }, |record| found.push(record.to_vec())).expect("a region");
        prop_assert!(records.starts_with(&found));
    }
}

#[test]
fn a_region_that_holds_nothing_is_refused() {
    let bytes = RefCell::new(vec![0; 40]);
    let opened = Journal::open(Mortal { bytes: &bytes, left: usize::MAX }, |_| ());
    assert_eq!(opened.err(), Some(Error::TooSmall));
}
