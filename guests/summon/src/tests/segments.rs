//! Frames one by one: what is answered, passed on and how it is changed.

use smoltcp::wire::{Icmpv4Packet, Ipv4Packet};

use super::{Bench, Buffer, CLIENT, IP, MAC, PORT, Sketch, assert_intact, bytes, client, service};
use crate::action::{Action, MachineId, Parcel};
use crate::connection::{MSS, ROUTER, WINDOW};
use crate::make;
use crate::wire::{Arp, Segment, flags};
use crate::{Checksum, Mac, Policy, Service};

const ACK: u8 = flags::ACK;
const FIN: u8 = flags::FIN | flags::ACK;
const RST: u8 = flags::RST;

/// The one frame for a machine, and what it says.
pub fn inward(bench: &mut Bench, id: MachineId) -> (Segment, Vec<u8>) {
    let mut done = bench.done();
    let Some(Action::ToMachine(to, parcel)) = done.pop() else { panic!("a frame for the machine") };
    assert!(done.is_empty() && to == id);
    let frame = bytes(parcel);
    assert_intact(&frame);
    assert_eq!((&frame[..6], &frame[6..12]), (&MAC.0[..], &ROUTER.0[..]));
    (Segment::of(&Buffer::new(frame.clone())).unwrap(), frame)
}

/// The one frame for the client, and what it says.
pub fn outward(bench: &mut Bench) -> (Segment, Vec<u8>) {
    let mut done = bench.done();
    let Some(Action::ToOutside(parcel)) = done.pop() else { panic!("a frame for the client") };
    assert!(done.is_empty());
    let frame = bytes(parcel);
    assert_intact(&frame);
    assert_eq!((&frame[..6], &frame[6..12]), (&CLIENT.0[..], &MAC.0[..]));
    (Segment::of(&Buffer::new(frame.clone())).unwrap(), frame)
}

#[test]
fn who_asks_for_the_address_is_told_and_who_takes_it_is_contradicted_once() {
    let mut bench = Bench::new(Policy::default());
    let arp = |sender: [u8; 4], target: [u8; 4]| {
        let mut frame = make::announcement(CLIENT, sender).to_vec();
        frame[38..42].copy_from_slice(&target);
        Buffer::new(frame)
    };
    assert_eq!(bench.summoner.from_outside(arp([10, 0, 0, 9], IP), bench.now, &mut bench.actions), None);
    let [Action::ToOutside(reply)] = &mut bench.done()[..] else { panic!("one reply") };
    let Parcel::Short(reply) = reply else { panic!("a new frame") };
    let packet = Arp::of(reply).unwrap();
    assert_eq!((packet.operation.get(), packet.sender, packet.sender_mac), (Arp::REPLY, IP, MAC.0));
    assert_eq!((packet.target, packet.target_mac, &reply[..6]), ([10, 0, 0, 9], CLIENT.0, &CLIENT.0[..]));

    let other = arp([10, 0, 0, 9], [10, 0, 0, 8]);
    assert_eq!(bench.summoner.from_outside(other.clone(), bench.now, &mut bench.actions), Some(other));
    for _ in 0..5 {
        let claim = arp(IP, IP);
        assert_eq!(bench.summoner.from_outside(claim.clone(), bench.now, &mut bench.actions), Some(claim));
        bench.now += 100;
    }
    let said = bench.done();
    assert_eq!(said, [Action::ToOutside(Parcel::Short(make::announcement(MAC, IP)))]);
    assert_eq!(bench.counters().conflicts, 5);
}

