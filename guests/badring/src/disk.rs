//! What a disk's back end must bear.

use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use mote_protocols::blkif::{
    DISCARD_SECURE, Discard, Indirect, PROTOCOL, RING_ENTRIES, Request, Segment, device_number, operation, status,
};
use mote_protocols::xenbus::State;
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

const REQ_PROD: usize = 0;
const RSP_PROD: usize = 8;
const ENTRIES: usize = 64;

/// A ring and a port.
struct Ring {
    page: Grant,
    port: Port,
}

impl Ring {
    async fn connect(device: &Device<'_>) -> Self {
        device.begin().await;
        let ring = Self {
            page: Grant::new(device.backend, Page::new(), true).expect("a grant"),
            port: Port::offer(device.backend).expect("a port"),
        };
        device.set_number("ring-ref", ring.page.reference()).await;
        device.set_number("event-channel", ring.port.number()).await;
        device.set("protocol", PROTOCOL).await;
        device.say(State::Initialised).await;
        device.stands("a connection", |state| state == State::Connected).await;
        device.say(State::Connected).await;
        ring
    }

    async fn disconnect(self, device: &Device<'_>) {
        device.say(State::Closed).await;
        device.stands("the end of a connection", |state| state == State::Closed).await;
        end(self.page).await;
    }

    fn produce(&self, index: u32) {
        self.page.page().word(REQ_PROD).store(index, Ordering::Release);
        let _ = self.port.notify();
    }

    /// Asks for all of `requests`: how each was answered.
    async fn ask(&self, name: &str, requests: &[Request]) -> Vec<i16> {
        let page = self.page.page();
        let begin = page.word(RSP_PROD).load(Ordering::Acquire);
        (begin..).zip(requests).for_each(|(index, request)| write(page, index, request));
        let all = begin + requests.len() as u32;
        self.produce(all);
        until(name, || page.word(RSP_PROD).load(Ordering::Acquire) == all).await;
        (begin..all).map(|index| (page.word(place(index) + 8).load(Ordering::Relaxed) >> 16) as i16).collect()
    }
}

const fn place(index: u32) -> usize {
    ENTRIES + (index % RING_ENTRIES) as usize * size_of::<Request>()
}

fn write(page: &Page, index: u32, request: &Request) {
    for (number, word) in request.as_bytes().as_chunks::<4>().0.iter().enumerate() {
        page.word(place(index) + number * 4).store(u32::from_le_bytes(*word), Ordering::Relaxed);
    }
}

/// A request for whole pages.
fn transfer(operation: u8, sector_number: u64, grefs: &[u32]) -> Request {
    let mut request = Request { operation, nr_segments: grefs.len() as u8, id: 9, sector_number, ..Request::default() };
    let segments = grefs.iter().map(|&gref| Segment { gref, first_sect: 0, last_sect: 7, pad: 0 });
    request.seg.iter_mut().zip(segments).for_each(|(place, segment)| *place = segment);
    request
}

fn with(request: Request, change: impl FnOnce(&mut Request)) -> Request {
    let mut request = request;
    change(&mut request);
    request
}

fn discard(sector_number: u64, nr_sectors: u64, flag: u8) -> Request {
    let plain = Discard::from(transfer(operation::DISCARD, sector_number, &[]));
    Discard { nr_sectors, flag, ..plain }.into()
}

fn indirect(indirect_op: u8, nr_segments: u16, sector_number: u64, gref: u32) -> Request {
    let plain = Indirect::from(transfer(operation::INDIRECT, sector_number, &[]));
    Indirect { indirect_op, nr_segments, indirect_grefs: [gref; 8], ..plain }.into()
}

/// Pages of this guest's.
struct Pages {
    good: Grant,
    read_only: Grant,
    /// To another domain.
    others: Grant,
    /// Segments that are none.
    nonsense: Grant,
    revoked: u32,
}

impl Pages {
    fn new(backend: u16) -> Self {
        let grant = |user, writable| Grant::new(user, Page::new(), writable).expect("a grant");
        let nonsense = grant(backend, false);
        (0..1024).for_each(|word| nonsense.page().word(word * 4).store(0x0bad_f00d + word as u32, Ordering::Relaxed));
        let (good, read_only, others) = (grant(backend, true), grant(backend, false), grant(0, true));
        Self { good, read_only, others, nonsense, revoked: revoked(backend) }
    }
}

