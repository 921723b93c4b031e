//! How many machines there are, and who gets which.

use super::{Bench, CLIENT, IP, MAC, PORT, Sketch, segment};
use crate::action::{Action, MachineId};
use crate::wire::flags;
use crate::{Network, Policy, Refusal, Service};

const REFUSED: u8 = flags::RST | flags::ACK;

/// Client `number` and the machine end their connection.
fn part(bench: &mut Bench, id: MachineId, number: u16, (isn, cookie, machine_isn): (u32, u32, u32)) {
    bench.machine(id, number, machine_isn + 1, isn + 1, flags::FIN | flags::ACK, &[]);
    bench.client(number, isn + 1, cookie.wrapping_add(2), flags::FIN | flags::ACK, &[]);
    bench.machine(id, number, machine_isn + 2, isn + 2, flags::ACK, &[]);
}

fn ends(bench: &mut Bench) -> Vec<MachineId> {
    let end = |action| match action {
        Action::End(machine) => Some(machine),
        _ => None,
    };
    bench.done().into_iter().filter_map(end).collect()
}

#[test]
fn each_connection_has_its_machine_which_is_ended_with_it() {
    let mut bench = Bench::new(Policy::default());
    let (cookie, one) = bench.open(1, 10, 20);
    let (_, other) = bench.open(2, 10, 20);
    assert_ne!(one, other);
    part(&mut bench, one, 1, (10, cookie, 20));
    assert_eq!(bench.counters().open, 1);
    assert_eq!(ends(&mut bench), [one]);
    bench.summoner.gone(one, bench.now, &mut bench.actions);
    let counters = bench.counters();
    assert_eq!((counters.summoned, counters.vanished, counters.live, counters.idle), (2, 1, 1, 0));
}

#[test]
fn a_warm_machine_is_used_again_and_ended_in_time() {
    let policy = Policy { keep: 10_000, ..Policy::default() };
    let mut bench = Bench::new(policy);
    let (cookie, id) = bench.open(1, 10, 20);
    part(&mut bench, id, 1, (10, cookie, 20));
    bench.actions.clear();
    assert_eq!(bench.counters().idle, 1);
    bench.pass(9_000);
    let cookie = bench.call(2, 30, b"hello");
    bench.accept(id, 2, 30, 40);
    let done = bench.done();
    assert!(matches!(&done[..], [Action::ToMachine(a, _), Action::ToMachine(b, _), Action::ToMachine(c, _)]
        if [*a, *b, *c] == [id; 3]));
    assert_eq!(bench.counters().idle, 0);
    bench.pass(15_000);
    part(&mut bench, id, 2, (35 - 5, cookie, 40));
    bench.client(2, 36, cookie.wrapping_add(2), flags::FIN | flags::ACK, &[]);
    bench.machine(id, 2, 42, 37, flags::ACK, &[]);
    assert_eq!(ends(&mut bench), []);
    bench.pass(10_100);
    assert_eq!(ends(&mut bench), [id]);
    assert_eq!((bench.counters().summoned, bench.counters().idle), (1, 0));
}

#[test]
fn a_warm_machine_that_ends_when_it_is_called_is_replaced() {
    let mut bench = Bench::new(Policy { keep: 10_000, ..Policy::default() });
    let (cookie, id) = bench.open(1, 10, 20);
    part(&mut bench, id, 1, (10, cookie, 20));
    let second = bench.call(2, 30, b"hello");
    assert_eq!(bench.launches(), []);
    bench.summoner.gone(id, bench.now, &mut bench.actions);
    let [other] = bench.launches()[..] else { panic!("another is launched") };
    assert_ne!(id, other);

    // Even if it had answered the SYN already, but nothing else.
    bench.launch(other, 2, 30, 40);
    part(&mut bench, other, 2, (35, second, 40));
    bench.actions.clear();
    let cookie = bench.call(3, 50, b"hello");
    bench.accept(other, 3, 50, 60);
    bench.actions.clear();
    bench.summoner.gone(other, bench.now, &mut bench.actions);
    let [third] = bench.launches()[..] else { panic!("another is launched") };
    bench.launch(third, 3, 50, 70);
    bench.client(3, 51, cookie.wrapping_add(1), flags::ACK, b"hello");
    assert!(matches!(bench.done()[..], [Action::ToMachine(id, _)] if id == third));
    assert_eq!(bench.counters().broken, 0);
}