#[test]
fn an_echo_request_is_answered_with_itself() {
    let mut bench = Bench::new(Policy::default());
    let mut frame = Sketch {
        from: client(1),
        to: (IP, PORT),
        macs: (CLIENT, MAC),
        sequence: 0,
        acknowledgement: 0,
        flags: 0,
        options: &[],
        data: &[7; 101],
    }
    .frame()
    .bytes;
    frame[22..24].copy_from_slice(&[3, 1]);
    Ipv4Packet::new_unchecked(&mut frame[14..]).fill_checksum();
    frame[34..36].copy_from_slice(&[8, 0]);
    Icmpv4Packet::new_unchecked(&mut frame[34..]).fill_checksum();
    assert!(bench.summoner.from_outside(Buffer::new(frame.clone()), 0, &mut bench.actions).is_none());
    let Some(Action::ToOutside(Parcel::Frame(reply))) = bench.actions.pop_front() else { panic!("it is answered") };
    let ip = Ipv4Packet::new_checked(&reply.bytes[14..]).unwrap();
    assert!(ip.verify_checksum() && Icmpv4Packet::new_unchecked(ip.payload()).verify_checksum());
    assert_eq!((ip.src_addr().octets(), ip.dst_addr().octets(), ip.hop_limit()), (IP, client(1).0, 64));
    assert_eq!((reply.bytes[34], &reply.bytes[38..]), (0, &frame[38..]));
    for (place, value) in [(34, 3), (23, 17), (20, 0x20), (14, 0x46)] {
        let mut other = frame.clone();
        other[place] = value;
        assert!(bench.summoner.from_outside(Buffer::new(other), 0, &mut bench.actions).is_none());
        assert!(bench.done().is_empty(), "neither errors, other protocols, fragments nor options");
    }
}

#[test]
fn what_is_for_others_comes_back() {
    let mut bench = Bench::new(Policy::default());
    let sketch = |to, mac| {
        let sketch = Sketch { from: client(1), to, macs: (CLIENT, mac), ..syn(5) };
        sketch.frame()
    };
    for frame in [sketch(([10, 0, 0, 3], PORT), MAC), sketch((IP, PORT), CLIENT), sketch((IP, PORT), Mac([0xff; 6]))] {
        assert_eq!(bench.summoner.from_outside(frame.clone(), 0, &mut bench.actions), Some(frame));
    }
    assert!(bench.actions.is_empty());
    assert!(bench.summoner.from_outside(sketch((IP, 81), MAC), 0, &mut bench.actions).is_none());
    let (refusal, _) = outward(&mut bench);
    assert_eq!((refusal.flags, refusal.acknowledgement), (RST | ACK, 6));
    for source in [IP, [224, 0, 0, 1], [127, 0, 0, 1], [0, 1, 2, 3], [255; 4]] {
        let frame = Sketch { from: (source, 5), ..syn(5) }.frame();
        assert!(bench.summoner.from_outside(frame, 0, &mut bench.actions).is_none());
        assert!(bench.done().is_empty(), "nobody is there");
    }
}

fn syn(sequence: u32) -> Sketch<'static> {
    let (from, to, macs) = (client(1), (IP, PORT), (CLIENT, MAC));
    Sketch { from, to, macs, sequence, acknowledgement: 0, flags: flags::SYN, options: &[], data: &[] }
}

#[test]
fn a_machine_finds_the_callers_syn_and_whom_to_answer() {
    for (options, mss) in
        [(&[2, 4, 5, 0xb4][..], 1460), (&[1, 1, 1, 1, 2, 4, 2, 24], 536), (&[], 536), (&[2, 4, 0, 9], 88)]
    {
        let mut bench = Bench::new(Policy::default());
        let frame = Sketch { options, ..syn(5) }.frame();
        assert!(bench.summoner.from_outside(frame, bench.now, &mut bench.actions).is_none());
        let (answer, frame) = outward(&mut bench);
        assert_eq!((answer.mss(&frame), answer.window, answer.acknowledgement), (Some(MSS), WINDOW, 6));
        bench.client(1, 6, answer.sequence.wrapping_add(1), ACK, b"GET /");
        let [id] = bench.launches()[..] else { panic!() };
        bench.summoner.launched(id, bench.now, &mut bench.actions);
        let arp = make::arp_reply(ROUTER, client(1).0, MAC.0, IP);
        assert_eq!(bench.actions.pop_front(), Some(Action::ToMachine(id, Parcel::Short(arp))));
        let (said, frame) = inward(&mut bench, id);
        assert_eq!((said.flags, said.sequence, said.mss(&frame)), (flags::SYN, 5, Some(mss)));
        assert_eq!((said.source, said.source_port, said.target, said.window), (client(1).0, client(1).1, IP, 0x2000));
        bench.accept(id, 1, 5, 1_000);
        let (said, frame) = inward(&mut bench, id);
        assert_eq!((said.sequence, said.acknowledgement, &frame[54..]), (6, 1_001, &b"GET /"[..]));
    }
}

