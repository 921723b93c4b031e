//! What a network back end must bear.

pub mod flood;

use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use core::time::Duration;

use mote_protocols::netif::{Extra, RING_ENTRIES, TxRequest, extra, status, transmit};
use mote_protocols::xenbus::State;
use mote_unikernel::executor::sleep;
use mote_unikernel::time::Instant;
use mote_unikernel::xen::events::Port;
use mote_unikernel::xen::grants::Grant;
use mote_unikernel::xen::page::Page;
use mote_unikernel::xen::store::Store;
use mote_unikernel::xen::yield_now;
use mote_unikernel::{Machine, println};
use zerocopy::IntoBytes;

use crate::device::{Device, end, revoked};
use crate::flip::{self, FLIPPING};
use crate::until;

/// Where a ring's indices and its entries are.
const REQ_PROD: usize = 0;
const RSP_PROD: usize = 8;
const ENTRIES: usize = 64;

/// What a case is to come to.
enum Expect {
    /// The end of the connection.
    Broken,
    /// These answers.
    Answers(Vec<i16>),
}

/// Requests to transmit, what the ring's index says, and what it is to come to.
struct Case {
    name: &'static str,
    requests: Vec<TxRequest>,
    produced: Option<u32>,
    expect: Expect,
}

/// Two rings and a port.
struct Rings {
    transmit: Grant,
    receive: Grant,
    port: Port,
}

impl Rings {
    fn new(backend: u16) -> Self {
        let grant = || Grant::new(backend, Page::new(), true).expect("a grant");
        let rings = Self { transmit: grant(), receive: grant(), port: Port::offer(backend).expect("a port") };
        for page in [rings.transmit.page(), rings.receive.page()] {
            [4, 12].into_iter().for_each(|event| page.word(event).store(1, Ordering::Relaxed));
        }
        rings
    }

    /// Says where they are.
    async fn name(&self, device: &Device<'_>) {
        device.set_number("tx-ring-ref", self.transmit.reference()).await;
        device.set_number("rx-ring-ref", self.receive.reference()).await;
        device.set_number("event-channel", self.port.number()).await;
        for name in ["request-rx-copy", "feature-rx-notify", "feature-sg"] {
            device.set_number(name, 1).await;
        }
    }

    /// New ones, that are connected.
    async fn connect(device: &Device<'_>) -> Self {
        device.begin().await;
        let rings = Self::new(device.backend);
        rings.name(device).await;
        device.say(State::Connected).await;
        device.stands("a connection", |state| state == State::Connected).await;
        rings
    }

    async fn disconnect(self, device: &Device<'_>) {
        device.say(State::Closed).await;
        device.stands("the end of a connection", |state| state == State::Closed).await;
        end(self.transmit).await;
        end(self.receive).await;
    }

    fn put(&self, index: u32, request: &TxRequest) {
        write(self.transmit.page(), index, request.as_bytes());
    }

    fn produce(&self, index: u32) {
        self.transmit.page().word(REQ_PROD).store(index, Ordering::Release);
        let _ = self.port.notify();
    }

    /// How the request at `index` was answered.
    fn answer(&self, index: u32) -> i16 {
        (self.transmit.page().word(place(index, size_of::<TxRequest>())).load(Ordering::Relaxed) >> 16) as i16
    }

    fn answered(&self) -> u32 {
        self.transmit.page().word(RSP_PROD).load(Ordering::Acquire)
    }
}

const fn place(index: u32, size: usize) -> usize {
    ENTRIES + (index % RING_ENTRIES) as usize * size
}

fn write(page: &Page, index: u32, entry: &[u8]) {
    for (number, word) in entry.as_chunks::<4>().0.iter().enumerate() {
        page.word(place(index, entry.len()) + number * 4).store(u32::from_le_bytes(*word), Ordering::Relaxed);
    }
}

/// Pages with frames in them, and pages without use.
struct Pages {
    /// Asks by ARP for the neighbour.
    good: Grant,
    foreign_mac: Grant,
    foreign_ip: Grant,
    /// TCP over IPv4 whose headers are nothing but that.
    tcp: Grant,
    /// Granted, but to another.
    others: Grant,
    /// Granted once.
    revoked: u32,
}

