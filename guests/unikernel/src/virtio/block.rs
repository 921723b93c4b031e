//! A virtio disk with many commands on their way (virtio 1.2, 5.2).

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};

use bitflags::bitflags;
use mote_blkback::{Command, Discarding, Disk, Finished, Geometry, INDIRECT_SEGMENTS};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::transport::{DeviceStatus, Transport};
use virtio_drivers::{Error, Result};
use zerocopy::{Immutable, IntoBytes};

use super::{Device, Direct, Interrupt};

/// Descriptors: a command needs one for each buffer and two more.
const QUEUE_SIZE: usize = 128;
const QUEUE: u16 = 0;
/// Entries of the longest lists: the header before or the status behind as many buffers as a request has.
const LIST: usize = INDIRECT_SEGMENTS + 1;
const SECTOR: u32 = 512;

bitflags! {
    #[derive(Clone, Copy, Debug)]
    struct Feature: u64 {
        const READ_ONLY = 1 << 5;
        const BLOCK_SIZE = 1 << 6;
        const FLUSH = 1 << 9;
        const DISCARD = 1 << 13;
        const VERSION_1 = 1 << 32;
    }
}

/// Offsets in the configuration space.
mod config {
    pub const CAPACITY_LOW: usize = 0;
    pub const CAPACITY_HIGH: usize = 4;
    pub const BLOCK_SIZE: usize = 20;
    pub const DISCARD_SECTORS_MAX: usize = 36;
    pub const DISCARD_ALIGNMENT: usize = 44;
}

/// Types of commands.
mod kind {
    pub const READ: u32 = 0;
    pub const WRITE: u32 = 1;
    pub const FLUSH: u32 = 4;
    pub const SERIAL: u32 = 8;
    pub const DISCARD: u32 = 11;
}

/// What a command begins with.
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    kind: u32,
    reserved: u32,
    sector: u64,
}

/// What a discard says besides.
#[derive(Clone, Copy, Default, IntoBytes, Immutable)]
#[repr(C)]
struct Range {
    sector: u64,
    count: u32,
    flags: u32,
}

/// The status of a command that was done, and of one that is not done yet.
const DONE: u8 = 0;
const UNKNOWN: u8 = 0xff;

/// A command that the device has.
struct Flight {
    token: u16,
    header: Header,
    range: Range,
    status: u8,
    command: Command,
}

impl Flight {
    fn new(token: u16, command: Command) -> Self {
        let mut range = Range::default();
        let (kind, sector) = match command {
            Command::Read(sector, _) => (kind::READ, sector),
            Command::Write(sector, _) => (kind::WRITE, sector),
            Command::Flush => (kind::FLUSH, 0),
            Command::Discard(sector, count) => {
                // No more than the device's limit, which is 32 bits.
                range = Range { sector, count: count as u32, flags: 0 };
                (kind::DISCARD, 0)
            }
        };
        Self { token, header: Header { kind, reserved: 0, sector }, range, status: UNKNOWN, command }
    }

    /// How many descriptors it needs.
    fn descriptors(command: &Command) -> usize {
        match command {
            Command::Read(_, buffers) | Command::Write(_, buffers) => buffers.len() + 2,
            Command::Flush => 2,
            Command::Discard(..) => 3,
        }
    }

