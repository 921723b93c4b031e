//! A virtio network card (virtio 1.2, 5.1), whose pages come from the switch and go back to it.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};

use bitflags::bitflags;
use mote_netback::{Abilities, Checksum, Frame, HEADROOM, Layer4, Page, Uplink};
use virtio_drivers::Result;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::transport::{DeviceStatus, Transport};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Device, Direct, Interrupt};

/// Descriptors: one for each page.
const QUEUE_SIZE: usize = 64;
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
/// Pages of the largest frame.
const PAGES_MAX: usize = 18;

bitflags! {
    #[derive(Clone, Copy, Debug)]
    struct Feature: u64 {
        /// It completes checksums.
        const CHECKSUM = 1;
        /// It may pass on frames whose checksums are not complete.
        const GUEST_CHECKSUM = 1 << 1;
        /// It cuts large frames of TCP over IPv4.
        const SEGMENT_TCPV4 = 1 << 11;
        const VERSION_1 = 1 << 32;
    }
}

/// In a header's flags: the checksum is to be completed; it was found right. What a large frame is.
const NEEDS_CHECKSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const TCPV4: u8 = 1;

/// What comes before a frame. Without version 1, the last field is not there.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    flags: u8,
    segments: u8,
    header_len: u16,
    segment: u16,
    checksum_start: u16,
    checksum_offset: u16,
    buffers: u16,
}

const _: () = assert!(size_of::<Header>() <= HEADROOM);

impl Header {
    /// What the device is to do with `frame`. `None` if it cannot be told.
    fn new(frame: &Frame) -> Option<Self> {
        if frame.checksum != Checksum::Blank {
            return Some(Self::default());
        }
        let layer4 = Layer4::find(frame.head(), frame.len())?;
        let (start, offset) = (layer4.start as u16, layer4.checksum as u16);
        let mut header =
            Self { flags: NEEDS_CHECKSUM, checksum_start: start, checksum_offset: offset, ..Self::default() };
        if frame.segment != 0 {
            let tcp = usize::from(frame.head().get(layer4.start + 12)? >> 4) * 4;
            header.segments = TCPV4;
            header.segment = frame.segment;
            header.header_len = (layer4.start + tcp) as u16;
        }
        Some(header)
    }
}

/// A network card.
pub struct Net {
    transport: MmioTransport<'static>,
    receive: VirtQueue<Direct, QUEUE_SIZE>,
    transmit: VirtQueue<Direct, QUEUE_SIZE>,
    abilities: Abilities,
    /// Bytes of a header.
    header: usize,
    /// Pages to receive into, and frames on their way out, by their first descriptor.
    pages: Vec<Option<Box<Page>>>,
    frames: Vec<Option<Frame>>,
    /// Frames that the device cannot send.
    refused: Vec<Frame>,
    /// Whether the device was told to interrupt no more for what it receives: it is being looked at.
    quiet: bool,
    interrupt: Interrupt,
}

impl Net {
    /// Sets the card up.
    ///
    /// # Errors
    /// If the device is not as virtio has it, or there is no memory.
    pub fn new(device: Device) -> Result<Box<Self>> {
        let Device { mut transport, interrupt } = device;
        let features = transport.begin_init(Feature::all());
        let receive = VirtQueue::new(&mut transport, RECEIVE, false, false)?;
        let mut transmit = VirtQueue::new(&mut transport, TRANSMIT, false, false)?;
        transmit.set_dev_notify(false);
        transport.finish_init();
        let checksum = features.contains(Feature::CHECKSUM);
        let segments = checksum && features.contains(Feature::SEGMENT_TCPV4);
        let header = if features.contains(Feature::VERSION_1) { size_of::<Header>() } else { size_of::<Header>() - 2 };
        Ok(Box::new(Self {
            transport,
            receive,
            transmit,
            abilities: Abilities { checksum, segments },
            header,
            pages: (0..QUEUE_SIZE).map(|_| None).collect(),
            frames: (0..QUEUE_SIZE).map(|_| None).collect(),
            refused: Vec::new(),
            quiet: false,
            interrupt,
        }))
    }

    /// Its interrupt, which whoever drives it waits for.
    #[must_use]
    pub const fn interrupt(&self) -> Interrupt {
        self.interrupt
    }

    /// Where in a page the device puts the header.
    const fn start(&self) -> usize {
        HEADROOM - self.header
    }
}

