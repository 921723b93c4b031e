use std::cell::RefCell;
use std::rc::Rc;

use mote_protocols::netif::{TxRequest, status, transmit};
use mote_protocols::statistics::{Counters, interface};
use proptest::prelude::*;

use crate::testing::{ABLE, Guest, Received, SharedWire, TestLan, Wire, frame, is_right, mac, tcp};
use crate::{Abilities, Agreement, Checksum, Identity, Lan, Mac};

const BROADCAST: Mac = Mac([0xff; 6]);
const PAGES: usize = 300;

/// What is wrong, and how it is made so.
type Case<'a, T> = (&'a str, &'a dyn Fn(&mut T));

fn plain(bytes: Vec<u8>) -> Received {
    Received { bytes, checksum: Checksum::Unknown, segment: 0 }
}

/// Two guests, the second of which is as `agreement` says and has asked to receive into 64 pages.
fn two(agreement: Agreement) -> (TestLan, Guest, Guest) {
    let mut lan = Lan::new(PAGES);
    let first = Guest::new(&mut lan, 1, ABLE);
    let mut second = Guest::new(&mut lan, 2, agreement);
    second.ask(64);
    (lan, first, second)
}

fn wire(lan: &mut TestLan, abilities: Abilities) -> (crate::PortId, SharedWire) {
    counted_wire(lan, abilities, &Rc::default())
}

fn counted_wire(lan: &mut TestLan, abilities: Abilities, counters: &Rc<Counters>) -> (crate::PortId, SharedWire) {
    let wire = Rc::new(RefCell::new(Wire { abilities, room: 64, ..Wire::default() }));
    (lan.add_uplink(wire.clone(), counters.clone()).expect("a port"), wire)
}

#[test]
fn a_frame_is_answered_and_arrives() {
    let (mut lan, mut first, mut second) = two(ABLE);
    let frame = frame(first.mac, second.mac, 1514);
    first.transmit(&frame, Checksum::Unknown, 0);
    assert!(first.serve(&mut lan));
    assert_eq!(first.answers().iter().map(|answer| answer.status).collect::<Vec<_>>(), [status::OKAY]);
    assert_eq!(second.received(), [plain(frame)]);
}

#[test]
fn a_batch_costs_one_call_at_each_end_and_one_event() {
    let (mut lan, mut first, mut second) = two(ABLE);
    for _ in 0..32 {
        first.transmit(&frame(first.mac, second.mac, 1000), Checksum::Unknown, 0);
    }
    assert!(first.serve(&mut lan));
    assert_eq!((first.memory.calls.get(), first.memory.copies.get()), (1, 32));
    assert_eq!((second.memory.calls.get(), second.memory.copies.get()), (1, 32));
    assert_eq!((first.memory.transmit_events.get(), second.memory.receive_events.get()), (1, 1));
    assert_eq!(second.received().len(), 32);
}

#[test]
fn a_part_that_is_a_page_costs_one_copy_at_each_end() {
    let (mut lan, mut first, mut second) = two(ABLE);
    let frame = frame(first.mac, second.mac, 66 + 14 * 4096);
    let (head, rest) = frame.split_at(66);
    let parts: Vec<_> = std::iter::once((0, head)).chain(rest.chunks(4096).map(|part| (0, part))).collect();
    let requests = first.requests(&parts);
    first.push(&requests);
    assert!(first.serve(&mut lan));
    assert_eq!((first.memory.calls.get(), first.memory.copies.get()), (1, 15));
    assert_eq!((second.memory.calls.get(), second.memory.copies.get()), (1, 15));
    assert_eq!(second.received(), [plain(frame)]);
}

#[test]
fn a_checksum_is_completed_for_those_who_cannot_only() {
    for able in [true, false] {
        let abilities = Abilities { checksum: able, segments: false };
        let (mut lan, mut first, mut second) = two(Agreement { abilities, ..ABLE });
        for len in [0, 1, 7, 1000, 1460, 5000] {
            let frame = tcp(first.mac, second.mac, len);
            first.transmit(&frame, Checksum::Blank, 0);
            assert!(first.serve(&mut lan));
            let [Received { bytes, checksum, .. }] = second.received().try_into().expect("one frame");
            if able {
                assert_eq!((bytes, checksum), (frame, Checksum::Blank));
            } else {
                assert_eq!(checksum, Checksum::Valid);
                assert!(is_right(&bytes), "{len}");
                assert_eq!(bytes[54..], frame[54..]);
            }
        }
    }
}

