//! The backend between a model frontend and a model disk.

use std::collections::HashMap;
use std::rc::Rc;

use mote_protocols::blkif::{Discard, Indirect, Request, Response, SECTOR, Segment, operation, status};
use mote_protocols::ring::Broken;
use mote_protocols::statistics::{Counters, disk as count};
use proptest::prelude::*;

use crate::testing::{FrontEnd, GEOMETRY, Memory, Model, SECTORS, Shared};
use crate::{Backend, Geometry, Limits, Order, Turn};

struct Machine {
    front: FrontEnd,
    memory: Memory,
    disk: Model,
    counters: Rc<Counters>,
    backend: Backend<Shared, Memory, Model, Rc<Counters>>,
}

impl Machine {
    fn new(geometry: Geometry, order: Order) -> Self {
        let (shared, memory, disk) = (Shared::new(), Memory::default(), Model::new(geometry));
        let (counters, limits) = (Rc::<Counters>::default(), Limits { pages: 0, order, read_only: false });
        let backend = Backend::new(shared.clone(), memory.clone(), disk.clone(), counters.clone(), limits);
        Self { front: FrontEnd::new(&shared), memory, disk, counters, backend }
    }

    /// A page with this in every byte.
    fn page(&self, gref: u32, byte: u8) -> u32 {
        self.memory.pages.borrow_mut().insert(gref, Box::new([byte; 4096]));
        gref
    }

    fn byte(&self, gref: u32, offset: usize) -> u8 {
        self.memory.pages.borrow()[&gref][offset]
    }

    /// Turns until nothing moves any more.
    fn settle(&mut self) -> Vec<Response> {
        let mut answers = Vec::new();
        for _ in 0..100 {
            let again = self.backend.turn() == Ok(Turn::Again);
            let new = self.front.answers();
            if new.is_empty() && !again && self.disk.0.borrow().queue.is_empty() {
                return answers;
            }
            answers.extend(new);
        }
        panic!("it never ends");
    }

    fn ask(&mut self, request: Request) -> (u8, i16) {
        self.front.ask(request);
        let answers = self.settle();
        let [answer] = answers.as_slice() else { panic!("one answer, not {answers:?}") };
        assert_eq!(answer.id, request.id);
        (answer.operation, answer.status)
    }
}

fn transfer(operation: u8, id: u64, sector_number: u64, segments: &[(u32, u8, u8)]) -> Request {
    let mut request = Request { operation, id, sector_number, nr_segments: segments.len() as u8, ..Request::default() };
    for (segment, (gref, first_sect, last_sect)) in request.seg.iter_mut().zip(segments) {
        *segment = Segment { gref: *gref, first_sect: *first_sect, last_sect: *last_sect, pad: 0 };
    }
    request
}

#[test]
fn what_is_answered_is_counted() {
    let mut machine = Machine::new(GEOMETRY, Order::AsDone);
    let page = machine.page(10, 0xaa);
    let (whole, part) = ([(page, 0, 7), (page, 1, 1)], [(page, 2, 3)]);
    machine.ask(transfer(operation::WRITE, 1, 0, &whole));
    machine.ask(transfer(operation::READ, 2, 0, &part));
    machine.ask(transfer(operation::READ, 3, SECTORS, &part));
    machine.ask(transfer(operation::READ, 4, 0, &[(99, 0, 0)]));
    machine.ask(flush(5));
    let counts = [count::WRITES, count::WRITTEN_BYTES, count::READS, count::READ_BYTES, count::ERRORS, count::OTHERS];
    assert_eq!(counts.map(|counter| machine.counters.get(counter)), [1, 9 * 512, 1, 1024, 2, 1]);
}

fn flush(id: u64) -> Request {
    transfer(operation::FLUSH, id, 0, &[])
}