#[test]
fn beyond_so_many_machines_connections_wait_in_their_order_or_are_refused() {
    let mut bench = Bench::new(Policy { machines: 2, waiting: 2, patience: 1_000, ..Policy::default() });
    for number in 1..=4 {
        bench.call(number, 0, &[]);
    }
    let [one, two] = bench.launches()[..] else { panic!("two are launched") };
    assert_eq!(bench.counters().waiting, 2);
    bench.call(5, 0, &[]);
    assert_eq!(bench.out()[0].flags, REFUSED);
    bench.summoner.launched(one, bench.now, &mut bench.actions);
    bench.summoner.gone(one, bench.now, &mut bench.actions);
    let [three] = bench.launches()[..] else { panic!("who waited gets one") };
    bench.summoner.launched(three, bench.now, &mut bench.actions);
    bench.accept(three, 4, 0, 1);
    assert_eq!(bench.out(), [], "it is not who came later");
    bench.accept(three, 3, 0, 1);
    assert_eq!(bench.summoner.counters(bench.service).unwrap().waiting, 1);
    bench.actions.clear();
    bench.pass(1_000);
    let [refused] = bench.out()[..] else { panic!("it waited long enough") };
    assert_eq!((refused.flags, refused.target_port), (REFUSED, 10_004));
    let counters = bench.counters();
    assert_eq!((counters.refused, counters.broken, counters.waiting, counters.live), (2, 1, 0, 2));
    bench.summoner.gone(two, bench.now, &mut bench.actions);
    assert_eq!(bench.launches(), []);
}

#[test]
fn who_does_not_want_to_wait_leaves_his_place() {
    let mut bench = Bench::new(Policy { machines: 1, waiting: 1, patience: 60_000, ..Policy::default() });
    bench.call(0, 0, &[]);
    let [id] = bench.launches()[..] else { panic!() };
    for number in 1..200 {
        let cookie = bench.call(number, 0, b"x");
        assert_eq!(bench.counters().waiting, 1);
        bench.client(number, 2, cookie.wrapping_add(1), flags::RST, &[]);
        assert_eq!(bench.counters().waiting, 0);
    }
    assert_eq!(bench.counters().refused, 0);
    bench.call(200, 0, &[]);
    bench.actions.clear();
    bench.summoner.gone(id, bench.now, &mut bench.actions);
    assert_eq!(bench.launches().len(), 1);
    assert_eq!(bench.counters().open, 1);
}

#[test]
fn a_machine_has_as_many_connections_as_it_may() {
    let mut bench = Bench::new(Policy { connections: 3, machines: 2, ..Policy::default() });
    for number in 0..6 {
        bench.call(number, 0, &[]);
    }
    let [one, two] = bench.launches()[..] else { panic!("two are launched") };
    bench.summoner.launched(one, bench.now, &mut bench.actions);
    bench.summoner.launched(two, bench.now, &mut bench.actions);
    for number in 0..6 {
        bench.accept(if number < 3 { one } else { two }, number, 0, 100);
    }
    bench.actions.clear();
    bench.call(6, 0, &[]);
    assert_eq!(bench.out()[0].flags, REFUSED);
    bench.machine(one, 1, 101, 1, flags::RST | flags::ACK, &[]);
    bench.call(7, 0, &[]);
    assert!(bench.actions.iter().any(|action| matches!(action, Action::ToMachine(id, _) if *id == one)));
    bench.actions.clear();
    bench.summoner.gone(two, bench.now, &mut bench.actions);
    let out = bench.out();
    assert!(out.len() == 3 && out.iter().all(|segment| segment.flags == REFUSED));
    assert_eq!((bench.counters().broken, bench.counters().open), (3, 3));
}