type Case = (&'static str, Request, i16);

fn cases(pages: &Pages, sectors: u64) -> Vec<Case> {
    let mut cases = operations(pages);
    cases.extend(segments(pages));
    cases.extend(sectors_that_are_not_there(pages, sectors));
    cases.extend(indirections(pages, sectors));
    cases
}

fn operations(pages: &Pages) -> Vec<Case> {
    let good = [pages.good.reference()];
    let unknown = |operation| ("an unknown operation", transfer(operation, 0, &good), status::NOT_SUPPORTED);
    let mut cases: Vec<Case> = [operation::WRITE_BARRIER, 4, 7, 100, 255].map(unknown).into();
    cases.extend([
        ("a flush that writes to nowhere", transfer(operation::FLUSH, u64::MAX, &good), status::ERROR),
        ("a discard of sectors past the end", discard(u64::MAX / 2, 1, 0), status::ERROR),
        ("a discard that overflows", discard(u64::MAX, u64::MAX, 0), status::ERROR),
        ("a discard of nothing", discard(0, 0, 0), status::ERROR),
        ("a discard that must be secure", discard(0, 8, DISCARD_SECURE), status::NOT_SUPPORTED),
    ]);
    cases
}

fn segments(pages: &Pages) -> Vec<Case> {
    let good = pages.good.reference();
    let read = |grefs: &[u32]| transfer(operation::READ, 0, grefs);
    let number = |number| with(read(&[good; 11]), |request| request.nr_segments = number);
    let sectors = |first, last| {
        with(read(&[good]), |request| (request.seg[0].first_sect, request.seg[0].last_sect) = (first, last))
    };
    let mut cases = vec![
        ("no segment", number(0), status::ERROR),
        ("one segment too many", number(12), status::ERROR),
        ("255 segments", number(255), status::ERROR),
        ("a segment that ends before it begins", sectors(5, 4), status::ERROR),
        ("a segment past its page", sectors(0, 8), status::ERROR),
        ("a segment at the edge of a byte", sectors(255, 255), status::ERROR),
        ("reading into what cannot be written", read(&[pages.read_only.reference()]), status::ERROR),
    ];
    for gref in [0, 500, 1 << 20, u32::MAX, pages.revoked, pages.others.reference()] {
        for operation in [operation::READ, operation::WRITE] {
            cases.push(("a grant that is none", transfer(operation, 0, &[good, gref]), status::ERROR));
        }
    }
    cases
}

fn sectors_that_are_not_there(pages: &Pages, sectors: u64) -> Vec<Case> {
    let good = [pages.good.reference(); 11];
    let mut cases = Vec::new();
    for operation in [operation::READ, operation::WRITE] {
        for sector in [sectors, sectors - 7, u64::MAX, u64::MAX - 7, 1 << 55, 1 << 63] {
            cases.push(("sectors past the end", transfer(operation, sector, &good), status::ERROR));
        }
    }
    cases
}

fn indirections(pages: &Pages, sectors: u64) -> Vec<Case> {
    let (nonsense, good) = (pages.nonsense.reference(), pages.good.reference());
    let [read, write, other] = [operation::READ, operation::WRITE, operation::FLUSH];
    vec![
        ("an indirect request without segments", indirect(read, 0, 0, nonsense), status::ERROR),
        ("33 indirect segments", indirect(read, 33, 0, nonsense), status::ERROR),
        ("65535 indirect segments", indirect(write, u16::MAX, 0, nonsense), status::ERROR),
        ("an indirect flush", indirect(other, 1, 0, nonsense), status::ERROR),
        ("an indirect indirection", indirect(operation::INDIRECT, 1, 0, nonsense), status::ERROR),
        ("nonsense for segments", indirect(read, 32, 0, nonsense), status::ERROR),
        ("nonsense to be written", indirect(write, 32, 0, nonsense), status::ERROR),
        ("segments in no page", indirect(read, 1, 0, 500), status::ERROR),
        ("segments in another's page", indirect(read, 1, 0, pages.others.reference()), status::ERROR),
        ("indirect sectors past the end", indirect(read, 1, sectors, good), status::ERROR),
    ]
}

/// Everything, in turn.
pub async fn misbehave(machine: &Machine, store: &Store) {
    let number = machine.argument("disk").and_then(device_number).expect("disk=xvda");
    let device = Device::find(store, &alloc::format!("device/vbd/{number}")).await;
    let pages = Pages::new(device.backend);
    let ring = Ring::connect(&device).await;
    for (name, request, expected) in cases(&pages, machine.number("sectors").expect("sectors=")) {
        assert_eq!(ring.ask(name, &[request]).await, [expected], "{name}: {request:?}");
    }
    println!("badring: requests ok");
    ring.disconnect(&device).await;
    jumps(&device, &pages).await;
    nonsense_in_xenstore(&device).await;
    storm(&device, &pages).await;
    values_that_change(&device, &pages).await;
    is_as_before(&device, &pages).await;
}

async fn jumps(device: &Device<'_>, pages: &Pages) {
    for produced in [RING_ENTRIES + 1, 1 << 31, u32::MAX] {
        let ring = Ring::connect(device).await;
        write(ring.page.page(), 0, &transfer(operation::READ, 0, &[pages.good.reference()]));
        ring.produce(produced);
        device.is_refused("the end of a ring whose index jumps").await;
        ring.disconnect(device).await;
    }
    println!("badring: indices that jump ok");
}

async fn nonsense_in_xenstore(device: &Device<'_>) {
    for name in ["ring-ref", "event-channel", "protocol"] {
        for value in ["", "x", "-1", "0", "99999", "99999999999999999999"] {
            let ring = Ring::connect(device).await;
            ring.disconnect(device).await;
            device.begin().await;
            device.set(name, value).await;
            device.say(State::Initialised).await;
            assert!(!device.is_connected().await, "connected with {name} = {value}");
        }
    }
    println!("badring: nonsense for a disk ok");
}

async fn storm(device: &Device<'_>, pages: &Pages) {
    let ring = Ring::connect(device).await;
    for _ in 0..20_000 {
        let _ = ring.port.notify();
    }
    let full = vec![transfer(operation::READ, 0, &[pages.good.reference(); 11]); RING_ENTRIES as usize];
    assert!(ring.ask("reads after a storm", &full).await.iter().all(|status| *status == status::OKAY));
    ring.disconnect(device).await;
    println!("badring: disk storm ok");
}

/// Another vCPU changes requests, segments and indices.
async fn values_that_change(device: &Device<'_>, pages: &Pages) {
    let mut answers = 0;
    for first in [ENTRIES / 4, ENTRIES / 4, 0] {
        let Ring { page, port } = Ring::connect(device).await;
        let ring = flip::start(page, first).page();
        let mut made = 0_u32;
        let deadline = Instant::now() + FLIPPING;
        while made < 2000 && Instant::now() < deadline {
            if ring.word(RSP_PROD).load(Ordering::Acquire) == made {
                write(ring, made, &transfer(operation::READ, 0, &[pages.good.reference(); 2]));
                made = made.wrapping_add(1);
                ring.word(REQ_PROD).store(made, Ordering::Release);
            }
            let _ = port.notify();
            yield_now();
        }
        flip::stop().await;
        answers += ring.word(RSP_PROD).load(Ordering::Acquire);
        device.begin().await;
    }
    println!("badring: disk values that change ok: answers {answers}");
}

/// What is written is there, after all that.
async fn is_as_before(device: &Device<'_>, pages: &Pages) {
    let ring = Ring::connect(device).await;
    let page = pages.good.page();
    (0..1024).for_each(|word| page.word(word * 4).store(word as u32 ^ 0xa5a5, Ordering::Relaxed));
    let gref = [pages.good.reference()];
    assert_eq!(ring.ask("a write", &[transfer(operation::WRITE, 8, &gref)]).await, [status::OKAY]);
    (0..1024).for_each(|word| page.word(word * 4).store(0, Ordering::Relaxed));
    assert_eq!(ring.ask("a read", &[transfer(operation::READ, 8, &gref)]).await, [status::OKAY]);
    assert!((0..1024).all(|word| page.word(word * 4).load(Ordering::Relaxed) == word as u32 ^ 0xa5a5), "other data");
    ring.disconnect(device).await;
}