#[test]
fn a_large_frame_arrives_whole_where_that_can_be_and_else_in_segments() {
    let (mut lan, mut first, mut second) = two(ABLE);
    let (_, wire) = wire(&mut lan, Abilities::default());
    let large = tcp(first.mac, second.mac, 50_000);
    first.transmit(&large, Checksum::Blank, 1448);
    assert!(first.serve(&mut lan));
    assert_eq!(second.received(), [Received { bytes: large, checksum: Checksum::Blank, segment: 1448 }]);

    let outside = tcp(first.mac, mac(99), 50_000);
    first.transmit(&outside, Checksum::Blank, 1448);
    assert!(first.serve(&mut lan));
    let sent = &wire.borrow().sent;
    assert_eq!(sent.len(), 35);
    let mut data: Vec<u8> = Vec::new();
    for (number, segment) in sent.iter().enumerate() {
        assert!(is_right(segment), "{number}");
        assert_eq!(u16::from_be_bytes([segment[18], segment[19]]), 0x1234 + number as u16);
        let sequence = u32::from_be_bytes([segment[38], segment[39], segment[40], segment[41]]);
        assert_eq!(sequence, 0xffff_ff00_u32.wrapping_add(data.len() as u32));
        let flags = if number == 0 {
            0x90
        } else if number == 34 {
            0x19
        } else {
            0x10
        };
        assert_eq!(segment[47], flags, "{number}");
        data.extend(&segment[54..]);
    }
    assert!(data == outside[54..]);
}

#[test]
fn segments_for_a_guest_that_completes_checksums_have_the_pseudo_headers_sum() {
    let abilities = Abilities { checksum: true, segments: false };
    let (mut lan, mut first, mut second) = two(Agreement { abilities, ..ABLE });
    first.transmit(&tcp(first.mac, second.mac, 3000), Checksum::Blank, 1000);
    assert!(first.serve(&mut lan));
    let received = second.received();
    assert_eq!(received.len(), 3);
    for segment in received {
        assert_eq!(segment.checksum, Checksum::Blank);
        assert_eq!(segment.bytes[50..52], tcp(first.mac, second.mac, 1000)[50..52]);
    }
}

#[test]
fn what_nobody_asked_to_receive_waits_and_bounds_nobody_else() {
    let (mut lan, mut first, mut second) = two(ABLE);
    let mut third = Guest::new(&mut lan, 3, ABLE);
    for _ in 0..1000 {
        first.transmit(&frame(first.mac, third.mac, 100), Checksum::Unknown, 0);
        assert!(first.serve(&mut lan));
        assert_eq!(first.answers().len(), 1);
    }
    first.transmit(&frame(first.mac, second.mac, 100), Checksum::Unknown, 0);
    assert!(first.serve(&mut lan));
    assert_eq!(second.received().len(), 1);
    assert!(third.counters.get(interface::RECEIVED_DROPPED) > 500);

    third.ask(200);
    assert!(third.serve(&mut lan));
    let received = third.received().len();
    assert!((50..200).contains(&received), "{received}");
    assert_eq!(third.memory.receive_events.get(), 1);
}

#[test]
fn a_guest_that_goes_leaves_no_page_behind() {
    let mut lan = Lan::new(100);
    let mut first = Guest::new(&mut lan, 1, ABLE);
    for round in 0..50 {
        let mut other = Guest::new(&mut lan, 2, ABLE);
        for _ in 0..30 {
            first.transmit(&frame(first.mac, other.mac, 100), Checksum::Unknown, 0);
        }
        assert!(first.serve(&mut lan));
        first.answers();
        other.ask(1);
        assert!(other.serve(&mut lan));
        assert_eq!(other.received().len(), 1, "{round}");
        lan.remove(other.port);
    }
}