/// A frame with its header, page by page, in an array with how many there are.
fn list(frame: &Frame, header: usize) -> ([&[u8]; PAGES_MAX], usize) {
    let mut list = [<&[u8]>::default(); PAGES_MAX];
    let mut number = 0;
    for (entry, bytes) in list.iter_mut().zip(frame.parts(header)) {
        *entry = bytes;
        number += 1;
    }
    (list, number)
}

impl Uplink for Box<Net> {
    fn abilities(&self) -> Abilities {
        self.abilities
    }

    fn send(&mut self, mut frame: Frame) -> core::result::Result<(), Frame> {
        if frame.pages() > self.transmit.available_desc() {
            // Whoever has a frame looks once more for what was sent, after this.
            self.transmit.set_dev_notify(true);
            fence(Ordering::SeqCst);
            return Err(frame);
        }
        let Some(header) = Header::new(&frame).filter(|_| frame.pages() <= PAGES_MAX) else {
            self.refused.push(frame);
            return Ok(());
        };
        if let Some((place, bytes)) = frame.headroom_mut().last_chunk_mut::<12>().zip(header.as_bytes().first_chunk()) {
            // It ends where the frame begins, whether its last field is there or not.
            let skip = size_of::<Header>() - self.header;
            *place = *bytes;
            place.rotate_right(skip);
        }
        let (buffers, number) = list(&frame, self.header);
        // SAFETY: the frame's pages are boxed, and stay where they are in `frames` until `sent` has popped them; should this structure end
        // before, it resets the device first.
        let head = unsafe { self.transmit.add(buffers.get(..number).unwrap_or_default(), &mut []) };
        match head.ok().and_then(|head| self.frames.get_mut(usize::from(head))) {
            Some(place) => {
                *place = Some(frame);
                Ok(())
            }
            None => Err(frame),
        }
    }

    fn kick(&mut self) {
        for (queue, number) in [(&self.receive, RECEIVE), (&self.transmit, TRANSMIT)] {
            if queue.should_notify() {
                self.transport.notify(number);
            }
        }
    }

    fn sent(&mut self) -> Option<Frame> {
        if let Some(refused) = self.refused.pop() {
            return Some(refused);
        }
        let head = self.transmit.peek_used()?;
        let frame = self.frames.get_mut(usize::from(head))?.take()?;
        let (buffers, number) = list(&frame, self.header);
        // SAFETY: these are the buffers with which the queue gave this descriptor out.
        let popped = unsafe { self.transmit.pop_used(head, buffers.get(..number).unwrap_or_default(), &mut []) };
        self.transmit.set_dev_notify(false);
        popped.ok().map(|_| frame)
    }

    fn received(&mut self) -> Option<Frame> {
        if !self.receive.can_pop() {
            if !core::mem::take(&mut self.quiet) {
                return None;
            }
            self.receive.set_dev_notify(true);
            fence(Ordering::SeqCst);
            if !self.receive.can_pop() {
                return None;
            }
        }
        if !core::mem::replace(&mut self.quiet, true) {
            self.receive.set_dev_notify(false);
        }
        let head = self.receive.peek_used()?;
        let start = self.start();
        let mut page = self.pages.get_mut(usize::from(head))?.take()?;
        let buffer = page.bytes_mut().get_mut(start..)?;
        // SAFETY: this is the buffer with which the queue gave this descriptor out.
        let len = unsafe { self.receive.pop_used(head, &[], &mut [buffer]) }.ok()? as usize;
        let header = Header::read_from_prefix(page.bytes().get(start..)?).ok()?.0;
        let mut frame = Frame::received(page, len.saturating_sub(self.header));
        frame.checksum = match header.flags & (NEEDS_CHECKSUM | DATA_VALID) {
            0 => Checksum::Unknown,
            DATA_VALID => Checksum::Valid,
            _ => Checksum::Blank,
        };
        Some(frame)
    }

    fn provide(&mut self, mut page: Box<Page>) -> core::result::Result<(), Box<Page>> {
        if self.receive.available_desc() == 0 {
            return Err(page);
        }
        let Some(buffer) = page.bytes_mut().get_mut(HEADROOM - self.header..) else { return Err(page) };
        // SAFETY: the page is boxed, and stays where it is in `pages` until `received` has popped it; should this structure end before, it
        // resets the device first.
        let head = unsafe { self.receive.add(&[], &mut [buffer]) };
        match head.ok().and_then(|head| self.pages.get_mut(usize::from(head))) {
            Some(place) => {
                *place = Some(page);
                Ok(())
            }
            None => Err(page),
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // From now on the device writes nowhere.
        self.transport.set_status(DeviceStatus::empty());
    }
}
