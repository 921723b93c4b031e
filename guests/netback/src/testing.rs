//! Frontends for tests: they do what Linux' does, and what it never would.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use mote_protocols::netif::{
    Extra, RxFront, RxRequest, TxFront, TxRequest, TxResponse, extra, receive, status, transmit,
};
use mote_protocols::ring::Shared;
use mote_protocols::statistics::Counters;

use crate::{
    Abilities, Agreement, Checksum, Frame, Frontend, Identity, Lan, Local, Mac, Page, PortId, Queue, Transfer, Turn,
    Uplink,
};

const PAGE: usize = 4096;

/// A page of a ring.
pub(crate) struct Words([AtomicU32; PAGE / 4]);

impl Words {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self([const { AtomicU32::new(0) }; PAGE / 4]))
    }

    pub(crate) fn set(&self, offset: usize, value: u32) {
        self.0[offset / 4].store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self, offset: usize) -> u32 {
        self.0[offset / 4].load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
pub(crate) struct Ring(pub(crate) Rc<Words>);

impl Shared for Ring {
    fn word(&self, offset: usize) -> &AtomicU32 {
        &self.0.0[offset / 4]
    }
}

/// What both ends of a connection see of the guest.
#[derive(Default)]
pub(crate) struct Memory {
    pages: RefCell<BTreeMap<u32, [u8; PAGE]>>,
    pub(crate) calls: Cell<usize>,
    pub(crate) copies: Cell<usize>,
    pub(crate) transmit_events: Cell<usize>,
    pub(crate) receive_events: Cell<usize>,
    pub(crate) broken: Cell<bool>,
}

pub(crate) struct Grants(Rc<Memory>);

impl Frontend for Grants {
    fn copy(&mut self, transfers: &mut [Transfer<'_>]) {
        self.0.calls.set(self.0.calls.get() + 1);
        self.0.copies.set(self.0.copies.get() + transfers.len());
        let mut pages = self.0.pages.borrow_mut();
        for transfer in transfers {
            let start = usize::from(transfer.offset);
            let Some(page) = pages.get_mut(&transfer.reference) else { continue };
            match &mut transfer.local {
                Local::Fetch(to) => {
                    let Some(from) = page.get(start..start + to.len()) else { continue };
                    to.copy_from_slice(from);
                }
                Local::Store(from) => {
                    let Some(to) = page.get_mut(start..start + from.len()) else { continue };
                    to.copy_from_slice(from);
                }
            }
            transfer.done = true;
        }
    }

    fn notify_transmit(&mut self) {
        self.0.transmit_events.set(self.0.transmit_events.get() + 1);
    }

    fn notify_receive(&mut self) {
        self.0.receive_events.set(self.0.receive_events.get() + 1);
    }

    fn broken(&mut self) {
        self.0.broken.set(true);
    }
}

/// A device that keeps what it is to send.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) abilities: Abilities,
    pub(crate) room: usize,
    pub(crate) kept: VecDeque<Frame>,
    pub(crate) sent: Vec<Vec<u8>>,
    pub(crate) pages: Vec<Box<Page>>,
    pub(crate) came: VecDeque<Vec<u8>>,
}

/// The test's end and the lan's end of a wire.
pub(crate) type SharedWire = Rc<RefCell<Wire>>;

impl Uplink for SharedWire {
    fn abilities(&self) -> Abilities {
        self.borrow().abilities
    }

    fn send(&mut self, frame: Frame) -> Result<(), Frame> {
        let mut wire = self.borrow_mut();
        if wire.kept.len() >= wire.room {
            return Err(frame);
        }
        wire.sent.push(frame.parts(0).flatten().copied().collect());
        wire.kept.push_back(frame);
        Ok(())
    }

    fn kick(&mut self) {}

    fn sent(&mut self) -> Option<Frame> {
        self.borrow_mut().kept.pop_front()
    }

    fn received(&mut self) -> Option<Frame> {
        let mut wire = self.borrow_mut();
        let mut page = wire.pages.pop()?;
        let Some(bytes) = wire.came.pop_front() else {
            wire.pages.push(page);
            return None;
        };
        page.bytes_mut()[crate::HEADROOM..][..bytes.len()].copy_from_slice(&bytes);
        Some(Frame::received(page, bytes.len()))
    }

    fn provide(&mut self, page: Box<Page>) -> Result<(), Box<Page>> {
        let mut wire = self.borrow_mut();
        if wire.pages.len() == 8 {
            return Err(page);
        }
        wire.pages.push(page);
        Ok(())
    }
}

pub(crate) type TestLan = Lan<Ring, Grants, SharedWire, Rc<Counters>>;

/// A frame that a guest received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    pub(crate) checksum: Checksum,
    pub(crate) segment: u16,
}