#[test]
fn what_is_written_is_read_again_and_kept_after_a_flush() {
    let mut machine = Machine::new(GEOMETRY, Order::AsDone);
    let (one, two, three) = (machine.page(10, 0xaa), machine.page(11, 0xbb), machine.page(12, 0));
    let write = transfer(operation::WRITE, 1, 5, &[(one, 0, 7), (two, 3, 3)]);
    assert_eq!(machine.ask(write), (operation::WRITE, status::OKAY));
    assert_eq!(machine.ask(transfer(operation::READ, 2, 12, &[(three, 6, 7)])), (operation::READ, status::OKAY));
    assert_eq!([3071, 3072, 3583, 3584, 4095].map(|at| machine.byte(three, at)), [0, 0xaa, 0xaa, 0xbb, 0xbb]);
    assert_ne!(machine.disk.0.borrow().kept[5 * SECTOR], 0xaa, "nothing is kept before the flush");
    assert_eq!(machine.ask(flush(3)), (operation::FLUSH, status::OKAY));
    assert_eq!(machine.disk.0.borrow().kept[5 * SECTOR], 0xaa);
}

#[test]
fn a_flush_that_carries_data_flushes_first_and_then_writes() {
    let mut machine = Machine::new(GEOMETRY, Order::AsDone);
    machine.page(1, 0xcc);
    machine.page(2, 0xdd);
    machine.ask(transfer(operation::WRITE, 1, 0, &[(1, 0, 0)]));
    assert_eq!(machine.ask(transfer(operation::FLUSH, 2, 1, &[(2, 0, 0)])), (operation::FLUSH, status::OKAY));
    let plate = machine.disk.0.borrow();
    assert_eq!((plate.kept[0], plate.now[SECTOR]), (0xcc, 0xdd));
    assert_ne!(plate.kept[SECTOR], 0xdd);
}

#[test]
fn an_indirect_request_moves_more_than_its_ring_entry_can_name() {
    let mut machine = Machine::new(GEOMETRY, Order::AsDone);
    let mut list = [0; 4096];
    for number in 0..32u32 {
        machine.page(100 + number, number as u8 + 1);
        let segment = [(100 + number).to_le_bytes(), 0x0700u32.to_le_bytes()].concat();
        list[number as usize * 8..][..8].copy_from_slice(&segment);
    }
    machine.memory.pages.borrow_mut().insert(9, Box::new(list));
    let mut request = Indirect::from(transfer(operation::INDIRECT, 7, 16, &[]));
    (request.indirect_op, request.nr_segments, request.indirect_grefs[0]) = (operation::WRITE, 32, 9);
    assert_eq!(machine.ask(request.into()), (operation::WRITE, status::OKAY));
    for number in 0..32 {
        assert_eq!(machine.disk.0.borrow().now[(16 + number * 8) * SECTOR], number as u8 + 1);
    }
    request.indirect_grefs[0] = 8;
    assert_eq!(machine.ask(request.into()), (operation::WRITE, status::ERROR), "the list is not there");
}

#[test]
fn a_discard_of_more_than_the_disk_takes_at_once_is_done_in_parts() {
    let mut machine = Machine::new(GEOMETRY, Order::AsAsked);
    let request = Discard { nr_sectors: 101, ..Discard::from(transfer(operation::DISCARD, 1, 3, &[])) };
    assert_eq!(machine.ask(request.into()), (operation::DISCARD, status::OKAY));
    let plate = machine.disk.0.borrow();
    assert!(plate.now[3 * SECTOR..104 * SECTOR].iter().all(|byte| *byte == 0));
    assert!(plate.now[104 * SECTOR] != 0 && plate.now[2 * SECTOR] != 0);
}

#[test]
fn what_fails_is_said_to_fail() {
    let mut machine = Machine::new(GEOMETRY, Order::AsDone);
    machine.page(1, 0xee);
    machine.page(2, 0);
    machine.memory.read_only.borrow_mut().insert(2);
    machine.disk.0.borrow_mut().bad.insert(50);
    let cases = [
        (transfer(operation::WRITE, 1, 50, &[(1, 0, 0)]), "the disk cannot write"),
        (transfer(operation::READ, 2, 49, &[(1, 0, 7)]), "the disk cannot read"),
        (transfer(operation::WRITE, 3, 0, &[(1, 0, 0), (3, 0, 0)]), "a grant that does not exist"),
        (transfer(operation::READ, 4, 0, &[(3, 0, 0)]), "a grant that does not exist"),
        (transfer(operation::READ, 5, 0, &[(2, 0, 0)]), "a grant that cannot be written"),
        (transfer(operation::READ, 6, SECTORS - 1, &[(1, 0, 1)]), "past the end"),
        (transfer(operation::WRITE, 7, u64::MAX, &[(1, 0, 0)]), "far past the end"),
    ];
    for (request, why) in cases {
        assert_eq!(machine.ask(request), (request.operation, status::ERROR), "{why}");
    }
    let before = machine.disk.0.borrow().now.clone();
    assert_ne!(before[0], 0xee, "half a write is none");
    assert_eq!(machine.ask(transfer(9, 8, 0, &[(1, 0, 0)])), (9, status::NOT_SUPPORTED));
    assert_eq!(machine.ask(transfer(operation::READ, 9, 0, &[(1, 0, 0)])), (operation::READ, status::OKAY));
}

