//! Those who send much and are nobody cost nothing.

use super::world::Random;
use super::{Bench, CLIENT, IP, MAC, PORT, Sketch};
use crate::Policy;
use crate::action::Action;
use crate::wire::flags;

/// A segment from anywhere, with any numbers.
fn anybody(random: &mut Random, flags: u8) -> Sketch<'static> {
    let [a, b, c, d] = random.next().to_be_bytes();
    let from = ([a % 223 + 1, b, c, d], random.next() as u16);
    let from = if from.0[0] == 127 { ([10, b, c, d], from.1) } else { from };
    let (sequence, acknowledgement) = (random.next() << 1, random.next() << 1);
    Sketch { from, to: (IP, PORT), macs: (CLIENT, MAC), sequence, acknowledgement, flags, options: &[], data: &[] }
}

#[test]
fn a_flood_of_syns_is_answered_and_forgotten() {
    let mut bench = Bench::new(Policy::default());
    let mut random = Random(1);
    for number in 1..=50_000 {
        let frame = anybody(&mut random, flags::SYN).frame();
        assert!(bench.summoner.from_outside(frame, bench.now, &mut bench.actions).is_none());
        assert_eq!(bench.out().len(), 1);
        assert_eq!(bench.counters().syns, number);
    }
    assert!(bench.summoner.calls.is_empty(), "nothing is kept");
    assert_eq!(bench.summoner.next_tick(), None);
    assert_eq!(bench.counters().summoned, 0);
    // Somebody who means it is served all the same.
    bench.open(1, 77, 99);
}

#[test]
fn a_flood_of_guessed_acknowledgements_launches_nothing_and_is_answered_seldom() {
    let mut bench = Bench::new(Policy::default());
    let mut random = Random(2);
    let mut answers = 0;
    for number in 1..=300_000 {
        if number % 100 == 0 {
            bench.now += 1;
        }
        let frame = anybody(&mut random, flags::ACK).frame();
        assert!(bench.summoner.from_outside(frame, bench.now, &mut bench.actions).is_none());
        answers += bench.out().len();
    }
    let counters = bench.counters();
    assert_eq!((counters.wrong, counters.summoned, counters.connections), (300_000, 0, 0));
    assert!(answers <= 3_100, "{answers} answers in three seconds");
    assert!(bench.summoner.calls.is_empty());
}

#[test]
fn a_right_acknowledgement_launches_one_machine_however_often_it_comes() {
    let mut bench = Bench::new(Policy::default());
    let (cookie, id) = bench.open(1, 1_000, 5);
    let replay = |bench: &mut Bench| {
        bench.client(1, 1_001, cookie.wrapping_add(1), flags::ACK, b"GET /");
        assert_eq!(bench.launches(), []);
    };
    replay(&mut bench);
    bench.machine(id, 1, 6, 1_001, flags::RST | flags::ACK, &[]);
    bench.summoner.gone(id, bench.now, &mut bench.actions);
    for _ in 0..200 {
        replay(&mut bench);
        bench.pass(100);
    }
    assert_eq!(bench.counters().summoned, 1);
    assert!(bench.summoner.calls.is_empty(), "it is forgotten once the cookie is good for nothing");
}

#[test]
fn what_is_remembered_of_calls_is_bounded() {
    let mut bench = Bench::new(Policy::default());
    for call in 0..40_000_u32 {
        let number = (call % 50_000) as u16;
        bench.call(number, call, &[]);
        let [id] = bench.launches()[..] else { panic!() };
        bench.summoner.gone(id, bench.now, &mut bench.actions);
        bench.actions.clear();
    }
    assert_eq!(bench.counters().refused, 40_000);
    assert_eq!(bench.summoner.calls.known(), 16_384);
    bench.pass(30_000);
    assert_eq!(bench.summoner.calls.known(), 0);
}

#[test]
fn what_waits_for_a_machine_is_bounded() {
    let mut bench = Bench::new(Policy::default());
    for number in 0..60 {
        let isn = u32::from(number);
        let cookie = bench.call(number, isn, b"0");
        for part in 1..10 {
            bench.client(number, isn + 1 + part, cookie.wrapping_add(1), flags::ACK, b"1");
            bench.client(number, isn + 1 + part, cookie.wrapping_add(1), flags::ACK, b"1");
        }
    }
    let kept = bench.actions.iter().filter(|action| matches!(action, Action::Discard(_))).count();
    assert_eq!(kept, 60 * 19 - super::LIMITS.pages, "no connection keeps more than 4, and all no more than 100");
    assert_eq!(bench.summoner.calls.pages, 0);
    // Those whose frames were not kept are served nevertheless.
    let id = bench.launches()[59];
    bench.summoner.launched(id, bench.now, &mut bench.actions);
    bench.accept(id, 59, 59, 1);
    assert_eq!(bench.done().len(), 3, "an ARP reply, a SYN, and an ACK without data");
}
