//! Very many clients of a service at once. First each says half of what it wants, so that its machine has to wait for it; when all have
//! machines, they say the rest, and all machines answer. It makes its packets by itself: a TCP/IP stack that polls ten thousand sockets is
//! slower than what it is to measure.
//!
//! Arguments: `ip=10.0.2.30/24 service=10.0.2.22 clients=1000`, `together=64` for how many are on their way at a time, `stay` in
//! milliseconds between the halves.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod client;
mod wire;

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::cell::OnceCell;
use core::net::Ipv4Addr;
use core::time::Duration;

use mote_unikernel::executor::{self, Executor};
use mote_unikernel::net::smoltcp::phy::{Device, RxToken, TxToken};
use mote_unikernel::net::smoltcp::time::Instant as Moment;
use mote_unikernel::net::smoltcp::wire::EthernetAddress;
use mote_unikernel::net::{Address, Fixed, NetFront, Network};
use mote_unikernel::time::{self, Instant};
use mote_unikernel::xen::store::Store;
use mote_unikernel::{Machine, power, println};

use client::{Client, Stage, Words};
use wire::{ARP_LEN, Segment, Station};

mote_unikernel::entry!(main);

const PORT: u16 = 80;
/// The first client's port.
const FIRST_PORT: u16 = 1024;
/// For how long a client waits for an answer before it says a thing once more.
const PATIENCE: Duration = Duration::from_millis(500);
/// Clients that are looked at for that in one turn.
const LOOKS: usize = 64;
/// How long a domain is there after its last figure.
const PAUSE: Duration = Duration::from_millis(100);

fn main(machine: Machine) {
    let network = OnceCell::new();
    let fixed = machine.argument("ip").and_then(|ip| Fixed::read(ip, None, None));
    let address = |name| machine.argument(name).and_then(|address| address.parse::<Ipv4Addr>().ok());
    let (Some(fixed), Some(service)) = (fixed, address("service")) else {
        return println!("crowd: no ip= or service=");
    };
    let own = fixed.address.address();
    executor::run(async {
        let store = Store::connect().await.expect("a xenstore");
        let found = Network::open(&store, &machine, Address::Fixed(fixed)).await.expect("a network");
        let _ = network.set(found);
    });
    let Some(network) = network.get() else { return };
    let mut executor = Executor::new();
    executor.spawn(network.follow());
    executor.spawn(async {
        let count = machine.number("clients").unwrap_or(100) as u16;
        let together = machine.number("together").unwrap_or(64) as usize;
        let here = Station { mac: EthernetAddress(network.mac()), ip: own };
        let Some(there) = find(network, here, service).await else { return };
        println!("ready");
        let mut crowd = Crowd::new(here, there, count, together);
        if crowd.pass(network, 0, Stage::In).await {
            executor::sleep(Duration::from_millis(machine.number("stay").unwrap_or(0))).await;
            crowd.pass(network, 1, Stage::Answered).await;
        }
        executor::sleep(PAUSE).await;
        power::shutdown();
    });
    executor.run();
}

/// Who has the service's address.
async fn find(network: &Network, here: Station, service: Ipv4Addr) -> Option<Station> {
    let mut found = None;
    let mut asked = Instant::at(0);
    network
        .frames(|device| {
            while let Some((frame, _)) = device.receive(Moment::ZERO) {
                let answer = frame.consume(wire::answer).filter(|station| station.ip == service);
                found = found.or(answer);
            }
            if found.is_none() && asked + PATIENCE <= Instant::now() {
                asked = Instant::now();
                let send = |room: &mut [u8]| wire::ask(here, service, room);
                let _ = device.transmit(Moment::ZERO).map(|room| room.consume(ARP_LEN, send));
            }
            found.is_some()
        })
        .await;
    found
}

