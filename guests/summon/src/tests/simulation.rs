//! Whatever the network does, data come as they were sent, and nothing is left of a connection.

use proptest::prelude::*;

use super::world::{Service, Weather, World};
use crate::Policy;

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 31 / 5) as u8).collect()
}

fn weathers() -> impl Strategy<Value = Weather> {
    (0..150_u32, 0..150_u32, 0..300_u32, 0..50_u32).prop_map(|(lost, doubled, late, ring)| Weather {
        lost,
        doubled,
        late,
        ring,
    })
}

#[test]
fn a_call_is_answered_in_fair_weather_and_nothing_is_left() {
    let mut world = World::new(1, Weather::default(), Service::Answer(5_000), Policy::default());
    world.call(b"GET /\n".to_vec(), usize::MAX, false);
    let took = world.run(1_000);
    assert!(took < 60, "{took} ms");
    assert_eq!(world.clients[0].got, World::answer(5_000).collect::<Vec<_>>());
    let counters = world.summoner.counters(world.service).unwrap();
    assert_eq!((counters.syns, counters.summoned, counters.vanished, counters.live), (1, 1, 1, 0));
    assert_eq!((counters.broken, counters.refused, counters.wrong), (0, 0, 0));
    for _ in 0..20_000 {
        world.step();
    }
    assert!(world.summoner.next_tick().is_none(), "it does nothing once all is forgotten");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_echoed_is_what_was_sent_whatever_the_weather(seed: u64, weather in weathers(), len in 1..40_000_usize, eager: bool) {
        let mut world = World::new(seed, weather, Service::Echo, Policy::default());
        world.call(data(len), len, eager);
        world.run(600_000);
        prop_assume!(world.is_heard());
        let got: Vec<u8> = world.clients[0].got.iter().map(|byte| byte ^ 0x5a).collect();
        prop_assert!(got == data(len), "{} of {len} bytes", got.len());
        let counters = world.summoner.counters(world.service).unwrap();
        prop_assert_eq!((counters.summoned, counters.broken), (1, 0));
    }

    #[test]
    fn who_vanishes_when_all_is_acknowledged_is_not_missed(seed: u64, weather in weathers(), len in 0..20_000_usize) {
        let mut world = World::new(seed, weather, Service::Answer(len), Policy::default());
        for _ in 0..3 {
            world.call(b"?\n".to_vec(), usize::MAX, false);
        }
        world.run(600_000);
        prop_assume!(world.is_heard());
        for client in &world.clients {
            prop_assert!(client.got.iter().copied().eq(World::answer(len)), "{} of {len} bytes", client.got.len());
        }
        let counters = world.summoner.counters(world.service).unwrap();
        prop_assert_eq!((counters.summoned, counters.broken), (3, 0));
    }

    #[test]
    fn warm_machines_serve_one_after_another(seed: u64, weather in weathers(), len in 1..4_000_usize) {
        let policy = Policy { machines: 2, keep: 5_000, waiting: 10, patience: 600_000, ..Policy::default() };
        let mut world = World::new(seed, weather, Service::Answers(len), policy);
        for _ in 0..6 {
            world.call(b"?\n".to_vec(), usize::MAX, false);
        }
        world.run(600_000);
        prop_assert!(world.machines_at_once <= 2);
        prop_assume!(world.is_heard());
        for client in &world.clients {
            prop_assert!(client.got.iter().copied().eq(World::answer(len)), "{} of {len} bytes", client.got.len());
        }
    }
}
