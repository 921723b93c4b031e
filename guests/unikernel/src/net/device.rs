//! The interface as smoltcp sees it: frames to and from pages that a back end uses.

use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::mem;

use mote_net::offload;
use mote_net::smoltcp::phy::{self, Checksum, Device, DeviceCapabilities, Medium};
use mote_net::smoltcp::time::Instant;
use mote_netfront::rx::Receiver;
use mote_netfront::tx::{Offload, Sender};
use mote_netfront::{Fault, PAGE};
use xen_abi::errno::Errno;

use crate::xen::events::Port;
use crate::xen::grants::Grant;
use crate::xen::page::Page;
use crate::xen::pool::{Access, Pool};

/// Bytes of Ethernet's header: two addresses and what follows.
const HEADER: usize = 14;
const IPV4: [u8; 2] = [8, 0];
/// Bytes of an Ethernet frame without its checksum, as long as nobody says anything else.
const FRAME: usize = 1514;
/// Bytes of the largest packet that is taken in: what IP's length can say, behind Ethernet's header.
const PACKET_MAX: usize = 14 + 65535;
/// Pages for what comes in and what goes out.
const RX_PAGES: usize = 48;
const TX_PAGES: usize = 16;

/// What connects the interface to a back end.
pub struct Link {
    sender: Sender<Grant>,
    receiver: Receiver<Grant>,
    outgoing: Pool,
    incoming: Pool,
    port: Rc<Port>,
    /// The rings' grants, which the back end is told.
    references: [u32; 2],
    broken: Option<Fault>,
    /// Ethernet's header of all that is sent, if whoever is at the other end passes everything on: then nobody is looked for on the network.
    router: Option<[u8; HEADER]>,
}

impl Link {
    /// Rings and buffers for domain `backend`.
    ///
    /// # Errors
    /// There are too few grants or ports.
    pub fn new(backend: u16) -> Result<Self, Errno> {
        let port = Rc::new(Port::offer(backend)?);
        let outgoing = Pool::new(backend, TX_PAGES, Access::Read)?;
        let incoming = Pool::new(backend, RX_PAGES, Access::Write)?;
        let ring = || Grant::new(backend, Page::new(), true);
        let (tx, rx) = (ring()?, ring()?);
        let references = [tx.reference(), rx.reference()];
        let sender = Sender::new(tx, TX_PAGES);
        let mut receiver = Receiver::new(rx, RX_PAGES, |page| incoming.reference(page));
        // Whoever connects looks at the ring without being told.
        receiver.publish();
        Ok(Self { sender, receiver, outgoing, incoming, port, references, broken: None, router: None })
    }

    /// By which the back end says that there is something.
    pub fn port(&self) -> Rc<Port> {
        self.port.clone()
    }

    /// The grants of the rings, for sending and for receiving.
    pub const fn references(&self) -> [u32; 2] {
        self.references
    }

    /// Ends what can be ended of the buffers' grants, and says whether that was all.
    pub fn end(&mut self) -> bool {
        let (outgoing, incoming) = (self.outgoing.end(), self.incoming.end());
        outgoing && incoming
    }

    /// Whether the back end is done with all that was sent, as far as is known.
    pub fn is_quiet(&mut self) -> bool {
        let collected = self.sender.collect();
        self.note(collected);
        self.sender.is_quiet()
    }

