//! A network with callers of smoltcp's on one side and machines of smoltcp's on the other, the summoner between, and losses everywhere.

use std::collections::{BTreeMap, VecDeque};

use smoltcp::socket::tcp::{Socket, State};
use smoltcp::wire::Ipv4Address;

use super::station::Station;
use super::{Buffer, IP, MAC, PORT, bytes, service, summoner};
use crate::action::{Action, Actions, MachineId};
use crate::{Policy, ServiceId, Summoner};

/// What a link does to frames, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    pub lost: u32,
    pub doubled: u32,
    /// Held back for a few milliseconds, behind others.
    pub late: u32,
    /// Lost between the summoner and machines.
    pub ring: u32,
}

/// What machines do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Each byte comes back changed; the machine ends when the client has ended.
    Echo,
    /// When the client's first line has come there are so many bytes and a FIN; the machine is gone when these are acknowledged.
    Answer(usize),
    /// The same again and again.
    Answers(usize),
}

pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    fn happens(&mut self, thousandths: u32) -> bool {
        self.next() % 1_000 < thousandths
    }
}

pub struct Client {
    pub station: Station,
    to_send: VecDeque<u8>,
    /// What came.
    pub got: Vec<u8>,
    expected: usize,
    mac: [u8; 6],
    /// Whether it ends its side itself as soon as it has sent everything.
    eager: bool,
}

struct Server {
    station: Station,
    to_send: VecDeque<u8>,
    told: bool,
}

pub struct World {
    pub now: u64,
    pub summoner: Summoner<Buffer>,
    pub service: ServiceId,
    pub actions: Actions<Buffer>,
    random: Random,
    weather: Weather,
    kind: Service,
    /// Frames on their way: when they are there, in which order they were sent, whether to a client, and what they are.
    wire: BTreeMap<(u64, u64), (bool, Vec<u8>)>,
    serial: u64,
    pub clients: Vec<Client>,
    servers: BTreeMap<MachineId, Server>,
    pub machines_at_once: usize,
}

impl World {
    pub fn new(seed: u64, weather: Weather, kind: Service, policy: Policy) -> Self {
        let (summoner, service, actions) = summoner(service(policy));
        Self {
            now: 1_000_000,
            summoner,
            service,
            actions,
            random: Random(seed),
            weather,
            kind,
            wire: BTreeMap::new(),
            serial: 0,
            clients: Vec::new(),
            servers: BTreeMap::new(),
            machines_at_once: 0,
        }
    }

    /// Another client calls, sends `data`, and waits for as many bytes.
    pub fn call(&mut self, data: Vec<u8>, expected: usize, eager: bool) {
        let number = self.clients.len() as u8 + 10;
        let mac = [0x52, 0x54, 0, 0, 0, number];
        let mut station = Station::new(mac, [10, 0, 0, number], u64::from(self.random.next()), self.now);
        let [a, b, c, d] = IP;
        let context = station.interface.context();
        let socket = station.sockets.get_mut::<Socket<'_>>(station.socket);
        socket.connect(context, (Ipv4Address::new(a, b, c, d), PORT), 40_000 + u16::from(number)).unwrap();
        self.clients.push(Client { station, to_send: data.into(), got: Vec::new(), expected, mac, eager });
    }

    pub fn answer(len: usize) -> impl Iterator<Item = u8> {
        (0..len).map(|index| (index / 7) as u8)
    }