#[test]
fn who_is_apart_meets_the_outside_alone() {
    let (mut lan, mut first, mut second) = two(ABLE);
    let identity = Identity { mac: mac(9), ip: None, apart: true };
    let mut apart = Guest::with_identity(&mut lan, identity, ABLE);
    let (uplink, wire) = wire(&mut lan, Abilities::default());
    apart.ask(8);
    for to in [apart.mac, BROADCAST] {
        first.transmit(&frame(first.mac, to, 60), Checksum::Unknown, 0);
        assert!(first.serve(&mut lan));
        assert!(apart.received().is_empty());
    }
    assert_eq!((second.received().len(), wire.borrow_mut().sent.drain(..).count()), (1, 1));
    for (to, goes) in [(first.mac, 0), (BROADCAST, 1), (mac(77), 1)] {
        apart.transmit(&frame(apart.mac, to, 60), Checksum::Unknown, 0);
        assert!(apart.serve(&mut lan));
        assert!(second.received().is_empty());
        assert_eq!(wire.borrow_mut().sent.drain(..).count(), goes);
    }
    wire.borrow_mut().came.push_back(frame(mac(77), apart.mac, 60));
    lan.serve_uplink(uplink, 0);
    assert_eq!(apart.received().len(), 1);
    // Who answers in a guest's place may be called.
    let proxy = Identity { mac: mac(10), ip: None, apart: false };
    lan.add_proxy(proxy, ABLE.abilities, Rc::default()).unwrap();
    apart.transmit(&frame(apart.mac, proxy.mac, 60), Checksum::Unknown, 0);
    assert!(apart.serve(&mut lan));
    let mut called = lan.called().unwrap();
    let head = called.head_mut();
    head[..6].copy_from_slice(&apart.mac.0);
    head[6..12].copy_from_slice(&proxy.mac.0);
    lan.answer([called], 0);
    assert_eq!(apart.received().len(), 1);
}

#[test]
fn broadcasts_go_to_all_others_and_the_unknown_to_uplinks_only() {
    let (mut lan, mut first, mut second) = two(ABLE);
    let mut third = Guest::new(&mut lan, 3, ABLE);
    third.ask(4);
    let counters = Rc::default();
    let (uplink, wire) = counted_wire(&mut lan, Abilities::default(), &counters);
    first.ask(4);
    for to in [BROADCAST, Mac([1, 0, 0x5e, 0, 0, 1])] {
        let frame = frame(first.mac, to, 60);
        first.transmit(&frame, Checksum::Unknown, 0);
        assert!(first.serve(&mut lan));
        assert_eq!(second.received(), [plain(frame.clone())]);
        assert_eq!(third.received(), [plain(frame.clone())]);
        assert_eq!(wire.borrow_mut().sent.pop(), Some(frame));
    }
    first.transmit(&frame(first.mac, mac(77), 60), Checksum::Unknown, 0);
    assert!(first.serve(&mut lan));
    assert!(second.received().is_empty() && first.received().is_empty());
    assert_eq!(wire.borrow_mut().sent.len(), 1);
    // A guest that is not connected is not outside either.
    lan.expect((9, 0), mac(78));
    for (sent, forget) in [(1, false), (2, true)] {
        if forget {
            lan.forget((9, 0));
        }
        first.transmit(&frame(first.mac, mac(78), 60), Checksum::Unknown, 0);
        assert!(first.serve(&mut lan));
        assert_eq!(wire.borrow_mut().sent.len(), sent);
    }

    let incoming = frame(mac(77), second.mac, 60);
    wire.borrow_mut().came.push_back(incoming.clone());
    // Nobody may come from outside in a guest's name.
    wire.borrow_mut().came.push_back(frame(first.mac, second.mac, 60));
    lan.serve_uplink(uplink, 0);
    assert_eq!(second.received(), [plain(incoming)]);
    assert_eq!(counters.get(interface::REFUSED), 1);
}

#[test]
fn an_uplink_without_room_is_waited_for() {
    let (mut lan, mut first, _) = two(ABLE);
    let (uplink, wire) = wire(&mut lan, Abilities::default());
    wire.borrow_mut().room = 0;
    for _ in 0..10 {
        first.transmit(&frame(first.mac, mac(77), 60), Checksum::Unknown, 0);
    }
    assert!(first.serve(&mut lan));
    assert_eq!(wire.borrow().sent.len(), 0);
    wire.borrow_mut().room = 64;
    lan.serve_uplink(uplink, 0);
    assert_eq!(wire.borrow().sent.len(), 10);
}