/// Bytes of an ARP packet in its frame.
const ARP: u16 = 42;

impl Pages {
    fn new(device: &Device<'_>, mac: [u8; 6], ip: [u8; 4], near: [u8; 4]) -> Self {
        let grant = |user, frame: &[u8]| {
            let page = Page::new();
            page.write(frame);
            Grant::new(user, page, false).expect("a grant")
        };
        let ours = |frame: &[u8]| grant(device.backend, frame);
        let tcp = [&[0xff; 6][..], &mac, &[8, 0, 0x45, 0, 5, 0, 0, 0, 0, 0, 64, 6, 0, 0], &ip, &near].concat();
        Self {
            good: ours(&arp(mac, mac, ip, near)),
            foreign_mac: ours(&arp([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 1], ip, near)),
            foreign_ip: ours(&arp(mac, mac, near, ip)),
            tcp: ours(&tcp),
            others: grant(0, &arp(mac, mac, ip, near)),
            revoked: revoked(device.backend),
        }
    }
}

/// Asks who has address `wanted`.
fn arp(source: [u8; 6], sender: [u8; 6], ip: [u8; 4], wanted: [u8; 4]) -> Vec<u8> {
    let kind = [8, 6, 0, 1, 8, 0, 6, 4, 0, 1];
    [&[0xff; 6][..], &source, &kind, &sender, &ip, &[0; 6], &wanted].concat()
}

fn request(gref: u32, offset: u16, flags: u16, size: u16) -> TxRequest {
    TxRequest { gref, offset, flags, id: 7, size }
}

/// One request that says no more than this.
fn one(name: &'static str, gref: u32, offset: u16, size: u16, expect: Expect) -> Case {
    Case { name, requests: vec![request(gref, offset, 0, size)], produced: None, expect }
}

fn error(count: usize) -> Expect {
    Expect::Answers(vec![status::ERROR; count])
}

fn okay() -> Expect {
    Expect::Answers(vec![status::OKAY])
}

/// A frame, and extras behind it.
fn extras(name: &'static str, gref: u32, flags: u16, kinds: &[Extra], expect: Expect) -> Case {
    let mut requests = vec![request(gref, 0, flags | transmit::EXTRA_INFO, 1294)];
    requests.extend(kinds.iter().map(|extra| TxRequest::from(*extra)));
    Case { name, requests, produced: None, expect }
}

/// A frame of `count` requests, the first of which says `size` and each other `part`.
fn parts(name: &'static str, gref: u32, count: usize, size: u16, part: u16, expect: Expect) -> Case {
    let more = |size| request(gref, 0, transmit::MORE_DATA, size);
    let mut requests = vec![more(size)];
    requests.resize(count, more(part));
    if let Some(last) = requests.last_mut() {
        last.flags = 0;
    }
    Case { name, requests, produced: None, expect }
}

fn cases(pages: &Pages) -> Vec<Case> {
    let good = pages.good.reference();
    let mut cases = indices(good);
    cases.extend(places(pages));
    cases.extend(grants(pages));
    cases.extend(extra_cases(pages));
    cases.extend(slots(good));
    cases
}

fn indices(good: u32) -> Vec<Case> {
    let jump = |name, produced| {
        let produced = Some(produced);
        Case { name, requests: vec![request(good, 0, 0, ARP)], produced, expect: Expect::Broken }
    };
    vec![
        jump("one request too many", RING_ENTRIES + 1),
        jump("an index that jumps", 1 << 31),
        jump("an index before the first", u32::MAX),
    ]
}

fn places(pages: &Pages) -> Vec<Case> {
    let good = pages.good.reference();
    vec![
        one("past the page's end", good, 4000, 200, Expect::Broken),
        one("behind the page", good, 4096, 42, Expect::Broken),
        one("offset and size that overflow", good, 0xffff, 0xffff, Expect::Broken),
        one("65535 bytes in a page", good, 0, 0xffff, Expect::Broken),
        one("no bytes", good, 0, 0, error(1)),
        one("one byte", good, 0, 1, error(1)),
        one("13 bytes", good, 0, 13, error(1)),
        one("a foreign MAC address", pages.foreign_mac.reference(), 0, ARP, okay()),
        one("a foreign IP address", pages.foreign_ip.reference(), 0, ARP, okay()),
    ]
}

