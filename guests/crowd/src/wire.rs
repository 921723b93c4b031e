//! TCP segments between two fixed addresses, as Ethernet frames.

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const TCP: u8 = 6;
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// An end of a connection, but for its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    pub mac: [u8; 6],
    pub ip: [u8; 4],
}

/// Headers of Ethernet, IPv4 and TCP, none with options.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Headers {
    to: [u8; 6],
    from: [u8; 6],
    kind: U16,
    version: u8,
    service: u8,
    total: U16,
    identification: U16,
    fragment: U16,
    ttl: u8,
    protocol: u8,
    checksum: U16,
    source: [u8; 4],
    target: [u8; 4],
    source_port: U16,
    target_port: U16,
    sequence: U32,
    acknowledgement: U32,
    offset: u8,
    flags: u8,
    window: U16,
    tcp_checksum: U16,
    urgent: U16,
}

const ETHERNET_LEN: usize = 14;
const IPV4_LEN: usize = 20;
const LEN: usize = size_of::<Headers>();

/// An ARP packet behind Ethernet's header (RFC 826).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Arp {
    to: [u8; 6],
    from: [u8; 6],
    kind: U16,
    hardware: U16,
    protocol: U16,
    lengths: [u8; 2],
    operation: U16,
    sender_mac: [u8; 6],
    sender: [u8; 4],
    target_mac: [u8; 6],
    target: [u8; 4],
}

impl Arp {
    /// Asks all for who has `target`.
    pub fn request(from: Station, target: [u8; 4]) -> Self {
        Self {
            to: [0xff; 6],
            from: from.mac,
            kind: ARP.into(),
            hardware: 1.into(),
            protocol: IPV4.into(),
            lengths: [6, 4],
            operation: REQUEST.into(),
            sender_mac: from.mac,
            sender: from.ip,
            target_mac: [0; 6],
            target,
        }
    }

    /// Who it says that it is from.
    pub fn read(frame: &[u8]) -> Option<Station> {
        let (arp, _) = Self::read_from_prefix(frame).ok()?;
        let known = arp.kind.get() == ARP && arp.operation.get() == REPLY;
        known.then_some(Station { mac: arp.sender_mac, ip: arp.sender })
    }
}

/// A segment, with its data elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// The port of the end that is here.
    pub port: u16,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: u8,
}

impl Segment {
    /// How long its frame is.
    pub const fn length(data: &[u8]) -> usize {
        LEN + data.len()
    }

    /// Writes its frame. Its checksum is the device's.
    pub fn write(&self, here: Station, there: Station, there_port: u16, data: &[u8], frame: &mut [u8]) {
        let total = (LEN - ETHERNET_LEN + data.len()) as u16;
        let mut headers = Headers {
            to: there.mac,
            from: here.mac,
            kind: IPV4.into(),
            version: 0x45,
            service: 0,
            total: total.into(),
            identification: U16::ZERO,
            fragment: 0x4000.into(),
            ttl: 64,
            protocol: TCP,
            checksum: U16::ZERO,
            source: here.ip,
            target: there.ip,
            source_port: self.port.into(),
            target_port: there_port.into(),
            sequence: self.sequence.into(),
            acknowledgement: self.acknowledgement.into(),
            offset: 5 << 4,
            flags: self.flags,
            window: u16::MAX.into(),
            tcp_checksum: U16::ZERO,
            urgent: U16::ZERO,
        };
        let ip = &headers.as_bytes()[ETHERNET_LEN..ETHERNET_LEN + IPV4_LEN];
        headers.checksum = sum(ip).into();
        if let Some((to, rest)) = frame.split_at_mut_checked(LEN) {
            to.copy_from_slice(headers.as_bytes());
            rest.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
        }
    }

    /// Reads a frame from `there`, and its data.
    pub fn read(there: Station, there_port: u16, frame: &[u8]) -> Option<(Self, &[u8])> {
        let (headers, _) = Headers::read_from_prefix(frame).ok()?;
        let is_it = headers.kind.get() == IPV4
            && (headers.version, headers.protocol) == (0x45, TCP)
            && (headers.source, headers.source_port.get()) == (there.ip, there_port);
        let start = ETHERNET_LEN + IPV4_LEN + usize::from(headers.offset >> 4) * 4;
        let data = frame.get(start..ETHERNET_LEN + usize::from(headers.total.get())).filter(|_| is_it)?;
        let segment = Self {
            port: headers.target_port.get(),
            sequence: headers.sequence.get(),
            acknowledgement: headers.acknowledgement.get(),
            flags: headers.flags,
        };
        Some((segment, data))
    }
}

/// The checksum of IPv4's header (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let (words, _) = bytes.as_chunks::<2>();
    let sum = words.iter().fold(0, |sum, word| sum + u32::from(u16::from_be_bytes(*word)));
    !((sum >> 16) + (sum & 0xffff)) as u16
}