#[test]
fn a_guest_speaks_for_itself_only() {
    let mut lan = Lan::new(PAGES);
    let ip = [10, 0, 0, 1];
    let mut first = Guest::with_ip(&mut lan, 1, ABLE, Some(ip));
    let mut second = Guest::new(&mut lan, 2, ABLE);
    second.ask(32);
    let mut arrives = |bytes: &[u8]| {
        first.transmit(bytes, Checksum::Unknown, 0);
        assert!(first.serve(&mut lan));
        first.answers();
        second.received().len() == 1
    };
    let right = tcp(mac(1), mac(2), 10);
    assert!(arrives(&right));
    let with = |offset: usize, value: &[u8]| {
        let mut bytes = right.clone();
        bytes[offset..offset + value.len()].copy_from_slice(value);
        bytes
    };
    assert!(!arrives(&with(6, &mac(3).0)), "another's address");
    assert!(!arrives(&with(26, &[10, 0, 0, 9])), "another's IP address");
    assert!(!arrives(&with(12, &[0x81, 0])), "something else, in which an IP address may be");
    assert!(!arrives(&with(26, &[0; 4])), "no address, and not in order to get one");
    let mut dhcp = with(23, &[17]);
    dhcp[26..30].copy_from_slice(&[0; 4]);
    dhcp[34..38].copy_from_slice(&[0, 68, 0, 67]);
    assert!(arrives(&dhcp));
    dhcp[20] = 0x20;
    assert!(!arrives(&dhcp), "a fragment");

    let mut arp = [mac(2).0.as_slice(), &mac(1).0, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &mac(1).0, &ip].concat();
    arp.extend([0; 10]);
    assert!(arrives(&arp));
    arp[31] ^= 1;
    assert!(!arrives(&arp), "another's IP address");
    arp[31] ^= 1;
    arp[27] ^= 1;
    assert!(!arrives(&arp), "another's address");
}

#[test]
fn a_frame_that_makes_no_sense_is_answered_with_an_error() {
    let (mut lan, mut first, mut second) = two(ABLE);
    let good = frame(first.mac, second.mac, 3000);
    let cases: [Case<'_, Vec<TxRequest>>; 4] = [
        ("too short", &|requests| {
            requests.truncate(1);
            (requests[0].size, requests[0].flags) = (13, 0);
        }),
        ("less in all than in the rest", &|requests| requests[0].size = 1000),
        ("no such grant", &|requests| requests[1].gref = 0xffff_ffff),
        ("too many requests", &|requests| {
            let last = requests[1];
            requests[1].flags |= transmit::MORE_DATA;
            requests.extend([TxRequest { flags: transmit::MORE_DATA, size: 1, ..last }; 16]);
            requests.push(TxRequest { size: 1, ..last });
            requests[0].size += 17;
        }),
    ];
    for (what, spoil) in cases {
        let mut requests = first.requests(&[(0, &good[..1500]), (96, &good[1500..])]);
        spoil(&mut requests);
        first.push(&requests);
        first.transmit(&good, Checksum::Unknown, 0);
        assert!(first.serve(&mut lan), "{what}");
        let answers = first.answers();
        assert_eq!(answers.len(), requests.len() + 1, "{what}");
        assert!(answers[..requests.len()].iter().any(|answer| answer.status == status::ERROR), "{what}");
        assert_eq!(second.received(), [plain(good.clone())], "{what}: only what came after it");
    }
}