/// A guest.
pub(crate) struct Guest {
    pub(crate) port: PortId,
    pub(crate) counters: Rc<Counters>,
    pub(crate) mac: Mac,
    pub(crate) memory: Rc<Memory>,
    pub(crate) tx_page: Rc<Words>,
    pub(crate) rx_page: Rc<Words>,
    pub(crate) tx: TxFront<Ring>,
    pub(crate) rx: RxFront<Ring>,
    next: u32,
    /// The grants of requests to receive, in their order.
    asked: VecDeque<u32>,
}

pub(crate) const ABLE: Agreement =
    Agreement { abilities: Abilities { checksum: true, segments: true }, scatter_gather: true, queues: 1 };

pub(crate) fn mac(number: u8) -> Mac {
    Mac([0, 0x16, 0x3e, 0, 0, number])
}

impl Guest {
    pub(crate) fn new(lan: &mut TestLan, number: u8, agreement: Agreement) -> Self {
        Self::with_ip(lan, number, agreement, None)
    }

    pub(crate) fn with_ip(lan: &mut TestLan, number: u8, agreement: Agreement, ip: Option<[u8; 4]>) -> Self {
        Self::with_identity(lan, Identity { mac: mac(number), ip, apart: false }, agreement)
    }

    pub(crate) fn with_identity(lan: &mut TestLan, identity: Identity, agreement: Agreement) -> Self {
        let (tx_page, rx_page, memory) = (Words::new(), Words::new(), Rc::new(Memory::default()));
        let (tx, rx) = (TxFront::new(Ring(tx_page.clone())), RxFront::new(Ring(rx_page.clone())));
        let queue = Queue::new(Ring(tx_page.clone()), Ring(rx_page.clone()), Grants(memory.clone()), agreement);
        let counters = Rc::new(Counters::default());
        let port = lan.add_guest(identity, vec![queue], counters.clone()).expect("a port");
        Self { port, counters, mac: identity.mac, memory, tx_page, rx_page, tx, rx, next: 1, asked: VecDeque::new() }
    }

    /// Grants a page with this content.
    pub(crate) fn grant(&mut self, content: [u8; PAGE]) -> u32 {
        self.next += 1;
        self.memory.pages.borrow_mut().insert(self.next, content);
        self.next
    }

    /// A request for each of `parts`, which are the parts of a frame, with an offset each.
    pub(crate) fn requests(&mut self, parts: &[(usize, &[u8])]) -> Vec<TxRequest> {
        let total: usize = parts.iter().map(|(_, bytes)| bytes.len()).sum();
        let mut requests = Vec::new();
        for (number, (offset, bytes)) in parts.iter().enumerate() {
            let mut page = [0xee; PAGE];
            page[*offset..offset + bytes.len()].copy_from_slice(bytes);
            let size = if number == 0 { total } else { bytes.len() };
            let flags = if number + 1 < parts.len() { transmit::MORE_DATA } else { 0 };
            let gref = self.grant(page);
            requests.push(TxRequest { gref, offset: *offset as u16, flags, id: gref as u16, size: size as u16 });
        }
        requests
    }

    /// Transmits a frame in pages, as Linux does.
    pub(crate) fn transmit(&mut self, bytes: &[u8], checksum: Checksum, segment: u16) {
        let parts: Vec<_> = bytes.chunks(PAGE).map(|part| (0, part)).collect();
        let mut requests = self.requests(&parts);
        requests[0].flags |= match checksum {
            Checksum::Unknown => 0,
            Checksum::Valid => transmit::DATA_VALIDATED,
            Checksum::Blank => transmit::CHECKSUM_BLANK | transmit::DATA_VALIDATED,
        };
        if segment != 0 {
            requests[0].flags |= transmit::EXTRA_INFO;
            let extra = Extra { kind: extra::GSO, size: segment, segments: extra::TCPV4, ..Extra::default() };
            requests.insert(1, extra.into());
        }
        self.push(&requests);
    }

    pub(crate) fn push(&mut self, requests: &[TxRequest]) {
        for request in requests {
            assert!(self.tx.push(request), "no room");
        }
        self.tx.publish();
    }

