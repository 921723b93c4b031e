//! Headers as they are on the wire, and what of a TCP segment matters here.

use mote_netback::{Checksum, Mac};
use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Packet, checksum};

pub const IPV4: u16 = 0x0800;
pub const ARP: u16 = 0x0806;
pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;

pub const ETHERNET_LEN: usize = 14;
pub const IPV4_LEN: usize = 20;
pub const TCP_LEN: usize = 20;
/// Where what IPv4 carries begins: packets with options are none of those that are let through.
pub const PAYLOAD: usize = ETHERNET_LEN + IPV4_LEN;

/// TCP's flags.
pub mod flags {
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 2;
    pub const RST: u8 = 4;
    pub const ACK: u8 = 16;
}

/// TCP's options (RFC 9293, 3.2; RFC 2018).
mod option {
    pub const END: u8 = 0;
    pub const NOTHING: u8 = 1;
    pub const MSS: u8 = 2;
    pub const SACK: u8 = 5;
}

/// Ethernet's header.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ethernet {
    pub to: [u8; 6],
    pub from: [u8; 6],
    pub kind: U16,
}

/// IPv4's header without options.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv4 {
    pub version: u8,
    pub service: u8,
    pub total: U16,
    pub identification: U16,
    pub fragment: U16,
    pub ttl: u8,
    pub protocol: u8,
    pub checksum: U16,
    pub source: [u8; 4],
    pub target: [u8; 4],
}

/// TCP's header without options.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Tcp {
    pub source: U16,
    pub target: U16,
    pub sequence: U32,
    pub acknowledgement: U32,
    pub offset: u8,
    pub flags: u8,
    pub window: U16,
    pub checksum: U16,
    pub urgent: U16,
}

/// An ARP packet for Ethernet and IPv4 (RFC 826).
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Arp {
    pub kind: [u8; 6],
    pub operation: U16,
    pub sender_mac: [u8; 6],
    pub sender: [u8; 4],
    pub target_mac: [u8; 6],
    pub target: [u8; 4],
}

impl Arp {
    /// Ethernet and IPv4, and the lengths of their addresses.
    pub const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];
    pub const REQUEST: u16 = 1;
    pub const REPLY: u16 = 2;

    /// The packet of a frame, if it is one of these.
    pub fn of(head: &[u8]) -> Option<Self> {
        let (packet, _) = Self::read_from_prefix(head.get(ETHERNET_LEN..)?).ok()?;
        (packet.kind == Self::KIND).then_some(packet)
    }
}

/// What Ethernet's header says.
pub fn ethernet(head: &[u8]) -> Option<&Ethernet> {
    Ethernet::ref_from_prefix(head).ok().map(|(header, _)| header)
}

/// Readdresses a frame.
pub fn readdress(head: &mut [u8], to: Mac, from: Mac) {
    if let Ok((header, _)) = Ethernet::mut_from_prefix(head) {
        (header.to, header.from) = (to.0, from.0);
    }
}

/// IPv4's header, if it is whole, without options, no fragment, and its length within the frame's.
pub fn ipv4(head: &[u8], length: usize) -> Option<&Ipv4> {
    let (header, _) = Ipv4::ref_from_prefix(head.get(ETHERNET_LEN..)?).ok()?;
    let total = usize::from(header.total.get());
    // All but "don't fragment" (RFC 791).
    let fragment = header.fragment.get() & 0xbfff != 0;
    let sane = header.version == 0x45 && !fragment && total >= IPV4_LEN && ETHERNET_LEN + total <= length;
    sane.then_some(header)
}

/// A TCP segment's header, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub from: Mac,
    pub source: [u8; 4],
    pub target: [u8; 4],
    pub source_port: u16,
    pub target_port: u16,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: u8,
    pub window: u16,
    /// Bytes of options.
    pub options: usize,
    /// Bytes of data.
    pub data: usize,
}