#[test]
fn what_cannot_be_launched_is_refused_and_what_hangs_is_ended() {
    let mut bench = Bench::new(Policy::default());
    bench.call(1, 0, b"x");
    let [id] = bench.launches()[..] else { panic!() };
    bench.summoner.gone(id, bench.now, &mut bench.actions);
    assert_eq!(bench.out()[0].flags, REFUSED);
    assert_eq!((bench.counters().refused, bench.counters().live), (1, 0));
    assert_eq!(bench.summoner.calls.pages, super::LIMITS.pages);

    bench.call(2, 0, b"x");
    let [id] = bench.launches()[..] else { panic!() };
    bench.summoner.launched(id, bench.now, &mut bench.actions);
    let mut syns = 0;
    for _ in 0..400 {
        bench.pass(100);
        let done = bench.done();
        syns += done.iter().filter(|action| matches!(action, Action::ToMachine(..))).count();
        if done.contains(&Action::End(id)) {
            break;
        }
    }
    assert_eq!(syns, 2 * 5, "a SYN and an ARP reply, and both four times more");
    assert_eq!((bench.counters().broken, bench.counters().open), (1, 0));
}

#[test]
fn limits_hold_for_all_services_together() {
    let mut bench = Bench::new(Policy::default());
    for number in 0..super::LIMITS.machines as u16 {
        bench.call(number, 0, &[]);
        assert_eq!(bench.launches().len(), 1);
    }
    bench.call(5_000, 0, &[]);
    assert_eq!(bench.out()[0].flags, REFUSED);
    assert_eq!(bench.counters().live, super::LIMITS.machines);
}

#[test]
fn services_come_change_and_go() {
    let mut bench = Bench::new(Policy { machines: 1, waiting: 9, patience: 60_000, ..Policy::default() });
    let first = super::service(Policy::default());
    let mut add = |service: Service| bench.summoner.add(service, 0, &mut bench.actions);
    assert_eq!(add(first), Err(Refusal::Taken));
    assert_eq!(add(Service { ip: [224, 0, 0, 1], ..first }), Err(Refusal::Address));
    assert_eq!(
        add(Service { policy: Policy { machines: 0, ..first.policy }, port: 81, ..first }),
        Err(Refusal::Policy)
    );
    let second = add(Service { port: 81, template: 8, network: Some(Network::default()), ..first }).unwrap();
    bench.actions.clear();
    (0..4).for_each(|number| _ = bench.call(number, 0, b"x"));
    let [one] = bench.launches()[..] else { panic!("one is launched") };
    let policy = Policy { machines: 3, waiting: 9, patience: 60_000, ..Policy::default() };
    bench.summoner.change(bench.service, policy, bench.now, &mut bench.actions).unwrap();
    assert_eq!(bench.launches().len(), 2);
    bench.open_early(one);
    bench.summoner.remove(bench.service, bench.now, &mut bench.actions);
    let done = bench.done();
    assert_eq!(done.iter().filter(|action| matches!(action, Action::End(_))).count(), 3);
    assert_eq!(done.iter().filter(|action| matches!(action, Action::ToOutside(_))).count(), 4);
    assert_eq!(bench.summoner.counters(bench.service), None);
    assert!(bench.summoner.counters(second).is_some());
    assert_eq!(bench.summoner.calls.pages, super::LIMITS.pages);
    bench.summoner.gone(one, bench.now, &mut bench.actions);
    bench.client(9, 0, 0, flags::SYN, &[]);
    assert_eq!(bench.out()[0].flags, REFUSED, "nobody listens there any more");
    bench.summoner.remove(second, bench.now, &mut bench.actions);
}