    /// The answers to requests to transmit.
    pub(crate) fn answers(&mut self) -> Vec<TxResponse> {
        std::iter::from_fn(|| self.tx.next().expect("answers to what was asked")).collect()
    }

    /// Asks to receive into `number` pages.
    pub(crate) fn ask(&mut self, number: usize) {
        for _ in 0..number {
            let gref = self.grant([0xdd; PAGE]);
            assert!(self.rx.push(&RxRequest { id: gref as u16, pad: 0, gref }));
            self.asked.push_back(gref);
        }
        self.rx.publish();
    }

    /// What was received.
    pub(crate) fn received(&mut self) -> Vec<Received> {
        let mut frames = Vec::new();
        while let Some(first) = self.rx.next().expect("what was asked for") {
            let checksum = match first.flags & (receive::CHECKSUM_BLANK | receive::DATA_VALIDATED) {
                0 => Checksum::Unknown,
                receive::DATA_VALIDATED => Checksum::Valid,
                _ => Checksum::Blank,
            };
            let mut bytes = self.part(first.id, first.status);
            let (mut flags, mut segment) = (first.flags, 0);
            if flags & receive::EXTRA_INFO != 0 {
                let extra = Extra::from(self.rx.next().expect("right").expect("an extra"));
                assert_eq!((extra.kind, extra.flags, extra.segments), (extra::GSO, 0, extra::TCPV4));
                segment = extra.size;
                self.asked.pop_front();
            }
            while flags & receive::MORE_DATA != 0 {
                let next = self.rx.next().expect("right").expect("the rest of a frame");
                bytes.extend(self.part(next.id, next.status));
                flags = next.flags;
            }
            frames.push(Received { bytes, checksum, segment });
        }
        frames
    }

    fn part(&mut self, id: u16, status: i16) -> Vec<u8> {
        let gref = self.asked.pop_front().expect("asked for");
        assert_eq!(id, gref as u16, "answers are in the order of requests");
        assert!(status >= status::OKAY, "{status}");
        self.memory.pages.borrow()[&gref][..status as usize].to_vec()
    }

    /// Turns until the backend waits. False if it found the connection broken.
    pub(crate) fn serve(&self, lan: &mut TestLan) -> bool {
        for _ in 0..1000 {
            match lan.serve(self.port, 0, 0) {
                Ok(Turn::Again) => {}
                Ok(Turn::Wait) => return true,
                Err(_) => return false,
            }
        }
        panic!("the backend never waits");
    }
}

/// An Ethernet frame of type 0x88b5, which is for experiments, with `len` bytes in all.
pub(crate) fn frame(from: Mac, to: Mac, len: usize) -> Vec<u8> {
    let mut frame = [to.0.as_slice(), &from.0, &[0x88, 0xb5]].concat();
    frame.extend((14..len).map(|number| (number * 7 + number / 251) as u8));
    frame
}

/// A TCP packet over IPv4 with `len` bytes of data. Where its checksum belongs stands the pseudo-header's sum.
pub(crate) fn tcp(from: Mac, to: Mac, len: usize) -> Vec<u8> {
    let total = (40 + len) as u16;
    let mut frame = [to.0.as_slice(), &from.0, &[8, 0]].concat();
    frame.extend([0x45, 0, (total >> 8) as u8, total as u8, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0]);
    frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    let header = checksum(&frame[14..]);
    frame[24..26].copy_from_slice(&header);
    frame.extend([0x30, 0x39, 0, 80, 0xff, 0xff, 0xff, 0, 0, 0, 0, 9, 0x50, 0x99, 0x20, 0, 0, 0, 0, 0]);
    frame.extend((0..len).map(|number| (number * 31 + number / 256) as u8));
    let pseudo_header = checksum(&pseudo_header(&frame)).map(|byte| !byte);
    frame[50..52].copy_from_slice(&pseudo_header);
    frame
}

fn pseudo_header(frame: &[u8]) -> Vec<u8> {
    let len = u16::from_be_bytes([frame[16], frame[17]]) - 20;
    [&frame[26..34], &[0, frame[23]], &len.to_be_bytes()].concat()
}

/// Whether a TCP packet's checksums are right.
pub(crate) fn is_right(frame: &[u8]) -> bool {
    let end = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let tcp = [pseudo_header(frame).as_slice(), &frame[34..end]].concat();
    checksum(&frame[14..34]) == [0, 0] && checksum(&tcp) == [0, 0]
}

/// As in RFC 1071, written as plainly as can be.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let sum: u64 = bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum();
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    (!(sum as u16)).to_be_bytes()
}