impl Segment {
    /// The segment in a frame, if its lengths fit each other and all headers are in the frame's head.
    pub fn of<F: Packet>(frame: &F) -> Option<Self> {
        let head = frame.head();
        let ip = ipv4(head, frame.length()).filter(|ip| ip.protocol == TCP)?;
        let (tcp, rest) = Tcp::ref_from_prefix(head.get(PAYLOAD..)?).ok()?;
        let options = (usize::from(tcp.offset >> 4) * 4).checked_sub(TCP_LEN)?;
        let data = usize::from(ip.total.get()).checked_sub(IPV4_LEN + TCP_LEN + options)?;
        (options <= rest.len()).then_some(Self {
            from: Mac(ethernet(head)?.from),
            source: ip.source,
            target: ip.target,
            source_port: tcp.source.get(),
            target_port: tcp.target.get(),
            sequence: tcp.sequence.get(),
            acknowledgement: tcp.acknowledgement.get(),
            flags: tcp.flags,
            window: tcp.window.get(),
            options,
            data,
        })
    }

    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// The sequence number behind it.
    pub const fn end(&self) -> u32 {
        let flags = (self.flags & flags::FIN != 0) as u32 + (self.flags & flags::SYN != 0) as u32;
        self.sequence.wrapping_add(self.data as u32).wrapping_add(flags)
    }

    fn options_of<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        head.get(PAYLOAD + TCP_LEN..).and_then(|rest| rest.get(..self.options)).unwrap_or_default()
    }

    /// What it says of the longest segment that may be sent back, as a SYN does.
    pub fn mss(&self, head: &[u8]) -> Option<u16> {
        let options = self.options_of(head);
        let place = find_option(options, option::MSS).filter(|(_, len)| *len == 4)?.0;
        Some(u16::from_be_bytes(*options.get(place + 2..)?.first_chunk()?))
    }

    /// Whether its checksum is right, as far as can be said: what is blank or valid is, and so is what is not in one page.
    pub fn is_intact<F: Packet>(&self, frame: &F) -> bool {
        let head = frame.head();
        if frame.checksum() != Checksum::Unknown || frame.length() > head.len() {
            return true;
        }
        let len = TCP_LEN + self.options + self.data;
        let Some(bytes) = head.get(PAYLOAD..).and_then(|rest| rest.get(..len)) else { return false };
        checksum::fold(checksum::add(pseudo_header(self.source, self.target, len), bytes)) == 0xffff
    }
}

/// The sum over TCP's pseudo-header (RFC 9293, 3.1).
pub fn pseudo_header(source: [u8; 4], target: [u8; 4], len: usize) -> u32 {
    checksum::add(checksum::add(u32::from(TCP) + len as u32, &source), &target)
}

/// Where an option is, and how long.
fn find_option(options: &[u8], wanted: u8) -> Option<(usize, usize)> {
    let mut place = 0;
    while let Some(&kind) = options.get(place) {
        let len = match kind {
            option::END => return None,
            option::NOTHING => 1,
            _ => usize::from(*options.get(place + 1)?).max(2),
        };
        if kind == wanted {
            return (place + len <= options.len()).then_some((place, len));
        }
        place += len;
    }
    None
}

/// Adds to a segment's sequence number and to its acknowledgement number.
pub fn shift<F: Packet>(frame: &mut F, sequence: u32, acknowledgement: u32) {
    let blank = frame.checksum() == Checksum::Blank;
    let Some(Ok((tcp, _))) = frame.head_mut().get_mut(PAYLOAD..).map(Tcp::mut_from_prefix) else { return };
    for (field, by) in [(&mut tcp.sequence, sequence), (&mut tcp.acknowledgement, acknowledgement)] {
        let old = field.get();
        let new = old.wrapping_add(by);
        field.set(new);
        if !blank && by != 0 {
            tcp.checksum.set(checksum::update(tcp.checksum.get(), old, new));
        }
    }
}

/// Makes nothing of selective acknowledgements: nobody was told that there may be some, and their numbers are not shifted.
pub fn neutralise<F: Packet>(frame: &mut F, segment: &Segment) {
    if segment.options == 0 {
        return;
    }
    let blank = frame.checksum() == Checksum::Blank;
    let Some(Ok((tcp, rest))) = frame.head_mut().get_mut(PAYLOAD..).map(Tcp::mut_from_prefix) else { return };
    let Some(options) = rest.get_mut(..segment.options) else { return };
    let before = checksum::add(0, options);
    while let Some((place, len)) = find_option(options, option::SACK) {
        options.iter_mut().skip(place).take(len).for_each(|byte| *byte = option::NOTHING);
    }
    if !blank {
        tcp.checksum.set(checksum::update_sums(tcp.checksum.get(), before, checksum::add(0, options)));
    }
}
