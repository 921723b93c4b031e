//! The summoner between callers and machines of all kinds.

mod endings;
mod flood;
mod hostile;
mod policies;
mod segments;
mod simulation;
mod station;
mod world;

use crate::action::{Action, Actions, MachineId, Parcel};
use crate::wire::{Segment, flags};
use crate::{Checksum, Limits, Mac, Network, Packet, Policy, Service, ServiceId, Summoner};

pub const IP: [u8; 4] = [10, 0, 0, 2];
pub const PORT: u16 = 80;
pub const MAC: Mac = Mac([0x00, 0x16, 0x3e, 1, 2, 3]);
pub const CLIENT: Mac = Mac([0x52, 0x54, 0, 1, 2, 3]);

/// A frame in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    pub bytes: Vec<u8>,
    pub checksum: Checksum,
}

impl Buffer {
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, checksum: Checksum::Unknown }
    }
}

impl Packet for Buffer {
    fn head(&self) -> &[u8] {
        &self.bytes
    }

    fn head_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn length(&self) -> usize {
        self.bytes.len()
    }

    fn pages(&self) -> usize {
        1
    }

    fn checksum(&self) -> Checksum {
        self.checksum
    }
}

pub fn bytes(parcel: Parcel<Buffer>) -> Vec<u8> {
    match parcel {
        Parcel::Frame(frame) => frame.bytes,
        Parcel::Short(short) => short.to_vec(),
    }
}

pub fn service(policy: Policy) -> Service {
    let network = Some(Network { prefix: 24, gateway: Some([10, 0, 0, 1]) });
    Service { template: 7, mac: MAC, ip: IP, port: PORT, network, policy }
}

pub const LIMITS: Limits = Limits { machines: 1_000, connections: 2_000, pages: 100 };

/// One with a service, which has said so.
pub fn summoner(service: Service) -> (Summoner<Buffer>, ServiceId, Actions<Buffer>) {
    let mut summoner = Summoner::new(&[9; 16], LIMITS);
    let mut actions = Actions::new();
    let id = summoner.add(service, 0, &mut actions).unwrap();
    assert_eq!(actions.len(), 1, "it announces its address");
    actions.clear();
    (summoner, id, actions)
}

/// A segment with data, from anybody.
pub struct Sketch<'a> {
    pub from: ([u8; 4], u16),
    pub to: ([u8; 4], u16),
    pub macs: (Mac, Mac),
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: u8,
    pub options: &'a [u8],
    pub data: &'a [u8],
}

impl Sketch<'_> {
    pub fn frame(&self) -> Buffer {
        use smoltcp::wire::{Ipv4Address, TcpPacket};
        let (Mac(source), Mac(target)) = self.macs;
        let total = (40 + self.options.len() + self.data.len()) as u16;
        let mut frame = [target.as_slice(), &source, &[8, 0, 0x45, 0], &total.to_be_bytes()].concat();
        frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
        frame.extend(self.from.0.iter().chain(&self.to.0));
        let sum = !crate::checksum::fold(crate::checksum::add(0, &frame[14..34]));
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame.extend(self.from.1.to_be_bytes().iter().chain(&self.to.1.to_be_bytes()));
        frame.extend(self.sequence.to_be_bytes().iter().chain(&self.acknowledgement.to_be_bytes()));
        frame.extend([(5 + self.options.len() as u8 / 4) << 4, self.flags, 0x20, 0, 0, 0, 0, 0]);
        frame.extend(self.options.iter().chain(self.data));
        let [source, target] = [self.from.0, self.to.0].map(|[a, b, c, d]| Ipv4Address::new(a, b, c, d).into());
        TcpPacket::new_unchecked(&mut frame[34..]).fill_checksum(&source, &target);
        Buffer::new(frame)
    }
}

/// Whether smoltcp finds all of a frame's checksums right.
pub fn assert_intact(frame: &[u8]) {
    use smoltcp::wire::{Ipv4Packet, TcpPacket};
    let ip = Ipv4Packet::new_checked(&frame[14..]).unwrap();
    assert!(ip.verify_checksum());
    let tcp = TcpPacket::new_checked(ip.payload()).unwrap();
    assert!(tcp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()));
}

/// A caller that is made by hand, and the summoner that he calls.
pub struct Bench {
    pub summoner: Summoner<Buffer>,
    pub service: ServiceId,
    pub actions: Actions<Buffer>,
    pub now: u64,
}