    /// Puts the next packet in `packet`, and says whether there was one.
    fn receive(&mut self, packet: &mut Vec<u8>) -> Result<bool, Fault> {
        let mut good = true;
        let mut trusted = false;
        while let Some(fragment) = self.receiver.take(|page| self.incoming.reference(page))? {
            if fragment.first {
                packet.clear();
                (good, trusted) = (true, fragment.trusted);
            }
            good &= !fragment.failed && packet.len() + fragment.length <= PACKET_MAX;
            if good {
                self.incoming.copy_to(fragment.page * PAGE + fragment.offset, fragment.length, packet);
            }
            self.receiver.give(fragment.page, self.incoming.reference(fragment.page));
            if fragment.last && good && (trusted || offload::is_intact(packet)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where in a packet that came begins what is for the stack, if there is something. Answers go to whom it came from.
    fn start(&mut self, packet: &[u8]) -> Option<usize> {
        let Some(header) = &mut self.router else { return Some(0) };
        let came = packet.first_chunk::<HEADER>()?;
        header[..6].copy_from_slice(&came[6..12]);
        header[6..12].copy_from_slice(&came[..6]);
        header[12..].copy_from_slice(&IPV4);
        (came[12..] == IPV4).then_some(HEADER)
    }

    /// Whether a frame can be sent, after what was sent before is taken back: the first pages are used again and again, of which a clone
    /// has to have its own, and the others stay as they are.
    fn can_send(&mut self) -> bool {
        let collected = self.sender.collect();
        self.note(collected);
        self.sender.has_room(FRAME) && self.broken.is_none()
    }

    /// Says that so much was sent, which is not.
    #[cfg(feature = "inspect")]
    pub fn spoil(&self, produced: u32) {
        use mote_protocols::ring::Shared;

        self.sender.page().word(0).store(produced, core::sync::atomic::Ordering::Release);
        let _ = self.port.notify();
    }

    fn note(&mut self, done: Result<(), Fault>) {
        if let Err(fault) = done {
            self.broken = Some(fault);
        }
    }

    /// Has `fill` write a frame, and sends it.
    fn send<R>(&mut self, length: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let header = self.router;
        let before = header.map_or(0, |header| header.len());
        let length = before + length;
        let room = self.sender.reserve(length);
        let place = room.and_then(|room| Some((room, self.outgoing.bytes_mut(room.first * PAGE, length)?)));
        let Some((room, frame)) = place else {
            // Lost, as on any network: a frame has room whenever a token was given.
            return fill(&mut vec![0; length - before]);
        };
        let (start, rest) = frame.split_at_mut(before);
        header.iter().for_each(|header| start.copy_from_slice(header));
        let result = fill(rest);
        let offload = Offload { checksum: offload::leave_checksum(frame), segment: 0 };
        self.sender.send(room, length, offload, |page| self.outgoing.reference(page));
        result
    }

    /// Lets the back end see what was put on the rings, and asks for an event if there is more.
    fn settle(&mut self) -> Settled {
        let wanted = [self.sender.publish(), self.receiver.publish()];
        if wanted.contains(&true) {
            // It is connected, or will look when it is.
            let _ = self.port.notify();
        }
        let can_send = self.can_send();
        let has_more = self.receiver.ask() || !can_send && self.sender.ask();
        Settled { has_more, can_send, is_broken: self.broken.is_some() }
    }
}

/// What became of the last poll.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settled {
    /// There is something to do already.
    pub has_more: bool,
    /// A frame could be sent.
    pub can_send: bool,
    /// The back end did what it must not do.
    pub is_broken: bool,
}

/// The interface. Without a back end it sends and receives nothing.
#[derive(Default)]
pub struct NetFront {
    link: Option<Link>,
    packet: Vec<u8>,
}

impl NetFront {
    pub(super) fn replace(&mut self, link: Option<Link>) -> Option<Link> {
        mem::replace(&mut self.link, link)
    }

    pub(super) const fn link(&mut self) -> Option<&mut Link> {
        self.link.as_mut()
    }

    /// From now on everything goes to whom the last packet came from.
    pub(super) const fn use_router(&mut self) {
        if let Some(link) = &mut self.link {
            link.router = Some([0; HEADER]);
        }
    }

    pub(super) fn settle(&mut self) -> Settled {
        let Some(link) = &mut self.link else { return Settled::default() };
        if link.broken.is_some() {
            return Settled { is_broken: true, ..Settled::default() };
        }
        link.settle()
    }
}

impl Device for NetFront {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Room<'_>)> {
        let link = self.link.as_mut().filter(|link| link.broken.is_none())?;
        if !link.can_send() {
            return None;
        }
        loop {
            match link.receive(&mut self.packet) {
                Ok(true) => {
                    // What is not for the stack is gone.
                    if let Some(start) = link.start(&self.packet) {
                        return Some((Received(self.packet.get(start..)?), Room(link)));
                    }
                }
                Ok(false) => return None,
                Err(fault) => {
                    link.note(Err(fault));
                    return None;
                }
            }
        }
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        let link = self.link.as_mut()?;
        link.can_send().then_some(Room(link))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        let routed = self.link.as_ref().is_some_and(|link| link.router.is_some());
        (capabilities.medium, capabilities.max_transmission_unit) =
            if routed { (Medium::Ip, FRAME - HEADER) } else { (Medium::Ethernet, FRAME) };
        capabilities.checksum.tcp = Checksum::None;
        capabilities.checksum.udp = Checksum::None;
        capabilities
    }
}

/// A packet that came.
pub struct Received<'a>(&'a [u8]);

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0)
    }
}

/// Room for a packet that goes.
pub struct Room<'a>(&'a mut Link);

impl phy::TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        self.0.send(length, fill)
    }
}