fn grants(pages: &Pages) -> Vec<Case> {
    vec![
        one("grant 0", 0, 0, ARP, error(1)),
        one("a grant that was never made", 500, 0, ARP, error(1)),
        one("a grant beyond the table", 1 << 20, 0, ARP, error(1)),
        one("the last grant there can be", u32::MAX, 0, ARP, error(1)),
        one("another's grant", pages.others.reference(), 0, ARP, error(1)),
        one("a grant that was revoked", pages.revoked, 0, ARP, error(1)),
    ]
}

fn extra_cases(pages: &Pages) -> Vec<Case> {
    let (blank, tcp) = (transmit::CHECKSUM_BLANK, pages.tcp.reference());
    let kind = |kind, flags| Extra { kind, flags, ..Extra::default() };
    let gso = |segments, size| Extra { kind: extra::GSO, size, segments, ..Extra::default() };
    let done = |status| Expect::Answers(vec![status, status::NULL]);
    vec![
        extras("an extra of type 0", tcp, 0, &[kind(0, 0)], Expect::Broken),
        extras("an extra of type 255", tcp, 0, &[kind(255, 0)], Expect::Broken),
        extras("extras without end", tcp, 0, &[kind(extra::HASH, extra::MORE); 200], Expect::Broken),
        extras("an extra that is not there", tcp, 0, &[], Expect::Broken),
        extras("a multicast address", tcp, 0, &[kind(extra::MULTICAST_ADD, 0)], done(status::ERROR)),
        extras("segments of no protocol", tcp, blank, &[gso(0, 1000)], Expect::Broken),
        extras("segments of one that was not offered", tcp, blank, &[gso(extra::TCPV6, 1000)], Expect::Broken),
        extras("segments of one that is unknown", tcp, blank, &[gso(99, 1000)], Expect::Broken),
        extras("segments without a size", tcp, blank, &[gso(extra::TCPV4, 0)], Expect::Broken),
        extras("segments of a checksum that is there", tcp, 0, &[gso(extra::TCPV4, 1000)], done(status::ERROR)),
        extras("segments of one byte", tcp, blank, &[gso(extra::TCPV4, 1)], done(status::OKAY)),
    ]
}

fn slots(good: u32) -> Vec<Case> {
    let largest = Expect::Answers(vec![status::OKAY; 16]);
    vec![
        parts("19 parts", good, 19, 190, 10, error(19)),
        parts("21 parts", good, 21, 210, 10, Expect::Broken),
        parts("all of the ring one frame", good, 256, 1000, 1, Expect::Broken),
        parts("parts larger than the whole", good, 2, 100, 200, error(2)),
        parts("the largest frame there is", good, 16, 0xffff, 4096, largest),
        Case {
            name: "a part that does not come",
            requests: vec![request(good, 0, transmit::MORE_DATA, 100)],
            produced: None,
            expect: Expect::Broken,
        },
    ]
}

/// Everything, in turn.
pub async fn misbehave(machine: &Machine, store: &Store) {
    let device = Device::find(store, "device/vif/0").await;
    let [mac, ip, near] =
        [device.get("mac").await.as_str(), argument(machine, "ip"), argument(machine, "near")].map(octets);
    let [ip, near] = [ip, near].map(|octets| core::array::from_fn(|index| octets[index]));
    let pages = Pages::new(&device, mac, ip, near);
    for case in cases(&pages) {
        play(&device, &case).await;
    }
    bad_places_to_receive(&device, &pages).await;
    nonsense_in_xenstore(&device).await;
    states_that_jump(&device).await;
    storm(&device, &pages).await;
    values_that_change(&device, &pages).await;
    receive(&device, &pages, true).await;
    println!("badring: everything is as it should be");
    let rings = Rings::connect(&device).await;
    device.remove("").await;
    device.is_refused("the end of a device whose nodes are gone").await;
    end(rings.transmit).await;
    end(rings.receive).await;
}

fn argument(machine: &Machine, name: &str) -> &'static str {
    machine.argument(name).expect("ip= and near=")
}

