//! The state machines against a back end that plays fair, and against one that does not.

extern crate std;

use std::rc::Rc;
use std::vec;
use std::vec::Vec;

use core::sync::atomic::{AtomicU32, Ordering};

use mote_protocols::ring::Shared;
use mote_protocols::xenbus::State;

use crate::handshake::{Action, Phase, next};
use crate::rx::{Fragment, Receiver};
use crate::tx::{Offload, Room, Sender};
use crate::{Fault, PAGE, wire};

const SLOTS: usize = 16;

#[derive(Clone)]
struct Page(Rc<[AtomicU32]>);

impl Shared for Page {
    fn word(&self, offset: usize) -> &AtomicU32 {
        &self.0[offset / 4]
    }
}

fn page() -> Page {
    Page((0..PAGE / 4).map(|_| AtomicU32::new(0xdead_beef)).collect())
}

fn get(page: &Page, word: usize) -> u32 {
    page.0[word].load(Ordering::Relaxed)
}

fn set(page: &Page, word: usize, value: u32) {
    page.0[word].store(value, Ordering::Relaxed);
}

/// The back end's half of a ring with slots of `N` words.
struct Back<'a, const N: usize> {
    page: &'a Page,
    taken: u32,
    answered: u32,
}

impl<'a, const N: usize> Back<'a, N> {
    const fn new(page: &'a Page) -> Self {
        Self { page, taken: 0, answered: 0 }
    }

    fn take(&mut self) -> Option<[u32; N]> {
        if self.taken == get(self.page, 0) {
            return None;
        }
        let slot = SLOTS + (self.taken % 256) as usize * N;
        self.taken = self.taken.wrapping_add(1);
        Some(core::array::from_fn(|word| get(self.page, slot + word)))
    }

    fn answer(&mut self, words: &[u32]) {
        let slot = SLOTS + (self.answered % 256) as usize * N;
        for (index, word) in words.iter().enumerate() {
            set(self.page, slot + index, *word);
        }
        self.answered = self.answered.wrapping_add(1);
        set(self.page, 2, self.answered);
    }
}

fn tx_response(id: u32, status: i16) -> [u32; 1] {
    [id | u32::from(status as u16) << 16]
}

fn rx_response(id: u32, offset: u16, flags: u16, status: i16) -> [u32; 2] {
    [id | u32::from(offset) << 16, u32::from(flags) | u32::from(status as u16) << 16]
}

const fn reference(page: usize) -> u32 {
    1000 + page as u32
}

#[test]
fn a_packet_goes_out_as_one_request() {
    let ring = page();
    let mut sender = Sender::new(ring.clone(), 4);
    let mut back = Back::<3>::new(&ring);
    assert_eq!(get(&ring, 1), 1, "the back end is asked for an event with the first response");
    let room = sender.reserve(60).expect("room");
    sender.send(room, 60, Offload::default(), reference);
    assert_eq!(back.take(), None, "it is not published yet");
    assert!(sender.publish());
    assert!(!sender.publish(), "nothing is new");
    assert_eq!(back.take(), Some([1000, 0, 60 << 16]));
    assert_eq!(back.take(), None);
    back.answer(&tx_response(0, 0));
    sender.collect().expect("fair");
    assert_eq!(sender.reserve(4 * PAGE), Some(Room { first: 0, pages: 4 }));
}

#[test]
fn an_event_is_sent_only_if_it_is_wanted() {
    let ring = page();
    let mut sender = Sender::new(ring.clone(), 4);
    for wanted in [true, false, false] {
        let room = sender.reserve(60).expect("room");
        sender.send(room, 60, Offload::default(), reference);
        assert_eq!(sender.publish(), wanted);
    }
    set(&ring, 1, 4);
    let room = sender.reserve(60).expect("room");
    sender.send(room, 60, Offload::default(), reference);
    assert!(sender.publish());
}

#[test]
fn a_large_packet_goes_out_in_pieces_with_its_segments_size() {
    let ring = page();
    let mut sender = Sender::new(ring.clone(), 8);
    let mut back = Back::<3>::new(&ring);
    let length = 2 * PAGE + 100;
    let room = sender.reserve(4 * PAGE).expect("room");
    sender.send(room, length, Offload { checksum: true, segment: 1460 }, reference);
    sender.publish();
    let flags = wire::TX_CHECKSUM_BLANK | wire::TX_DATA_VALIDATED | wire::TX_EXTRA_INFO | wire::TX_MORE_DATA;
    assert_eq!(back.take(), Some([1000, u32::from(flags) << 16, (length as u32) << 16]));
    assert_eq!(back.take(), Some([1 | 1460 << 16, 1, 0]));
    assert_eq!(back.take(), Some([1001, u32::from(wire::TX_MORE_DATA) << 16, (PAGE as u32) << 16 | 1]));
    assert_eq!(back.take(), Some([1002, 0, 100 << 16 | 2]));
    assert_eq!(back.take(), None);
    assert!(sender.has_room(5 * PAGE) && !sender.has_room(6 * PAGE), "the page that was not needed is free");
    for (id, status) in [(2, 0), (0x4321, wire::STATUS_NULL), (0, -1), (1, 0)] {
        back.answer(&tx_response(id, status));
    }
    sender.collect().expect("fair");
    assert!(sender.has_room(8 * PAGE));
}