#[test]
fn numbers_are_shifted_across_their_ends() {
    let mut bench = Bench::new(Policy { keep: 1_000, ..Policy::default() });
    // One whose cookie is just before the end of all numbers.
    let isn = (0..u32::MAX).find(|isn| bench.syn(1, *isn) > u32::MAX - 0x2_0000).unwrap();
    let (cookie, id) = bench.open(1, isn, u32::MAX - 2);
    assert!(cookie > u32::MAX - 0x2_0000);
    let mut sent = 0_u32;
    for len in [1_u32, 2, 1_000, 0x7fff, 0x8000, 0x7fff, 0x7fff, 0x7fff, 0x7fff, 5] {
        let data = vec![len as u8; len as usize];
        let own = (u32::MAX - 1).wrapping_add(sent);
        bench.machine(id, 1, own, isn + 1, ACK, &data);
        let (said, frame) = outward(&mut bench);
        assert_eq!((said.sequence, said.acknowledgement), (cookie.wrapping_add(1).wrapping_add(sent), isn + 1));
        assert!(frame.ends_with(&data));
        sent += len;
        bench.client(1, isn + 1, said.end(), ACK, &[]);
        let (said, _) = inward(&mut bench, id);
        assert_eq!((said.sequence, said.acknowledgement), (isn + 1, own.wrapping_add(len)));
    }
    let end = (u32::MAX - 1).wrapping_add(sent);
    bench.machine(id, 1, end, isn + 1, FIN, &[]);
    let (said, _) = outward(&mut bench);
    bench.client(1, isn + 1, said.end(), FIN, &[]);
    inward(&mut bench, id);
    assert_eq!(bench.counters().open, 1);
    bench.machine(id, 1, end.wrapping_add(1), isn + 2, ACK, &[]);
    assert_eq!(bench.counters().open, 0, "both sides have ended");
}

#[test]
fn a_checksum_that_is_still_to_be_made_is_left_alone() {
    let mut bench = Bench::new(Policy::default());
    let (cookie, id) = bench.open(1, 5, 1_000);
    let mut frame =
        Sketch { sequence: 6, acknowledgement: cookie.wrapping_add(1), flags: ACK, data: b"x", ..syn(0) }.frame();
    frame.bytes[50..52].copy_from_slice(&[0x12, 0x34]);
    frame.checksum = Checksum::Blank;
    assert!(bench.summoner.from_outside(frame, bench.now, &mut bench.actions).is_none());
    let Some(Action::ToMachine(_, Parcel::Frame(frame))) = bench.actions.pop_front() else { panic!("it is passed on") };
    assert_eq!((&frame.bytes[50..52], &frame.bytes[42..46]), (&[0x12, 0x34][..], &1_001_u32.to_be_bytes()[..]));
    assert_eq!(id.place(), 0);
}

#[test]
fn selective_acknowledgements_are_made_nothing_of() {
    let mut bench = Bench::new(Policy::default());
    let (cookie, id) = bench.open(1, 5, 1_000);
    for options in [
        &[5, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1][..],
        &[1, 5, 10, 1, 2, 3, 4, 5, 6, 7, 8, 0],
        &[8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 5, 2],
    ] {
        let acknowledgement = cookie.wrapping_add(1);
        let frame = Sketch { sequence: 6, acknowledgement, flags: ACK, options, data: b"abc", ..syn(0) }.frame();
        assert!(bench.summoner.from_outside(frame, bench.now, &mut bench.actions).is_none());
        let (_, frame) = inward(&mut bench, id);
        assert!(!frame[54..66].contains(&5) || options[0] == 8);
        assert!(frame.ends_with(b"abc"));
    }
    // Those that claim to be longer than all of them.
    let frame =
        Sketch { sequence: 6, acknowledgement: cookie.wrapping_add(1), flags: ACK, options: &[5, 200, 0, 0], ..syn(0) };
    assert!(bench.summoner.from_outside(frame.frame(), bench.now, &mut bench.actions).is_none());
    inward(&mut bench, id);
}