/// Reads `10.0.2.1`, or `00:16:3e:00:00:01`.
fn octets(text: &str) -> [u8; 6] {
    let (separator, radix) = if text.contains(':') { (':', 16) } else { ('.', 10) };
    let mut octets = [0; 6];
    for (octet, part) in octets.iter_mut().zip(text.split(separator)) {
        *octet = u8::from_str_radix(part, radix).expect("a number");
    }
    octets
}

async fn play(device: &Device<'_>, case: &Case) {
    let rings = Rings::connect(device).await;
    (0..).zip(&case.requests).for_each(|(index, request)| rings.put(index, request));
    let count = case.requests.len() as u32;
    rings.produce(case.produced.unwrap_or(count));
    match &case.expect {
        Expect::Broken => device.is_refused(case.name).await,
        Expect::Answers(expected) => {
            until(case.name, || rings.answered() >= count).await;
            let answers: Vec<i16> = (0..count).map(|index| rings.answer(index)).collect();
            assert_eq!(&answers, expected, "{}", case.name);
        }
    }
    rings.disconnect(device).await;
    println!("badring: {} ok", case.name);
}

/// Asks the neighbour something until it answers into the ring of requests to receive, or until `over`.
async fn ask(rings: &Rings, pages: &Pages, mut over: impl FnMut() -> bool) {
    let mut asked = 0;
    let deadline = Instant::now() + crate::SOON;
    while !over() && rings.receive.page().word(RSP_PROD).load(Ordering::Acquire) == 0 {
        assert!(Instant::now() < deadline, "the neighbour is silent");
        if rings.answered() == asked {
            rings.put(asked, &request(pages.good.reference(), 0, 0, ARP));
            asked += 1;
            rings.produce(asked);
        }
        sleep(Duration::from_millis(2)).await;
    }
}

/// Receives one frame. If `read_only`, first into a page that cannot be written.
async fn receive(device: &Device<'_>, pages: &Pages, writable: bool) {
    let rings = Rings::connect(device).await;
    let page = Grant::new(device.backend, Page::new(), writable).expect("a grant");
    let answer = receive_at(&rings, pages, page.reference()).await;
    rings.disconnect(device).await;
    if writable {
        assert!(answer >= ARP as i16, "a frame of {answer} bytes");
        assert_eq!(page.page().word(12).load(Ordering::Relaxed) & 0xffff, 0x0608, "an answer by ARP");
    } else {
        assert!(answer < 0, "a page that cannot be written has {answer} bytes");
        assert_eq!(page.page().word(12).load(Ordering::Relaxed), 0, "it was written");
    }
    end(page).await;
}

/// Offers to receive at `gref`: the status with which that is answered.
async fn receive_at(rings: &Rings, pages: &Pages, gref: u32) -> i16 {
    let ring = rings.receive.page();
    write(ring, 0, &[&0u32.to_le_bytes()[..], &gref.to_le_bytes()].concat());
    ring.word(REQ_PROD).store(1, Ordering::Release);
    ask(rings, pages, || false).await;
    (ring.word(ENTRIES + 4).load(Ordering::Relaxed) >> 16) as i16
}

async fn bad_places_to_receive(device: &Device<'_>, pages: &Pages) {
    for gref in [0, 500, 1 << 20, u32::MAX, pages.revoked, pages.others.reference()] {
        let rings = Rings::connect(device).await;
        let answer = receive_at(&rings, pages, gref).await;
        assert!(answer < 0, "grant {gref} received {answer} bytes");
        rings.disconnect(device).await;
    }
    receive(device, pages, false).await;
    for produced in [RING_ENTRIES + 1, 1 << 31, u32::MAX] {
        let rings = Rings::connect(device).await;
        rings.receive.page().word(REQ_PROD).store(produced, Ordering::Release);
        // It is looked at when there is something to be received.
        let mut looks = 0;
        while device.is_connected().await {
            looks += 1;
            assert!(looks < 10_000, "{produced} requests to receive");
            ask(&rings, pages, || true).await;
            rings.put(rings.answered(), &request(pages.good.reference(), 0, 0, ARP));
            rings.produce(rings.answered() + 1);
            sleep(Duration::from_millis(2)).await;
        }
        rings.disconnect(device).await;
    }
    println!("badring: bad places to receive ok");
}