#[test]
fn room_is_found_between_what_is_taken_and_never_twice() {
    let ring = page();
    let mut sender = Sender::new(ring.clone(), 64);
    let rooms: Vec<_> = (0..64).map(|_| sender.reserve(PAGE).expect("room")).collect();
    assert_eq!(sender.reserve(1), None);
    let mut pages: Vec<_> = rooms.iter().map(|room| room.first).collect();
    pages.dedup();
    assert_eq!(pages.len(), 64);
    let mut back = Back::<3>::new(&ring);
    for room in rooms {
        sender.send(room, PAGE, Offload::default(), reference);
    }
    sender.publish();
    for id in [3, 5, 6, 62, 63] {
        back.answer(&tx_response(id, 0));
    }
    sender.collect().expect("fair");
    assert!(!sender.has_room(3 * PAGE), "pages 63 and 0 are not neighbours");
    assert_eq!(sender.reserve(2 * PAGE), Some(Room { first: 5, pages: 2 }));
    assert_eq!(sender.reserve(2 * PAGE), Some(Room { first: 62, pages: 2 }));
    assert_eq!(sender.reserve(20 * PAGE), None, "no back end need take so many");
}

#[test]
fn answers_to_nothing_are_faults() {
    let sent = |answers: &[(u32, i16)]| {
        let ring = page();
        let mut sender = Sender::new(ring.clone(), 4);
        for _ in 0..2 {
            let room = sender.reserve(1).expect("room");
            sender.send(room, 1, Offload::default(), reference);
        }
        sender.publish();
        let mut back = Back::<3>::new(&ring);
        for (id, status) in answers {
            back.answer(&tx_response(*id, *status));
        }
        sender.collect()
    };
    assert_eq!(sent(&[(0, 0), (1, 0)]), Ok(()));
    assert_eq!(sent(&[(0, 0), (0, 0)]), Err(Fault::UnknownResponse));
    assert_eq!(sent(&[(2, 0)]), Err(Fault::UnknownResponse));
    assert_eq!(sent(&[(64, 0)]), Err(Fault::UnknownResponse));
    assert_eq!(sent(&[(0xffff, 0)]), Err(Fault::UnknownResponse));
    assert_eq!(sent(&[(0, 0), (1, 0), (2, 0)]), Err(Fault::TooManyResponses));
}

#[test]
fn indices_that_jump_are_faults() {
    for index in [3, 256, 257, 0x8000_0000, u32::MAX] {
        let ring = page();
        let mut receiver = Receiver::new(ring.clone(), 2, reference);
        receiver.publish();
        set(&ring, 2, index);
        assert_eq!(receiver.take(reference), Err(Fault::TooManyResponses), "{index:#x}");
    }
}

#[test]
fn packets_come_in_whole_and_pages_go_round() {
    let ring = page();
    let mut receiver = Receiver::new(ring.clone(), 8, reference);
    let mut back = Back::<2>::new(&ring);
    assert!(receiver.publish());
    for round in 0..1000_u32 {
        let [id, grant] = back.take().expect("a page");
        assert_eq!((id, grant), (round % 8, 1000 + round % 8));
        back.answer(&rx_response(id, 2, 0, 60));
        let fragment = receiver.take(reference).expect("fair").expect("a fragment");
        let page = (round % 8) as usize;
        let expected = Fragment { page, offset: 2, length: 60, first: true, last: true, trusted: false, failed: false };
        assert_eq!(fragment, expected);
        assert_eq!(receiver.take(reference), Ok(None));
        receiver.give(page, reference(page));
        receiver.publish();
    }
}

#[test]
fn a_large_packet_comes_in_pieces_with_extras_between() {
    let ring = page();
    let mut receiver = Receiver::new(ring.clone(), 8, reference);
    receiver.publish();
    let mut back = Back::<2>::new(&ring);
    let first = wire::RX_CHECKSUM_BLANK | wire::RX_EXTRA_INFO | wire::RX_MORE_DATA;
    back.answer(&rx_response(0, 0, first, 4096));
    // Two extras: the first says that another follows.
    back.answer(&[1 | 1 << 8 | 1460 << 16, 1]);
    back.answer(&[4, 0]);
    back.answer(&rx_response(3, 0, wire::RX_MORE_DATA, 4096));
    back.answer(&rx_response(4, 0, wire::RX_EXTRA_INFO, 100));
    back.answer(&rx_response(5, 0, wire::RX_DATA_VALIDATED, 60));
    let mut fragments = vec![];
    while let Some(fragment) = receiver.take(reference).expect("fair") {
        fragments.push((fragment.page, fragment.length, fragment.first, fragment.last, fragment.trusted));
    }
    let expected = [
        (0, 4096, true, false, true),
        (3, 4096, false, false, false),
        (4, 100, false, true, false),
        (5, 60, true, true, true),
    ];
    assert_eq!(fragments, expected);
    // The extras' pages went back by themselves.
    receiver.publish();
    assert_eq!(get(&ring, 0), 10);
}