    /// Calls `user` with what the device reads and what it writes.
    fn with_lists<T>(&mut self, user: impl for<'a> FnOnce(&'a [&'a [u8]], &'a mut [&'a mut [u8]]) -> T) -> T {
        let mut reads: [&[u8]; LIST] = [&[]; LIST];
        let mut writes: [&mut [u8]; LIST] = core::array::from_fn(|_| <&mut [u8]>::default());
        let (mut read, mut written) = (1, 0);
        reads[0] = self.header.as_bytes();
        match &mut self.command {
            Command::Read(_, buffers) => {
                for (entry, buffer) in writes.iter_mut().zip(buffers) {
                    *entry = buffer.bytes_mut();
                    written += 1;
                }
            }
            Command::Write(_, buffers) => {
                for (entry, buffer) in reads.iter_mut().skip(1).zip(buffers) {
                    *entry = buffer.bytes();
                    read += 1;
                }
            }
            Command::Flush => {}
            Command::Discard(..) => {
                reads[1] = self.range.as_bytes();
                read = 2;
            }
        }
        if let Some(entry) = writes.get_mut(written) {
            *entry = core::slice::from_mut(&mut self.status);
        }
        user(reads.get(..read).unwrap_or_default(), writes.get_mut(..=written).unwrap_or_default())
    }
}

/// A disk.
pub struct Block {
    transport: MmioTransport<'static>,
    queue: Box<VirtQueue<Direct, QUEUE_SIZE>>,
    /// By their first descriptor. Boxed, because the device writes into them.
    flights: Vec<Option<Box<Flight>>>,
    /// Whether there is something that the device was not told of.
    untold: bool,
    /// What the device cannot do.
    refused: Vec<Finished>,
    geometry: Geometry,
    /// Its interrupt.
    pub interrupt: Interrupt,
    serial: String,
}

impl Block {
    /// Sets the disk up, and asks it for its name.
    ///
    /// # Errors
    /// If the device is not as virtio has it, or there is no memory.
    pub fn new(device: Device) -> Result<Self> {
        let Device { mut transport, interrupt } = device;
        let features = transport.begin_init(Feature::all());
        let geometry = transport.read_consistent(|| geometry(&transport, features))?;
        let mut queue = Box::new(VirtQueue::new(&mut transport, QUEUE, false, false)?);
        transport.finish_init();
        let serial = serial(&mut queue, &mut transport)?;
        let flights = (0..QUEUE_SIZE).map(|_| None).collect();
        Ok(Self { transport, queue, flights, untold: false, refused: Vec::new(), geometry, interrupt, serial })
    }

    /// Its name, of 20 bytes at most.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }
}

fn geometry(transport: &MmioTransport<'_>, features: Feature) -> Result<Geometry> {
    let word = |offset| transport.read_config_space::<u32>(offset);
    let sectors = u64::from(word(config::CAPACITY_HIGH)?) << 32 | u64::from(word(config::CAPACITY_LOW)?);
    let size = if features.contains(Feature::BLOCK_SIZE) { word(config::BLOCK_SIZE)? } else { SECTOR };
    if !size.is_power_of_two() || !(SECTOR..=4096).contains(&size) {
        return Err(Error::ConfigSpaceTooSmall);
    }
    let read_only = features.contains(Feature::READ_ONLY);
    let discard = if features.contains(Feature::DISCARD) && !read_only {
        let granularity = word(config::DISCARD_ALIGNMENT)?.saturating_mul(SECTOR).max(size);
        // Whole sectors of the disk's.
        let sectors_max = u64::from(word(config::DISCARD_SECTORS_MAX)? & !(size / SECTOR - 1));
        (sectors_max != 0).then_some(Discarding { granularity, sectors_max })
    } else {
        None
    };
    Ok(Geometry { sectors, sector_size: size, read_only, flush: features.contains(Feature::FLUSH), discard })
}

/// Asks the device for its name, and waits for the answer.
fn serial(queue: &mut VirtQueue<Direct, QUEUE_SIZE>, transport: &mut MmioTransport<'static>) -> Result<String> {
    let (mut name, mut status) = ([0; 20], [UNKNOWN]);
    let header = Header { kind: kind::SERIAL, reserved: 0, sector: 0 };
    queue.add_notify_wait_pop(&[header.as_bytes()], &mut [&mut name, &mut status], transport)?;
    let known = if status == [DONE] { name.split(|byte| *byte == 0).next().unwrap_or_default() } else { &[] };
    Ok(String::from_utf8_lossy(known).into_owned())
}

impl Disk for Block {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn start(&mut self, token: u16, command: Command) -> core::result::Result<(), Command> {
        let needed = Flight::descriptors(&command);
        if needed > LIST + 1 {
            self.refused.push(Finished { token, buffers: command.into_buffers(), done: false });
            return Ok(());
        }
        if needed > self.queue.available_desc() {
            return Err(command);
        }
        let mut flight = Box::new(Flight::new(token, command));
        let queue = &mut self.queue;
        // SAFETY: header, range and status are in a box, data in boxed pages, and nothing touches them until `finished` has popped them;
        // should this structure end before, it resets the device first.
        let head = flight.with_lists(|reads, writes| unsafe { queue.add(reads, writes) });
        let Some(place) = head.ok().and_then(|head| self.flights.get_mut(usize::from(head))) else {
            return Err(flight.command);
        };
        *place = Some(flight);
        self.untold = true;
        Ok(())
    }

    fn kick(&mut self) {
        if !core::mem::take(&mut self.untold) {
            return;
        }
        // The device says that it looks again, and then looks: what was added must be seen before it is asked.
        fence(Ordering::SeqCst);
        if self.queue.should_notify() {
            self.transport.notify(QUEUE);
        }
    }

    fn finished(&mut self) -> Option<Finished> {
        if let Some(refused) = self.refused.pop() {
            return Some(refused);
        }
        let head = self.queue.peek_used()?;
        let mut flight = self.flights.get_mut(usize::from(head))?.take()?;
        let queue = &mut self.queue;
        // SAFETY: these are the lists with which the queue gave this descriptor out.
        let popped = flight.with_lists(|reads, writes| unsafe { queue.pop_used(head, reads, writes) });
        let buffers = flight.command.into_buffers();
        Some(Finished { token: flight.token, buffers, done: popped.is_ok() && flight.status == DONE })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // From now on the device writes nowhere.
        self.transport.set_status(DeviceStatus::empty());
    }
}