#[test]
fn requests_are_answered_as_they_are_done_or_as_they_were_asked() {
    for (order, expected) in [(Order::AsDone, vec![3, 2, 1]), (Order::AsAsked, vec![1, 2, 3])] {
        let mut machine = Machine::new(GEOMETRY, order);
        machine.page(1, 0);
        machine.disk.0.borrow_mut().allowed = 0;
        for id in 1..=3 {
            machine.front.ask(transfer(operation::READ, id, id, &[(1, 0, 0)]));
        }
        machine.backend.turn().unwrap();
        let mut answers = Vec::new();
        for last in (0..3).rev() {
            (machine.disk.0.borrow_mut().allowed, machine.disk.0.borrow_mut().pick) = (1, last);
            machine.backend.turn().unwrap();
            answers.extend(machine.front.answers().iter().map(|answer| answer.id));
        }
        assert_eq!(answers, expected);
    }
}

#[test]
fn a_backend_that_takes_the_place_of_one_that_died_does_what_was_not_answered() {
    let mut machine = Machine::new(GEOMETRY, Order::AsAsked);
    machine.disk.0.borrow_mut().allowed = 0;
    for id in 0..20 {
        machine.page(id, id as u8 + 100);
        machine.front.ask(transfer(operation::WRITE, id.into(), u64::from(id), &[(id, 0, 0)]));
    }
    machine.disk.0.borrow_mut().room = 20;
    machine.backend.turn().unwrap();
    (machine.disk.0.borrow_mut().allowed, machine.disk.0.borrow_mut().pick) = (10, 3);
    machine.backend.turn().unwrap();
    let answered = machine.front.answers().len();
    let disk = Model::new(GEOMETRY);
    disk.0.borrow_mut().now.clone_from(&machine.disk.0.borrow().now);
    machine.disk = disk.clone();
    let limits = Limits { pages: 0, order: Order::AsAsked, read_only: false };
    machine.backend = Backend::new(machine.front.shared.clone(), machine.memory.clone(), disk, Rc::default(), limits);
    let answers = machine.settle();
    let ids: Vec<u64> = answers.iter().map(|answer| answer.id).collect();
    assert_eq!(ids, (answered as u64..20).collect::<Vec<_>>());
    for id in 0..20 {
        assert_eq!(machine.disk.0.borrow().now[id * SECTOR], id as u8 + 100);
    }
}

#[test]
fn a_connection_that_is_stopped_waits_for_the_disk_and_touches_nothing() {
    let mut machine = Machine::new(GEOMETRY, Order::AsDone);
    machine.page(1, 0xff);
    machine.disk.0.borrow_mut().allowed = 0;
    for id in 0..10 {
        machine.front.ask(transfer(operation::READ, id, 0, &[(1, 0, 7)]));
    }
    machine.backend.turn().unwrap();
    machine.backend.stop();
    let Err(mut backend) = machine.backend.into_disk() else { panic!("the disk has commands") };
    machine.disk.0.borrow_mut().allowed = usize::MAX;
    assert_eq!(backend.turn(), Ok(Turn::Wait));
    assert!(backend.into_disk().is_ok() && machine.front.answers().is_empty());
    assert_eq!(machine.memory.pages.borrow()[&1][0], 0xff);
}

#[test]
fn indices_that_jump_end_the_connection() {
    for (jump, end) in [(32, false), (33, true), (1000, true), (u32::MAX, true), (1 << 31, true)] {
        let mut machine = Machine::new(GEOMETRY, Order::AsDone);
        machine.front.shared.set(0, jump);
        assert_eq!(machine.backend.turn() == Err(Broken), end, "{jump}");
    }
}