#[test]
fn what_cannot_have_been_received_is_a_fault() {
    let received = |response: [u32; 2]| {
        let ring = page();
        let mut receiver = Receiver::new(ring.clone(), 8, reference);
        receiver.publish();
        Back::<2>::new(&ring).answer(&response);
        receiver.take(reference)
    };
    assert_eq!(received(rx_response(1, 0, 0, 60)), Err(Fault::UnknownResponse));
    assert_eq!(received(rx_response(0, 0, 0, 4097)), Err(Fault::BeyondPage));
    assert_eq!(received(rx_response(0, 4096, 0, 1)), Err(Fault::BeyondPage));
    assert_eq!(received(rx_response(0, 0xffff, 0, 0x7fff)), Err(Fault::BeyondPage));
    assert!(received(rx_response(0, 0, 0, 4096)).is_ok());
    let failed = received(rx_response(0, 0, 0, -1)).expect("fair").expect("a fragment");
    assert!(failed.failed && failed.length == 0);
}

#[test]
fn whatever_a_back_end_writes_a_receiver_stays_within_its_pages() {
    let mut state = 7_u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    for _ in 0..2000 {
        let (rx, tx) = (page(), page());
        let mut receiver = Receiver::new(rx.clone(), 16, reference);
        let mut sender = Sender::new(tx.clone(), 16);
        for _ in 0..50 {
            receiver.publish();
            let produced = get(&rx, 2).wrapping_add(random() % 3);
            for word in 0..8 {
                let id = if random() % 8 == 0 { random() } else { produced % 16 };
                set(&rx, SLOTS + random() as usize % 512, id | random() << 20);
                set(&tx, SLOTS + random() as usize % 768, random() % (20 + word));
            }
            set(&rx, 2, produced);
            set(&tx, 2, get(&tx, 2).wrapping_add(random() % 2));
            while let Ok(Some(fragment)) = receiver.take(reference) {
                assert!(fragment.page < 16 && fragment.offset + fragment.length <= PAGE);
                receiver.give(fragment.page, reference(fragment.page));
            }
            if let Some(room) = sender.reserve(random() as usize % 20_000) {
                assert!(room.first + room.pages <= 16);
                sender.send(room, room.pages * PAGE, Offload::default(), reference);
            }
            sender.publish();
            let _ = sender.collect();
        }
    }
}

#[test]
fn the_handshake_goes_the_way_of_xenbus() {
    use State::{Closed, Closing, Connected, InitWait, Initialised, Initialising, Unknown};
    let mut own = Initialising;
    let mut phase = Phase::Down;
    // The back end's states of two lives, the second in place of the first.
    let story = [
        (Unknown, Action::Wait),
        (Initialising, Action::Wait),
        (InitWait, Action::Connect),
        (InitWait, Action::Wait),
        (Connected, Action::Connected),
        (Connected, Action::Wait),
        (Closing, Action::Disconnect),
        (Closing, Action::Wait),
        (Closed, Action::Begin),
        (Closed, Action::Wait),
        (InitWait, Action::Connect),
        (Initialised, Action::Wait),
        (Connected, Action::Connected),
        (InitWait, Action::Disconnect),
        (InitWait, Action::Begin),
        (InitWait, Action::Connect),
        (Connected, Action::Connected),
        (Unknown, Action::Disconnect),
        (Unknown, Action::Wait),
    ];
    for (step, (theirs, expected)) in story.into_iter().enumerate() {
        let action = next(phase, own, theirs, true);
        assert_eq!(action, expected, "step {step}");
        (phase, own) = match action {
            Action::Wait => (phase, own),
            Action::Begin => (phase, Initialising),
            Action::Connect => (Phase::Told, Connected),
            Action::Connected => (Phase::Up, own),
            Action::Disconnect => (Phase::Down, Closed),
        };
    }
}

#[test]
fn another_back_end_is_a_reason_to_part() {
    for phase in [Phase::Told, Phase::Up] {
        assert_eq!(next(phase, State::Connected, State::Connected, false), Action::Disconnect);
    }
    assert_eq!(next(Phase::Down, State::Initialising, State::InitWait, false), Action::Connect);
}