#[test]
fn one_client_has_no_more_connections_than_one_may() {
    let mut bench = Bench::new(Policy { per_client: 2, ..Policy::default() });
    let (cookie, one) = bench.open(1, 10, 20);
    bench.open(2, 10, 20);
    bench.call(3, 10, b"x");
    assert_eq!(bench.out()[0].flags, flags::RST);
    assert_eq!((bench.counters().summoned, bench.counters().refused), (2, 1));
    // Others may.
    let from = ([10, 0, 0, 201], 5);
    let other = |bench: &mut Bench, sequence, acknowledgement, flags| {
        let sketch = Sketch {
            from,
            to: (IP, PORT),
            macs: (CLIENT, MAC),
            sequence,
            acknowledgement,
            flags,
            options: &[],
            data: &[],
        };
        assert_eq!(bench.summoner.from_outside(sketch.frame(), bench.now, &mut bench.actions), None);
        bench.done()
    };
    let answer = other(&mut bench, 7, 0, flags::SYN).pop();
    let Some(Action::ToOutside(parcel)) = answer else { panic!("a SYN is answered") };
    let launched = other(&mut bench, 8, segment(parcel).sequence.wrapping_add(1), flags::ACK);
    assert!(matches!(launched[..], [Action::Launch { .. }]));
    // And the client itself, when it has one less.
    part(&mut bench, one, 1, (10, cookie, 20));
    bench.actions.clear();
    bench.call(4, 10, &[]);
    assert_eq!(bench.launches().len(), 1);
    bench.call(5, 10, b"x");
    assert_eq!(bench.out()[0].flags, flags::RST);
    assert_eq!(bench.counters().open, 3);
    // But for who calls for others.
    bench.summoner.trust_relay(super::client(5).0);
    bench.call(5, 30, &[]);
    assert_eq!(bench.launches().len(), 1);
}

/// Machines that boot, for clients with a minute's patience.
fn booting() -> Bench {
    Bench::new(Policy { machines: 2, waiting: 5, patience: 60_000, boots: true, ..Policy::default() })
}

#[test]
fn a_machine_that_boots_is_asked_until_it_listens_and_nothing_is_lost() {
    let mut bench = booting();
    let cookie = bench.call(1, 10, b"hello");
    let [id] = bench.launches()[..] else { panic!("one is launched") };
    bench.pass(20_000);
    assert_eq!(bench.done(), [], "it has no ring yet");
    bench.summoner.launched(id, bench.now, &mut bench.actions);
    let asked = |bench: &mut Bench| bench.done().iter().filter(|it| matches!(it, Action::ToMachine(..))).count();
    assert_eq!(asked(&mut bench), 2, "a neighbour and a SYN");
    for _ in 0..50 {
        // It has no address, then nobody listens.
        bench.machine(id, 1, 0, 11, REFUSED, &[]);
        assert_eq!(bench.done(), []);
        bench.pass(300);
        assert_eq!(asked(&mut bench), 2);
    }
    assert_eq!((bench.counters().early, bench.counters().answered), (1, 0));
    bench.accept(id, 1, 10, 99);
    assert!(matches!(bench.done()[..], [Action::ToMachine(to, _)] if to == id), "what the client had said");
    bench.machine(id, 1, 100, 16, flags::ACK, b"world");
    let [answer] = bench.out()[..] else { panic!("an answer") };
    assert_eq!((answer.sequence, answer.data), (cookie.wrapping_add(1), 5));
    bench.machine(id, 1, 105, 16, flags::ACK, b"!");
    let counters = bench.counters();
    assert_eq!((counters.early, counters.answered, counters.broken), (0, 1, 0));
    assert_eq!((counters.answer_sum, counters.answer_most), (35_000, 35_000));
}

#[test]
fn a_machine_that_never_listens_is_ended_when_patience_is() {
    let mut bench = booting();
    bench.call(1, 10, b"hello");
    let [id] = bench.launches()[..] else { panic!("one is launched") };
    bench.open_early(id);
    bench.pass(55_000);
    assert_eq!(ends(&mut bench), []);
    bench.pass(30_000);
    assert_eq!(ends(&mut bench), [id]);
    assert_eq!((bench.counters().broken, bench.counters().open, bench.counters().early), (1, 0, 0));

    // One that is not even there then.
    bench.call(2, 10, b"hello");
    let [id] = bench.launches()[..] else { panic!("another is launched") };
    bench.pass(60_100);
    assert_eq!(ends(&mut bench), [id]);
    assert_eq!(bench.summoner.calls.pages, super::LIMITS.pages);
}

#[test]
fn nothing_boots_for_who_has_left() {
    let mut bench = booting();
    let cookie = bench.call(1, 10, b"");
    let [id] = bench.launches()[..] else { panic!("one is launched") };
    bench.client(1, 11, cookie.wrapping_add(1), flags::RST, &[]);
    assert_eq!(ends(&mut bench), [id]);
    bench.summoner.gone(id, bench.now, &mut bench.actions);
    assert_eq!((bench.counters().live, bench.counters().early, bench.counters().refused), (0, 0, 0));
}
