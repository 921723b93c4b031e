//! Whatever comes, nothing panics, and no frame is lost or doubled.

use proptest::prelude::*;

use super::{Bench, Buffer, CLIENT, IP, MAC, PORT, Sketch, client};
use crate::action::{Action, MachineId, Parcel};
use crate::wire::flags;
use crate::{Checksum, Policy};

/// A connection each that waits, is greeted, is open and is over.
fn bench() -> (Bench, Vec<MachineId>, Vec<u32>) {
    let mut bench = Bench::new(Policy { machines: 3, waiting: 5, patience: 1_000, keep: 1_000, ..Policy::default() });
    let (mut machines, mut cookies) = (Vec::new(), Vec::new());
    for number in 0..4 {
        cookies.push(bench.call(number, 1_000, if number == 1 { b"data" } else { b"" }));
        machines.extend(bench.launches());
    }
    bench.launch(machines[0], 0, 1_000, 5_000);
    bench.open_early(machines[1]);
    bench.machine(machines[0], 0, 5_001, 1_001, flags::RST | flags::ACK, &[]);
    bench.launch(machines[0], 3, 1_000, 5_000);
    bench.actions.clear();
    (bench, machines, cookies)
}

/// How many frames that came go out again.
fn frames(bench: &mut Bench) -> usize {
    let came = |action: Action<Buffer>| match action {
        Action::Discard(_) | Action::ToMachine(_, Parcel::Frame(_)) | Action::ToOutside(Parcel::Frame(_)) => true,
        Action::Launch { .. } | Action::End(_) => false,
        Action::ToMachine(_, Parcel::Short(short)) | Action::ToOutside(Parcel::Short(short)) => {
            assert!(short.len() >= 42);
            false
        }
    };
    bench.actions.drain(..).map(came).filter(|came| *came).count()
}

/// A frame that is nearly right, and where it comes from.
fn nearly_right() -> impl Strategy<Value = (bool, u16, Buffer)> {
    let numbers = prop_oneof![Just(1_000_u32), Just(1_001), Just(1_005), Just(5_001), any::<u32>()];
    let options =
        prop_oneof![Just(vec![]), prop::collection::vec(any::<u8>(), 1..11).prop_map(|words| words.repeat(4))];
    let data = prop::collection::vec(any::<u8>(), 0..20);
    let damage = prop::option::weighted(0.5, (0..80_usize, any::<u8>()));
    let cut = prop::option::weighted(0.2, 0..100_usize);
    let head = (any::<bool>(), 0..5_u16, any::<bool>());
    (head, numbers.clone(), (0..6_usize, numbers), 0..64_u8, options, data, damage, cut).prop_map(
        |((outside, number, blank), sequence, (cookie, other), flags, options, data, damage, cut)| {
            let (_, _, cookies) = bench();
            let acknowledgement = cookies.get(cookie).map_or(other, |cookie| cookie.wrapping_add(1));
            let (from, to) = if outside { (client(number), (IP, PORT)) } else { ((IP, PORT), client(number)) };
            let macs = if outside { (CLIENT, MAC) } else { (MAC, CLIENT) };
            let options = &options[..options.len().min(40)];
            let mut frame = Sketch { from, to, macs, sequence, acknowledgement, flags, options, data: &data }.frame();
            if let Some((place, value)) = damage
                && let Some(byte) = frame.bytes.get_mut(place)
            {
                *byte = value;
            }
            frame.bytes.truncate(cut.unwrap_or(usize::MAX));
            if blank {
                frame.checksum = Checksum::Blank;
            }
            (outside, number, frame)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn frames_that_are_nearly_right_do_no_harm(all in prop::collection::vec((nearly_right(), 0..3_usize, 0..2_000_u64), 1..20)) {
        let (mut bench, machines, _) = bench();
        let mut held = super::LIMITS.pages - bench.summoner.calls.pages;
        for ((outside, _, frame), machine, pause) in all {
            let mut back = 0;
            if outside {
                back += usize::from(bench.summoner.from_outside(frame, bench.now, &mut bench.actions).is_some());
            } else {
                bench.summoner.from_machine(machines[machine], frame, bench.now, &mut bench.actions);
            }
            bench.now += pause;
            bench.summoner.tick(bench.now, &mut bench.actions);
            let now_held = super::LIMITS.pages - bench.summoner.calls.pages;
            prop_assert_eq!(frames(&mut bench) + back + now_held, 1 + held);
            held = now_held;
            let counters = bench.counters();
            prop_assert!(counters.open <= 9 && counters.live <= 3 && counters.idle <= counters.live);
            prop_assert_eq!(counters.waiting as usize <= 5, true);
        }
        for machine in machines {
            bench.summoner.gone(machine, bench.now, &mut bench.actions);
        }
        for _ in 0..4_000 {
            let ended: Vec<_> = bench.actions.drain(..).filter_map(|action| match action {
                Action::Launch { machine, .. } | Action::End(machine) => Some(machine),
                _ => None,
            }).collect();
            for machine in ended {
                bench.summoner.gone(machine, bench.now, &mut bench.actions);
            }
            if bench.summoner.next_tick().is_none() {
                break;
            }
            bench.pass(100);
        }
        let counters = bench.counters();
        prop_assert_eq!((counters.open, counters.live, counters.idle, counters.waiting), (0, 0, 0, 0));
        prop_assert_eq!(counters.summoned, counters.vanished);
        prop_assert!(bench.summoner.calls.is_empty() && bench.summoner.calls.pages == super::LIMITS.pages);
    }

    #[test]
    fn noise_does_no_harm(noise in prop::collection::vec(any::<u8>(), 0..120), kind in 0..4_u8, outside: bool) {
        let (mut bench, machines, _) = bench();
        let mut bytes = noise;
        for (place, value) in [(12, 8), (13, if kind == 1 { 6 } else { 0 }), (14, 0x45), (23, 6), (16, 0)] {
            if let Some(byte) = bytes.get_mut(place).filter(|_| kind > 0) {
                *byte = value;
            }
        }
        let addresses = if outside { (0, 30) } else { (6, 26) };
        if kind == 3 && bytes.len() > 34 {
            bytes[addresses.0..][..6].copy_from_slice(&MAC.0);
            bytes[addresses.1..][..4].copy_from_slice(&IP);
        }
        if outside {
            let _ = bench.summoner.from_outside(Buffer::new(bytes), bench.now, &mut bench.actions);
        } else {
            bench.summoner.from_machine(machines[0], Buffer::new(bytes), bench.now, &mut bench.actions);
        }
    }
}

#[test]
fn frames_that_end_anywhere_do_no_harm() {
    let (mut bench, machines, cookies) = bench();
    let options = &[2, 4, 5, 0xb4, 5, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    for flags in [flags::SYN, flags::ACK, flags::RST, flags::FIN | flags::ACK, flags::SYN | flags::ACK] {
        let acknowledgement = cookies[3].wrapping_add(1);
        let (from, to) = (client(3), (IP, PORT));
        let macs = (CLIENT, MAC);
        let whole = Sketch { from, to, macs, sequence: 1_001, acknowledgement, flags, options, data: b"data" };
        let back = Sketch { from: to, to: from, macs: (MAC, CLIENT), ..whole };
        for end in 0..=whole.frame().bytes.len() {
            for mut frame in [whole.frame(), back.frame()] {
                frame.bytes.truncate(end);
                let _ = bench.summoner.from_outside(frame.clone(), bench.now, &mut bench.actions);
                bench.summoner.from_machine(machines[0], frame, bench.now, &mut bench.actions);
            }
        }
    }
}