/// All clients.
struct Crowd {
    here: Station,
    there: Station,
    clients: Vec<Client>,
    together: usize,
    /// Those that have begun, those that have come to where all are to come, and who is looked at next.
    begun: usize,
    arrived: usize,
    looked: usize,
    /// What could not be sent at once.
    unsaid: Vec<Words>,
}

impl Crowd {
    fn new(here: Station, there: Station, count: u16, together: usize) -> Self {
        let clients = (0..count).map(|number| Client::new(FIRST_PORT + number)).collect();
        Self { here, there, clients, together, begun: 0, arrived: 0, looked: 0, unsaid: Vec::new() }
    }

    /// Has all clients come to a stage, and says how long it took; whether they have.
    async fn pass(&mut self, network: &Network, number: usize, until: Stage) -> bool {
        (self.begun, self.arrived) = (0, 0);
        let began = Instant::now();
        network.frames(|device| self.turn(device, until)).await;
        self.report(number, until, began);
        self.clients.iter().all(|client| client.stage == until)
    }

    fn turn(&mut self, device: &mut NetFront, until: Stage) -> bool {
        while let Some(words) = self.unsaid.pop() {
            self.say(device, words);
            if !self.unsaid.is_empty() && device.transmit(Moment::ZERO).is_none() {
                return false;
            }
        }
        let now = Instant::now();
        while let Some((frame, _)) = device.receive(Moment::ZERO) {
            let answer = frame.consume(|frame| self.hear(frame, now, until));
            answer.into_iter().for_each(|words| self.say(device, words));
        }
        while self.begun < self.clients.len() && self.begun - self.arrived < self.together && self.unsaid.is_empty() {
            let words = self.clients[self.begun].begin(now);
            self.begun += 1;
            self.say(device, words);
        }
        self.look(device, now);
        self.arrived == self.clients.len()
    }

    /// A client's answer to a frame.
    fn hear(&mut self, frame: &[u8], now: Instant, until: Stage) -> Option<Words> {
        let (segment, data) = Segment::read(self.there, PORT, frame)?;
        let client = self.clients.get_mut(usize::from(segment.port.checked_sub(FIRST_PORT)?))?;
        let before = client.stage;
        let words = client.hear(&segment, data, now);
        self.arrived += usize::from(client.stage != before && [until, Stage::Refused].contains(&client.stage));
        words
    }

    /// Has some of those that have waited long enough say it once more.
    fn look(&mut self, device: &mut NetFront, now: Instant) {
        let before = Instant::at(now.ticks().saturating_sub(time::ticks(PATIENCE)));
        for _ in 0..LOOKS.min(self.begun) {
            self.looked = (self.looked + 1) % self.begun;
            let again = self.clients[self.looked].again(before, now);
            again.into_iter().for_each(|words| self.say(device, words));
        }
    }

    fn say(&mut self, device: &mut NetFront, (segment, data): Words) {
        let (here, there) = (self.here, self.there);
        match device.transmit(Moment::ZERO) {
            Some(room) => {
                room.consume(segment.length(data), |frame| segment.write(here, there, PORT, data, frame));
            }
            None => self.unsaid.push((segment, data)),
        }
    }

    fn report(&self, number: usize, until: Stage, began: Instant) {
        let there = self.clients.iter().filter(|client| client.stage == until);
        let domains: BTreeSet<u16> = there.clone().map(|client| client.domain).collect();
        let part = (self.clients.len() / 10).max(1);
        let mean = |clients: &[Client]| {
            let ticks: u64 = clients.iter().map(|client| client.took[number]).sum();
            time::duration(ticks / clients.len().max(1) as u64).as_micros()
        };
        let (first, last) = (mean(&self.clients[..part]), mean(&self.clients[self.clients.len() - part..]));
        let what = if until == Stage::In { "alive" } else { "answered" };
        println!("crowd: {} of {} {what}, {} domains", there.count(), self.clients.len(), domains.len());
        println!("crowd: {what}: first {first} us, last {last} us each, {} ms in all", began.elapsed().as_millis());
    }
}