impl Bench {
    pub fn new(policy: Policy) -> Self {
        let (summoner, service, actions) = summoner(service(policy));
        Self { summoner, service, actions, now: 1_000_000 }
    }

    pub fn counters(&self) -> crate::Counters {
        self.summoner.counters(self.service).unwrap()
    }

    /// A frame from client `number`.
    pub fn client(&mut self, number: u16, sequence: u32, acknowledgement: u32, flags: u8, data: &[u8]) {
        let from = client(number);
        let macs = (CLIENT, MAC);
        let sketch = Sketch { from, to: (IP, PORT), macs, sequence, acknowledgement, flags, options: &[], data };
        assert_eq!(self.summoner.from_outside(sketch.frame(), self.now, &mut self.actions), None);
    }

    /// A frame from a machine to client `number`.
    pub fn machine(&mut self, id: MachineId, number: u16, sequence: u32, acknowledgement: u32, flags: u8, data: &[u8]) {
        let to = client(number);
        let macs = (MAC, crate::connection::ROUTER);
        let sketch = Sketch { from: (IP, PORT), to, macs, sequence, acknowledgement, flags, options: &[], data };
        self.summoner.from_machine(id, sketch.frame(), self.now, &mut self.actions);
    }

    /// What is to be done, without what is thrown away.
    pub fn done(&mut self) -> Vec<Action<Buffer>> {
        self.actions.drain(..).filter(|action| !matches!(action, Action::Discard(_))).collect()
    }

    /// The segments that go out.
    pub fn out(&mut self) -> Vec<Segment> {
        let outward = |action| match action {
            Action::ToOutside(parcel) => Some(segment(parcel)),
            _ => None,
        };
        self.done().into_iter().filter_map(outward).collect()
    }

    /// Client `number` calls with the first sequence number `isn`, and learns a cookie.
    pub fn syn(&mut self, number: u16, isn: u32) -> u32 {
        self.client(number, isn, 0, flags::SYN, &[]);
        let (Some(Action::Discard(_)), Some(Action::ToOutside(answer))) =
            (self.actions.pop_back(), self.actions.pop_back())
        else {
            panic!("a SYN has one answer")
        };
        let answer = segment(answer);
        assert_eq!((answer.flags, answer.acknowledgement), (flags::SYN | flags::ACK, isn.wrapping_add(1)));
        answer.sequence
    }

    /// Client `number` calls, and acknowledges with `data`. Returns the cookie.
    pub fn call(&mut self, number: u16, isn: u32, data: &[u8]) -> u32 {
        let cookie = self.syn(number, isn);
        self.client(number, isn.wrapping_add(1), cookie.wrapping_add(1), flags::ACK, data);
        cookie
    }

    /// What was launched.
    pub fn launches(&mut self) -> Vec<MachineId> {
        let launch = |action| match action {
            Action::Launch { machine, .. } => Some(machine),
            _ => None,
        };
        self.done().into_iter().filter_map(launch).collect()
    }

    /// Client `number` calls, a machine is launched and answers with the first number `machine_isn`.
    pub fn open(&mut self, number: u16, isn: u32, machine_isn: u32) -> (u32, MachineId) {
        let cookie = self.call(number, isn, &[]);
        let [id] = self.launches()[..] else { panic!("one machine is launched") };
        self.launch(id, number, isn, machine_isn);
        (cookie, id)
    }

    pub fn launch(&mut self, id: MachineId, number: u16, isn: u32, machine_isn: u32) {
        self.summoner.launched(id, self.now, &mut self.actions);
        self.accept(id, number, isn, machine_isn);
        self.done();
    }

    /// The machine is launched, and not heard of.
    pub fn open_early(&mut self, id: MachineId) {
        self.summoner.launched(id, self.now, &mut self.actions);
        self.done();
    }

    /// The machine answers the SYN.
    pub fn accept(&mut self, id: MachineId, number: u16, isn: u32, machine_isn: u32) {
        self.machine(id, number, machine_isn, isn.wrapping_add(1), flags::SYN | flags::ACK, &[]);
    }

    pub fn pass(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds.div_ceil(100) {
            self.now += 100;
            self.summoner.tick(self.now, &mut self.actions);
        }
    }
}

pub const fn client(number: u16) -> ([u8; 4], u16) {
    ([10, 0, 0, 200], 10_000 + number)
}

pub fn segment(parcel: Parcel<Buffer>) -> Segment {
    let bytes = bytes(parcel);
    assert_intact(&bytes);
    Segment::of(&Buffer::new(bytes)).unwrap()
}
