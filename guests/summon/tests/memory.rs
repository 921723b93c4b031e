//! What all this costs in memory, counted by the allocator. There is nothing else in this program, and no other thread.

use std::alloc::System;

use mote_summon::{
    Action, Actions, Checksum, Limits, Mac, MachineId, Network, Packet, Parcel, Policy, Service, Summoner,
};
use smoltcp::wire::{Ipv4Address, Ipv4Packet, TcpPacket};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MAC: Mac = Mac([0, 0x16, 0x3e, 0, 0, 1]);
const IP: [u8; 4] = [10, 0, 0, 2];
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const CALLERS: u32 = 10_000;

/// A frame that needs no memory of the heap.
#[derive(Clone, Copy)]
struct Flat([u8; 54]);

impl Packet for Flat {
    fn head(&self) -> &[u8] {
        &self.0
    }

    fn head_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn length(&self) -> usize {
        self.0.len()
    }

    fn pages(&self) -> usize {
        1
    }

    fn checksum(&self) -> Checksum {
        Checksum::Unknown
    }
}

impl Flat {
    fn new(inward: bool, caller: u32, sequence: u32, acknowledgement: u32, flags: u8) -> Self {
        let mut bytes = [0; 54];
        bytes[..6].copy_from_slice(&MAC.0);
        bytes[6..12].copy_from_slice(&[0x52, 0x54, 0, 0, 0, 1]);
        bytes[12..14].copy_from_slice(&[8, 0]);
        let [_, high, middle, low] = caller.to_be_bytes();
        let outer = (Ipv4Address::new(10, 1 + high, middle, low), 1_000);
        let [a, b, c, d] = IP;
        let service = (Ipv4Address::new(a, b, c, d), 80);
        let (source, target) = if inward { (outer, service) } else { (service, outer) };
        let mut ip = Ipv4Packet::new_unchecked(&mut bytes[14..]);
        ip.set_version(4);
        ip.set_header_len(20);
        ip.set_total_len(40);
        ip.set_hop_limit(64);
        ip.set_next_header(smoltcp::wire::IpProtocol::Tcp);
        ip.set_src_addr(source.0);
        ip.set_dst_addr(target.0);
        ip.fill_checksum();
        bytes[46..48].copy_from_slice(&[0x50, flags]);
        bytes[38..42].copy_from_slice(&sequence.to_be_bytes());
        bytes[42..46].copy_from_slice(&acknowledgement.to_be_bytes());
        bytes[48..50].copy_from_slice(&[0xff, 0xff]);
        let mut tcp = TcpPacket::new_unchecked(&mut bytes[34..]);
        tcp.set_src_port(source.1);
        tcp.set_dst_port(target.1);
        tcp.fill_checksum(&source.0.into(), &target.0.into());
        Self(bytes)
    }
}

struct Bench {
    summoner: Summoner<Flat>,
    actions: Actions<Flat>,
    machines: Vec<MachineId>,
    now: u64,
}

impl Bench {
    fn outside(&mut self, caller: u32, sequence: u32, acknowledgement: u32, flags: u8) {
        let frame = Flat::new(true, caller, sequence, acknowledgement, flags);
        assert!(self.summoner.from_outside(frame, self.now, &mut self.actions).is_none());
    }

    /// Does what is to be done, as quickly as can be. Returns the number of the last SYN-ACK.
    fn act(&mut self) -> u32 {
        let mut cookie = 0;
        while let Some(action) = self.actions.pop_front() {
            match action {
                Action::Launch { machine, .. } => {
                    self.machines.push(machine);
                    self.summoner.launched(machine, self.now, &mut self.actions);
                }
                Action::ToOutside(Parcel::Short(frame)) => {
                    cookie = u32::from_be_bytes(*frame[38..].first_chunk().unwrap());
                }
                Action::End(_) | Action::Discard(_) | Action::ToMachine(..) | Action::ToOutside(_) => {}
            }
        }
        cookie
    }

    /// All callers call, and are answered.
    fn open_all(&mut self) -> Vec<u32> {
        let mut cookies = Vec::with_capacity(CALLERS as usize);
        for caller in 0..CALLERS {
            self.outside(caller, 7, 0, SYN);
            let cookie = self.act();
            self.outside(caller, 8, cookie.wrapping_add(1), ACK);
            self.act();
            let machine = *self.machines.last().unwrap();
            self.summoner.from_machine(
                machine,
                Flat::new(false, caller, 100, 8, SYN | ACK),
                self.now,
                &mut self.actions,
            );
            self.act();
            cookies.push(cookie);
        }
        cookies
    }

    fn pass(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds / 100 {
            self.now += 100;
            self.summoner.tick(self.now, &mut self.actions);
            self.act();
        }
    }
}

fn bench() -> Bench {
    let limits = Limits { machines: 32_752, connections: 65_536, pages: 64 };
    let mut summoner = Summoner::new(&[1; 16], limits);
    let mut actions = Actions::with_capacity(16);
    let network = Some(Network { prefix: 8, gateway: None });
    let service = Service { template: 3, mac: MAC, ip: IP, port: 80, network, policy: Policy::default() };
    summoner.add(service, 0, &mut actions).unwrap();
    actions.clear();
    Bench { summoner, actions, machines: Vec::with_capacity(2 * CALLERS as usize), now: 1_000_000 }
}

fn main() {
    let mut bench = bench();
    let region = Region::new(ALLOCATOR);
    for caller in 0..100_000 {
        bench.outside(caller, caller, 0, SYN);
        bench.act();
        bench.outside(caller, caller, caller ^ 0x5555, ACK);
        bench.act();
    }
    assert_eq!(region.change().allocations, 0, "who is nobody costs nothing");

    let region = Region::new(ALLOCATOR);
    let cookies = bench.open_all();
    let held = region.change();
    let each = (held.bytes_allocated - held.bytes_deallocated) as u32 / CALLERS;
    println!("{each} bytes for a connection and its machine, {} allocations", held.allocations as u32 / CALLERS);
    assert!(each <= 512, "{each} bytes for a connection and its machine");

    let region = Region::new(ALLOCATOR);
    for (caller, cookie) in cookies.iter().enumerate() {
        bench.outside(caller as u32, 8, cookie.wrapping_add(1), ACK);
        let frame = Flat::new(false, caller as u32, 101, 8, ACK);
        bench.summoner.from_machine(bench.machines[caller], frame, bench.now, &mut bench.actions);
        assert_eq!(bench.actions.len(), 2);
        bench.act();
    }
    assert_eq!(region.change().allocations, 0, "nothing is allocated for a frame");

    // Round after round of as many machines: memory stays what it was after the first.
    let mut first = None;
    for round in 0..5 {
        for caller in 0..CALLERS {
            let machine = bench.machines[caller as usize];
            let frame = Flat::new(false, caller, 101, 8, RST | ACK);
            bench.summoner.from_machine(machine, frame, bench.now, &mut bench.actions);
            bench.summoner.gone(machine, bench.now, &mut bench.actions);
            bench.act();
        }
        bench.machines.clear();
        bench.pass(20_000);
        assert_eq!(bench.summoner.next_tick(), None, "nothing is left");
        let stats = ALLOCATOR.stats();
        let held = stats.bytes_allocated as isize - stats.bytes_deallocated as isize;
        let first = *first.get_or_insert(held);
        assert!(held <= first, "{held} bytes in round {round}, {first} after the first");
        drop(bench.open_all());
    }
}