/// Values that are no ring, no port, no number of queues: there is no connection until they are.
async fn nonsense_in_xenstore(device: &Device<'_>) {
    const NUMBERS: [&str; 6] = ["", "x", "-1", "0", "99999", "99999999999999999999"];
    let rings = Rings::new(device.backend);
    let read_only = Grant::new(device.backend, Page::new(), false).expect("a grant");
    let closed = Port::offer(device.backend).expect("a port").number();
    let more = [
        ("tx-ring-ref", read_only.reference()),
        ("rx-ring-ref", read_only.reference()),
        ("event-channel", closed),
        ("multi-queue-num-queues", 4),
        ("multi-queue-num-queues", 5),
        ("request-rx-copy", 0),
        ("feature-rx-notify", 0),
    ];
    let more = more.map(|(name, value)| (name, alloc::format!("{value}")));
    let names = ["tx-ring-ref", "rx-ring-ref", "event-channel", "multi-queue-num-queues"];
    let numbers = names.iter().flat_map(|name| NUMBERS.iter().map(|value| (*name, (*value).into())));
    for (name, value) in numbers.chain(more) {
        device.begin().await;
        rings.name(device).await;
        device.set(name, &value).await;
        device.say(State::Connected).await;
        // Nothing says that it has looked.
        sleep(Duration::from_millis(3)).await;
        assert!(!device.is_connected().await, "connected with {name} = {value}");
        device.remove("/multi-queue-num-queues").await;
    }
    // No new beginning is needed.
    rings.name(device).await;
    device.say(State::Connected).await;
    device.stands("a connection after nonsense", |state| state == State::Connected).await;
    rings.disconnect(device).await;
    end(read_only).await;
    println!("badring: nonsense in xenstore ok");
}

/// A front end that says this or that while it is connected, or nothing.
async fn states_that_jump(device: &Device<'_>) {
    for state in ["0", "1", "2", "3", "7", "8", "99", "x", "", "4444444444444444444444444444"] {
        let rings = Rings::connect(device).await;
        device.set("state", state).await;
        rings.disconnect(device).await;
        device.begin().await;
        // From one state to another that does not follow.
        device.set("state", state).await;
        device.set("state", "4").await;
        device.set("state", state).await;
    }
    let rings = Rings::connect(device).await;
    device.remove("/state").await;
    device.stands("the end of a connection without a state", |state| state == State::Closed).await;
    device.say(State::Closed).await;
    end(rings.transmit).await;
    end(rings.receive).await;
    println!("badring: states that jump ok");
}

/// Events for nothing, and then for something.
async fn storm(device: &Device<'_>, pages: &Pages) {
    let rings = Rings::connect(device).await;
    for _ in 0..20_000 {
        let _ = rings.port.notify();
    }
    rings.put(0, &request(pages.good.reference(), 0, 0, ARP));
    rings.produce(1);
    until("an answer after a storm", || rings.answered() == 1).await;
    assert_eq!(rings.answer(0), status::OKAY);
    rings.disconnect(device).await;
    println!("badring: event storm ok");
}

/// Another vCPU changes the ring, without its indices and with them.
async fn values_that_change(device: &Device<'_>, pages: &Pages) {
    let (mut ends, mut answers) = (0, 0);
    for first in [ENTRIES / 4, ENTRIES / 4, ENTRIES / 4, 0] {
        let rings = Rings::connect(device).await;
        let Rings { transmit, receive, port } = rings;
        let ring = flip::start(transmit, first).page();
        let mut made = 0_u32;
        let deadline = Instant::now() + FLIPPING;
        while made < 2000 && Instant::now() < deadline {
            if ring.word(RSP_PROD).load(Ordering::Acquire) == made {
                write(ring, made, request(pages.good.reference(), 0, 0, ARP).as_bytes());
                made = made.wrapping_add(1);
                ring.word(REQ_PROD).store(made, Ordering::Release);
            }
            let _ = port.notify();
            yield_now();
        }
        flip::stop().await;
        answers += ring.word(RSP_PROD).load(Ordering::Acquire);
        ends += u32::from(!device.is_connected().await);
        device.begin().await;
        end(receive).await;
    }
    println!("badring: values that change ok: {ends} ends, answers {answers}");
    assert!(ends > 0, "all that changes makes sense");
}