#[test]
fn machines_speak_with_their_callers_and_nobody_else() {
    let mut bench = Bench::new(Policy::default());
    let (_, one) = bench.open(1, 5, 1_000);
    let (_, two) = bench.open(2, 5, 1_000);
    bench.machine(one, 2, 1_001, 6, ACK, b"not mine");
    bench.machine(one, 3, 1_001, 6, ACK, b"nobody's");
    for from in [(IP, 81), ([10, 0, 0, 3], PORT)] {
        let macs = (MAC, ROUTER);
        let frame = Sketch { from, to: client(1), macs, sequence: 1_001, acknowledgement: 6, flags: ACK, ..syn(0) };
        bench.summoner.from_machine(one, frame.frame(), bench.now, &mut bench.actions);
    }
    assert!(bench.done().is_empty());
    // Whoever is asked for, the router answers; but nobody has its own address.
    for (target, answered) in [([10, 0, 0, 77], true), (IP, false)] {
        let mut frame = make::announcement(MAC, IP).to_vec();
        frame[38..42].copy_from_slice(&target);
        bench.summoner.from_machine(two, Buffer::new(frame), bench.now, &mut bench.actions);
        let reply = Action::ToMachine(two, Parcel::Short(make::arp_reply(ROUTER, target, MAC.0, IP)));
        assert_eq!(bench.done().contains(&reply), answered);
    }
}

#[test]
fn callers_from_elsewhere_are_answered_through_the_gateway() {
    let mut bench = Bench::new(Policy::default());
    let from = ([192, 168, 7, 7], 999);
    let frame = Sketch { from, ..syn(5) }.frame();
    assert!(bench.summoner.from_outside(frame, bench.now, &mut bench.actions).is_none());
    let (answer, _) = outward(&mut bench);
    let acknowledgement = answer.sequence.wrapping_add(1);
    let frame = Sketch { from, acknowledgement, flags: ACK, ..syn(6) }.frame();
    assert!(bench.summoner.from_outside(frame, bench.now, &mut bench.actions).is_none());
    let [id] = bench.launches()[..] else { panic!() };
    bench.summoner.launched(id, bench.now, &mut bench.actions);
    let arp = make::arp_reply(ROUTER, [10, 0, 0, 1], MAC.0, IP);
    assert_eq!(bench.actions.pop_front(), Some(Action::ToMachine(id, Parcel::Short(arp))));
}

#[test]
fn services_at_one_address_are_one_station() {
    let mut bench = Bench::new(Policy::default());
    let other = Mac([0x00, 0x16, 0x3e, 9, 9, 9]);
    let second = Service { port: 81, mac: other, ..service(Policy::default()) };
    bench.summoner.add(second, bench.now, &mut bench.actions).unwrap();
    let [Action::ToOutside(said)] = &bench.done()[..] else { panic!("it is announced") };
    assert_eq!(*said, Parcel::Short(make::announcement(MAC, IP)));
    let frame = Sketch { to: (IP, 81), ..syn(5) }.frame();
    assert!(bench.summoner.from_outside(frame, bench.now, &mut bench.actions).is_none());
    let (answer, _) = outward(&mut bench);
    let acknowledgement = answer.sequence.wrapping_add(1);
    let frame = Sketch { to: (IP, 81), acknowledgement, flags: ACK, ..syn(6) }.frame();
    assert!(bench.summoner.from_outside(frame, bench.now, &mut bench.actions).is_none());
    let [id] = bench.launches()[..] else { panic!() };
    bench.summoner.launched(id, bench.now, &mut bench.actions);
    let [_, Action::ToMachine(_, Parcel::Short(syn))] = &bench.done()[..] else { panic!("an ARP reply and a SYN") };
    assert_eq!(syn[..6], other.0);
}