#[test]
fn events_are_sent_for_answers_that_the_frontend_waits_for_and_no_others() {
    let mut machine = Machine::new(GEOMETRY, Order::AsDone);
    machine.page(1, 0);
    for id in 0..8 {
        machine.front.ask(transfer(operation::READ, id, 0, &[(1, 0, 0)]));
    }
    machine.settle();
    assert_eq!(*machine.memory.events.borrow(), 2, "one for the first that is done, one after it was looked at");
    assert!(machine.front.ask(flush(1)), "the backend waits for a request");
    assert!(!machine.front.ask(flush(2)), "and knows of one by now");
}

#[derive(Clone, Debug)]
enum Step {
    Ask(u8, u64, Vec<(u32, u8, u8)>),
    Wild(Vec<u8>),
    Turn,
    Disk(usize, usize),
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    let segment = (0..12u32, 0..9u8, 0..9u8);
    let segments = proptest::collection::vec(segment, 0..12);
    prop_oneof![
        4 => (0..8u8, 0..SECTORS + 9, segments).prop_map(|(operation, sector, list)| Step::Ask(operation, sector, list)),
        1 => proptest::collection::vec(any::<u8>(), 112).prop_map(Step::Wild),
        3 => Just(Step::Turn),
        3 => (0..4usize, 0..9usize).prop_map(|(allowed, pick)| Step::Disk(allowed, pick)),
        2 => Just(Step::Look),
    ]
}

proptest! {
    /// Whatever is asked, in whatever order the disk gets done: every request is answered once, and the disk sees nothing that is not on it.
    #[test]
    fn every_request_is_answered_once(steps in proptest::collection::vec(step(), 1..200), in_order: bool) {
        let order = if in_order { Order::AsAsked } else { Order::AsDone };
        let mut machine = Machine::new(GEOMETRY, order);
        (0..10).for_each(|gref| _ = machine.page(gref, gref as u8));
        let (mut asked, mut answered) = (0u64, HashMap::new());
        for step in steps {
            let mut request = match step {
                Step::Ask(operation, sector, list) => transfer(operation, 0, sector, &list),
                Step::Wild(bytes) => zerocopy::FromBytes::read_from_bytes(&bytes).unwrap(),
                Step::Turn => { prop_assert!(machine.backend.turn().is_ok()); continue }
                Step::Disk(allowed, pick) => {
                    (machine.disk.0.borrow_mut().allowed, machine.disk.0.borrow_mut().pick) = (allowed, pick);
                    continue;
                }
                Step::Look => {
                    machine.front.answers().iter().for_each(|answer| *answered.entry(answer.id).or_insert(0) += 1);
                    continue;
                }
            };
            if !machine.front.is_full() {
                request.id = asked;
                asked += 1;
                machine.front.ask(request);
            }
        }
        machine.disk.0.borrow_mut().allowed = usize::MAX;
        machine.settle().iter().for_each(|answer| *answered.entry(answer.id).or_insert(0) += 1);
        prop_assert_eq!(answered.len() as u64, asked);
        prop_assert!(answered.values().all(|times| *times == 1));
        prop_assert!(machine.backend.into_disk().is_ok());
    }

    /// A ring full of noise, indices included, breaks the connection or is answered; it breaks nothing else.
    #[test]
    fn noise_is_survived(page in proptest::collection::vec(any::<u8>(), 4096), behind in 0..40u32) {
        let mut machine = Machine::new(GEOMETRY, Order::AsDone);
        for (place, byte) in page.chunks(4).enumerate() {
            machine.front.shared.set(place * 4, u32::from_le_bytes(byte.try_into().unwrap()));
        }
        machine.front.shared.set(8, behind);
        let (ring, memory, disk) = (machine.front.shared.clone(), machine.memory.clone(), machine.disk.clone());
        machine.backend = Backend::new(ring, memory, disk, Rc::default(), Limits { pages: 0, order: Order::AsDone, read_only: false });
        machine.front.shared.set(0, behind.wrapping_add(u32::from(page[0]) % 34));
        for _ in 0..50 {
            if machine.backend.turn().is_err() {
                machine.backend.stop();
            }
        }
        prop_assert!(machine.backend.into_disk().is_ok());
    }
}
