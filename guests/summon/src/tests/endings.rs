//! How connections end, whoever ends them.

use super::segments::{inward, outward};
use super::{Bench, segment};
use crate::Policy;
use crate::action::Action;
use crate::wire::flags;

const ACK: u8 = flags::ACK;
const FIN: u8 = flags::FIN | flags::ACK;
const RST: u8 = flags::RST;

#[test]
fn a_machine_that_vanishes_is_spoken_for() {
    let mut bench = Bench::new(Policy::default());
    // One that has said nothing.
    let (cookie, id) = bench.open(1, 5, 1_000);
    bench.summoner.gone(id, bench.now, &mut bench.actions);
    let (said, _) = outward(&mut bench);
    assert_eq!((said.flags, said.sequence), (RST | ACK, cookie.wrapping_add(1)));
    bench.client(1, 6, cookie.wrapping_add(1), ACK, b"hello?");
    assert_eq!(outward(&mut bench).0.flags, RST);

    // One that was heard to its end: the caller's end is acknowledged, twice if that was lost.
    let (cookie, id) = bench.open(2, 5, 1_000);
    bench.machine(id, 2, 1_001, 6, FIN, b"bye");
    let end = outward(&mut bench).0.end();
    bench.client(2, 6, end, ACK, &[]);
    bench.actions.clear();
    bench.summoner.gone(id, bench.now, &mut bench.actions);
    assert!(bench.done().is_empty() && end == cookie.wrapping_add(5));
    for _ in 0..2 {
        bench.client(2, 6, end, FIN, &[]);
        let (said, _) = outward(&mut bench);
        assert_eq!((said.flags, said.sequence, said.acknowledgement), (ACK, end, 7));
    }
    bench.client(2, 7, end, ACK, b"more");
    assert_eq!(outward(&mut bench).0.flags, RST);

    // One whose last word was lost: it is said again, if it was only that it is the last.
    let (_, id) = bench.open(3, 5, 1_000);
    bench.machine(id, 3, 1_001, 6, FIN, b"bye");
    let end = outward(&mut bench).0.end();
    bench.summoner.gone(id, bench.now, &mut bench.actions);
    bench.client(3, 6, end.wrapping_sub(1), ACK, &[]);
    bench.actions.clear();
    bench.pass(1_000);
    let (said, _) = outward(&mut bench);
    assert_eq!((said.flags, said.end()), (FIN, end));
    bench.client(3, 6, end, FIN, &[]);
    let (said, _) = outward(&mut bench);
    assert_eq!((said.flags, said.acknowledgement, bench.counters().open), (ACK, 7, 0));

    // One whose data were lost.
    let broken = bench.counters().broken;
    let (_, id) = bench.open(4, 5, 1_000);
    bench.machine(id, 4, 1_001, 6, FIN, b"bye");
    bench.summoner.gone(id, bench.now, &mut bench.actions);
    bench.actions.clear();
    bench.pass(60_000);
    let said = bench.out();
    assert!(!said.is_empty() && said.iter().all(|said| said.flags == RST | ACK));
    assert_eq!((bench.counters().broken, bench.counters().open), (broken + 1, 0));
}

#[test]
fn who_serves_once_is_not_asked_once_more_when_it_was_heard() {
    let mut bench = Bench::new(Policy::default());
    let (_, id) = bench.open(1, 5, 1_000);
    bench.machine(id, 1, 1_001, 6, FIN, b"bye");
    let end = outward(&mut bench).0.end();
    // Half of it: there may be more to be sent again.
    bench.client(1, 6, end.wrapping_sub(1), ACK, &[]);
    assert_eq!(inward(&mut bench, id).0.flags, ACK);
    bench.client(1, 6, end, FIN, &[]);
    let done = bench.done();
    assert!(matches!(&done[..], [Action::ToOutside(_), Action::End(ended)] if *ended == id));
    bench.client(1, 6, end, FIN, &[]);
    let (said, _) = outward(&mut bench);
    assert_eq!((said.flags, said.sequence, said.acknowledgement), (ACK, end, 7));
}

#[test]
fn who_is_gone_before_it_answered_the_client_s_end_is_spoken_for() {
    let mut bench = Bench::new(Policy { keep: 1_000, ..Policy::default() });
    let (_, id) = bench.open(5, 5, 1_000);
    bench.machine(id, 5, 1_001, 6, FIN, b"bye");
    let end = outward(&mut bench).0.end();
    bench.client(5, 6, end, FIN, &[]);
    assert_eq!(inward(&mut bench, id).0.flags, FIN);
    bench.summoner.gone(id, bench.now, &mut bench.actions);
    let (said, _) = outward(&mut bench);
    assert_eq!((said.flags, said.sequence, said.acknowledgement), (ACK, end, 7));
}

#[test]
fn resets_count_only_where_they_can_be_meant() {
    let mut bench = Bench::new(Policy::default());
    let (cookie, id) = bench.open(1, 5, 1_000);
    for sequence in [5, 6 + 0x1_0000, 0x8000_0000] {
        bench.client(1, sequence, cookie.wrapping_add(1), RST, &[]);
        assert!(bench.done().is_empty());
    }
    // A forged SYN neither: he who has a connection says so, and he who has none resets it.
    bench.client(1, 99, 0, flags::SYN, &[]);
    let (said, _) = outward(&mut bench);
    assert_eq!((said.flags, said.sequence, said.acknowledgement), (ACK, cookie.wrapping_add(1), 6));
    bench.client(1, 6, 0, RST, &[]);
    assert_eq!(inward(&mut bench, id).0.flags, RST);
    assert_eq!(bench.counters().open, 0);
}

#[test]
fn a_connection_on_which_nothing_happens_is_reset_both_ways() {
    let mut bench = Bench::new(Policy::default());
    let (cookie, id) = bench.open(1, 5, 1_000);
    bench.pass(299_000);
    assert!(bench.done().is_empty());
    bench.pass(2_000);
    let done = bench.done();
    let [Action::ToMachine(to, _), Action::ToOutside(_)] = &done[..] else { panic!("{done:?}") };
    assert_eq!((*to, bench.counters().open), (id, 0));
    let said = done.into_iter().filter_map(|action| match action {
        Action::ToMachine(_, parcel) | Action::ToOutside(parcel) => Some(segment(parcel)),
        _ => None,
    });
    let numbers: Vec<_> = said.map(|said| (said.flags, said.sequence, said.acknowledgement)).collect();
    assert_eq!(numbers, [(RST | ACK, 6, 1_001), (RST | ACK, cookie.wrapping_add(1), 6)]);
}