#[test]
fn a_ring_that_makes_no_sense_ends_that_connection_alone() {
    let cases: [Case<'_, Guest>; 6] = [
        ("an index that jumps", &|guest| guest.tx_page.set(0, 1000)),
        ("an index that goes back", &|guest| guest.tx_page.set(0, u32::MAX)),
        ("a receiver's index that jumps", &|guest| guest.rx_page.set(0, 100_000)),
        ("a part past the end of its page", &|guest| {
            guest.push(&[TxRequest { gref: 2, offset: 4000, flags: 0, id: 0, size: 97 }]);
        }),
        ("a frame without end", &|guest| {
            guest.push(&[TxRequest { gref: 2, offset: 0, flags: transmit::MORE_DATA, id: 0, size: 60 }; 3]);
        }),
        ("an extra of no type", &|guest| {
            guest.push(&[TxRequest { gref: 2, offset: 0, flags: transmit::EXTRA_INFO, id: 0, size: 60 }; 3]);
        }),
    ];
    for (what, spoil) in cases {
        let (mut lan, mut first, mut second) = two(ABLE);
        let mut third = Guest::new(&mut lan, 3, ABLE);
        third.ask(4);
        spoil(&mut first);
        second.transmit(&frame(second.mac, first.mac, 60), Checksum::Unknown, 0);
        second.transmit(&frame(second.mac, third.mac, 60), Checksum::Unknown, 0);
        assert!(second.serve(&mut lan), "{what}");
        assert_eq!(third.received().len(), 1, "{what}");
        assert!(!first.serve(&mut lan), "{what}");
        assert!(first.memory.broken.get(), "{what}");
        lan.remove(first.port);
        second.transmit(&frame(second.mac, third.mac, 60), Checksum::Unknown, 0);
        assert!(second.serve(&mut lan), "{what}");
        assert_eq!(third.received().len(), 1, "{what}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_frame_arrives_however_it_is_cut(
        cuts in proptest::collection::vec((1usize..4096, 0usize..4096), 1..18),
    ) {
        let (mut lan, mut first, mut second) = two(ABLE);
        let lens: Vec<_> = cuts.iter().map(|(len, offset)| (*len).min(4096 - offset).max(1)).collect();
        let total: usize = lens.iter().sum();
        prop_assume!((14..65536).contains(&total));
        let frame = frame(first.mac, second.mac, total);
        let mut rest = frame.as_slice();
        let mut parts = Vec::new();
        for (len, (_, offset)) in lens.iter().zip(&cuts) {
            let (part, later) = rest.split_at(*len);
            parts.push((*offset, part));
            rest = later;
        }
        let requests = first.requests(&parts);
        first.push(&requests);
        prop_assert!(first.serve(&mut lan));
        prop_assert!(first.answers().iter().all(|answer| answer.status == status::OKAY));
        prop_assert_eq!(second.received(), [plain(frame)]);
    }

    #[test]
    fn nothing_in_a_ring_harms_another_guest(
        words in proptest::collection::vec((0usize..1024, any::<u32>(), any::<bool>()), 0..200),
        produced in 0u32..300,
        rounds in 1usize..4,
    ) {
        let (mut lan, first, mut second) = two(ABLE);
        let mut third = Guest::new(&mut lan, 3, ABLE);
        third.ask(8);
        for round in 0..rounds {
            for (place, value, receiver) in &words {
                let page = if *receiver { &first.rx_page } else { &first.tx_page };
                // Small numbers make more sense, and so come farther.
                let value = if place % 3 == 0 { value % 4096 } else { *value };
                page.set(place * 4, value.rotate_left(round as u32));
            }
            first.tx_page.set(0, first.tx_page.get(8).wrapping_add(produced));
            for turn in 0..8 {
                if lan.serve(first.port, 0, turn).is_err() {
                    break;
                }
            }
            second.transmit(&frame(second.mac, first.mac, 60), Checksum::Unknown, 0);
            second.transmit(&frame(second.mac, third.mac, 60), Checksum::Unknown, 0);
            prop_assert!(second.serve(&mut lan));
            prop_assert_eq!(third.received(), [plain(frame(second.mac, third.mac, 60))]);
        }
    }

    #[test]
    fn no_frame_makes_cutting_fail(
        mut bytes in proptest::collection::vec(any::<u8>(), 14..9000),
        segment in any::<u16>(),
        like_tcp in any::<bool>(),
    ) {
        let (mut lan, mut first, _second) = two(Agreement { abilities: Abilities::default(), ..ABLE });
        let (_, wire) = wire(&mut lan, Abilities::default());
        if like_tcp {
            let model = tcp(first.mac, mac(9), 100);
            let len = bytes.len().min(54);
            bytes[..len].copy_from_slice(&model[..len]);
            if bytes.len() >= 54 {
                let total = (bytes.len() - 14) as u16;
                bytes[16..18].copy_from_slice(&total.to_be_bytes());
            }
        } else {
            bytes[..6].copy_from_slice(&mac(9).0);
            bytes[6..12].copy_from_slice(&first.mac.0);
        }
        first.transmit(&bytes, Checksum::Blank, segment.max(1));
        prop_assert!(first.serve(&mut lan));
        if like_tcp && bytes.len() >= 54 && segment >= 64 {
            prop_assert!(!wire.borrow().sent.is_empty());
            prop_assert!(wire.borrow().sent.iter().all(|frame| is_right(frame)));
        }
    }
}