    /// Lets a millisecond pass.
    pub fn step(&mut self) {
        self.now += 1;
        let now = self.now;
        while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= now) {
            let (to_client, frame) = entry.remove();
            if to_client {
                let everyone = frame[..6] == [0xff; 6];
                for client in self.clients.iter_mut().filter(|client| everyone || client.mac == frame[..6]) {
                    client.station.link.arrive(frame.clone());
                }
            } else {
                // It is for a service, or for all.
                let _ = self.summoner.from_outside(Buffer::new(frame), now, &mut self.actions);
            }
        }
        if self.summoner.next_tick().is_some_and(|next| next <= now) {
            self.summoner.tick(now, &mut self.actions);
        }
        self.act();
        self.serve();
        for index in 0..self.clients.len() {
            self.clients[index].turn(now);
            for frame in std::mem::take(&mut self.clients[index].station.link.sent) {
                self.send(false, frame);
            }
        }
    }

    /// Steps until all clients have what they wait for, and nothing is left. Says how many milliseconds it took.
    pub fn run(&mut self, limit: u64) -> u64 {
        let start = self.now;
        while !self.is_done() {
            assert!(self.now - start < limit, "after {limit} ms: {}", self.report());
            self.step();
        }
        self.now - start
    }

    /// Whether every client's first ACK came while its cookie was good: who loses all for so long is not connected.
    pub fn is_heard(&self) -> bool {
        self.summoner.counters(self.service).unwrap().connections == self.clients.len() as u64
    }

    fn report(&mut self) -> String {
        let state = |client: &mut Client| (client.station.socket().state(), client.got.len(), client.to_send.len());
        let clients: Vec<_> = self.clients.iter_mut().map(state).collect();
        format!("{clients:?} {:?}", self.summoner.counters(self.service))
    }

    fn is_done(&mut self) -> bool {
        let counters = self.summoner.counters(self.service).unwrap();
        let mut clients = self.clients.iter_mut();
        clients.all(|client| matches!(client.station.socket().state(), State::Closed | State::TimeWait))
            && counters.open == 0
            && counters.live == counters.idle
    }

    fn send(&mut self, to_client: bool, frame: Vec<u8>) {
        if self.random.happens(self.weather.lost) {
            return;
        }
        let copies = 1 + u32::from(self.random.happens(self.weather.doubled));
        for _ in 0..copies {
            let late = if self.random.happens(self.weather.late) { u64::from(self.random.next() % 20) } else { 0 };
            self.serial += 1;
            self.wire.insert((self.now + 1 + late, self.serial), (to_client, frame.clone()));
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.actions.pop_front() {
            match action {
                Action::Launch { machine, .. } => {
                    let seed = u64::from(self.random.next());
                    let mut station = Station::new(MAC.0, IP, seed, self.now);
                    station.socket().listen(PORT).unwrap();
                    let server = Server { station, to_send: VecDeque::new(), told: false };
                    self.servers.insert(machine, server);
                    self.machines_at_once = self.machines_at_once.max(self.servers.len());
                    self.summoner.launched(machine, self.now, &mut self.actions);
                }
                Action::End(machine) => {
                    self.servers.remove(&machine);
                    self.summoner.gone(machine, self.now, &mut self.actions);
                }
                Action::ToMachine(machine, parcel) => {
                    if !self.random.happens(self.weather.ring)
                        && let Some(server) = self.servers.get_mut(&machine)
                    {
                        server.station.link.arrive(bytes(parcel));
                    }
                }
                Action::ToOutside(parcel) => self.send(true, bytes(parcel)),
                Action::Discard(_) => {}
            }
        }
    }

    fn serve(&mut self) {
        let now = self.now;
        let mut gone = Vec::new();
        for (machine, server) in &mut self.servers {
            if server.turn(self.kind, now) {
                gone.push(*machine);
            }
            for frame in std::mem::take(&mut server.station.link.sent) {
                if !self.random.happens(self.weather.ring) {
                    self.summoner.from_machine(*machine, Buffer::new(frame), now, &mut self.actions);
                }
            }
        }
        for machine in gone {
            self.servers.remove(&machine);
            self.summoner.gone(machine, now, &mut self.actions);
        }
        self.act();
    }
}

impl Client {
    fn turn(&mut self, now: u64) {
        self.station.poll(now);
        let socket = self.station.sockets.get_mut::<Socket<'_>>(self.station.socket);
        if socket.may_send() {
            let (data, _) = self.to_send.as_slices();
            let sent = socket.send_slice(data).unwrap_or(0);
            self.to_send.drain(..sent);
        }
        while socket.can_recv() {
            let _ = socket.recv(|data| (data.len(), self.got.extend_from_slice(data)));
        }
        let has_all = self.got.len() >= self.expected;
        if socket.may_send() && self.to_send.is_empty() && (self.eager || has_all || !socket.may_recv()) {
            socket.close();
        }
        self.station.poll(now);
    }
}

impl Server {
    /// Says whether the machine has ended.
    fn turn(&mut self, kind: Service, now: u64) -> bool {
        self.station.poll(now);
        let socket = self.station.sockets.get_mut::<Socket<'_>>(self.station.socket);
        let mut line = false;
        while socket.can_recv() {
            let _ = socket.recv(|data| {
                line |= data.contains(&b'\n');
                if kind == Service::Echo {
                    self.to_send.extend(data.iter().map(|byte| byte ^ 0x5a));
                }
                (data.len(), ())
            });
        }
        if let Service::Answer(len) | Service::Answers(len) = kind
            && line
            && !std::mem::replace(&mut self.told, true)
        {
            self.to_send.extend(World::answer(len));
        }
        if socket.may_send() {
            let sent = socket.send_slice(self.to_send.as_slices().0).unwrap_or(0);
            self.to_send.drain(..sent);
            let is_told = if kind == Service::Echo { !socket.may_recv() } else { self.told };
            if is_told && self.to_send.is_empty() && socket.state() != State::SynReceived {
                socket.close();
            }
        }
        self.station.poll(now);
        let state = self.station.socket().state();
        match kind {
            Service::Echo => matches!(state, State::TimeWait | State::Closed),
            Service::Answer(_) => matches!(state, State::FinWait2 | State::TimeWait | State::Closed),
            Service::Answers(_) => {
                if matches!(state, State::TimeWait | State::Closed) {
                    self.told = false;
                    self.station.socket().abort();
                    self.station.poll(now);
                    self.station.link.sent.clear();
                    self.station.socket().listen(PORT).unwrap();
                }
                false
            }
        }
    }
}
