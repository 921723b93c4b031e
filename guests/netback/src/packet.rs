//! What is looked at in a frame: Ethernet's header, ARP, IPv4's, and the checksums of TCP and UDP.

use core::fmt;
use core::str::FromStr;

use crate::Frame;

/// Bytes of Ethernet's header.
pub(crate) const ETHERNET_HEADER: usize = 14;
/// Types of Ethernet's payload.
pub(crate) const IPV4: [u8; 2] = [0x08, 0x00];
pub(crate) const ARP: [u8; 2] = [0x08, 0x06];
/// Protocols of IPv4's payload.
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
/// IPv4's flag and offset that make a packet a fragment: all but "don't fragment" (RFC 791).
const FRAGMENT: u16 = 0xbfff;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Whether it names more than one station.
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether frames to it end at the first bridge (IEEE 802.1D, 7.12.6).
    pub(crate) const fn is_link_local(self) -> bool {
        matches!(self.0, [0x01, 0x80, 0xc2, 0x00, 0x00, 0x00..=0x0f])
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(formatter, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(formatter, ":{byte:02x}"))
    }
}

impl FromStr for Mac {
    type Err = ();

    /// Six bytes in hexadecimal with colons between.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut address = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut address {
            let part = parts.next().filter(|part| part.len() <= 2 && !part.starts_with('+')).ok_or(())?;
            *byte = u8::from_str_radix(part, 16).map_err(drop)?;
        }
        if parts.next().is_none() { Ok(Self(address)) } else { Err(()) }
    }
}

/// The bytes at `offset`.
pub(crate) fn bytes<const N: usize>(data: &[u8], offset: usize) -> Option<[u8; N]> {
    data.get(offset..)?.first_chunk().copied()
}

pub(crate) fn half(data: &[u8], offset: usize) -> Option<u16> {
    bytes(data, offset).map(u16::from_be_bytes)
}

/// Puts `value` at `offset`, if there is something.
pub(crate) fn put<const N: usize>(data: &mut [u8], offset: usize, value: [u8; N]) {
    if let Some(place) = data.get_mut(offset..).and_then(|rest| rest.first_chunk_mut()) {
        *place = value;
    }
}

/// Where TCP or UDP lies in a frame of IPv4's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer4 {
    /// Its first byte in the frame.
    pub start: usize,
    /// Its bytes, with its header.
    pub len: usize,
    /// Where its checksum lies, from its first byte.
    pub checksum: usize,
    pub(crate) protocol: u8,
}

impl Layer4 {
    /// Finds it in a frame of `len` bytes that begins with `head`. `None` for everything else, fragments and lengths that do not fit.
    #[must_use]
    pub fn find(head: &[u8], len: usize) -> Option<Self> {
        if bytes(head, 12)? != IPV4 {
            return None;
        }
        let [version, ..] = bytes::<1>(head, ETHERNET_HEADER)?;
        let header = usize::from(version & 15) * 4;
        let total = usize::from(half(head, ETHERNET_HEADER + 2)?);
        let [protocol] = bytes(head, ETHERNET_HEADER + 9)?;
        let (checksum, least) = match protocol {
            TCP => (16, 20),
            UDP => (6, 8),
            _ => return None,
        };
        let start = ETHERNET_HEADER + header;
        let here = total.checked_sub(header)?;
        let sane = version >> 4 == 4 && header >= 20 && here >= least && ETHERNET_HEADER + total <= len;
        let whole = half(head, ETHERNET_HEADER + 6)? & FRAGMENT == 0;
        (sane && whole && start + least <= head.len()).then_some(Self { start, len: here, checksum, protocol })
    }

    /// The sum over the pseudo-header (RFC 9293, 3.1).
    pub(crate) fn pseudo_header(&self, head: &[u8]) -> u64 {
        let addresses = head.get(ETHERNET_HEADER + 12..ETHERNET_HEADER + 20).unwrap_or_default();
        let [high, low] = (self.len as u16).to_be_bytes();
        sum(sum(0, addresses), &[0, self.protocol, high, low])
    }
}

/// Adds `bytes`, which begin at an even place, to a sum of halves of words in this machine's order.
pub(crate) fn sum(before: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let sum = words.iter().fold(before, |sum, word| sum + u64::from(u32::from_ne_bytes(*word)));
    let mut last = [0; 4];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    sum + u64::from(u32::from_ne_bytes(last))
}

/// A sum as it stands in a header where nothing completes it: not inverted.
pub(crate) fn folded(sum: u64) -> [u8; 2] {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    (sum as u16).to_ne_bytes()
}

/// A sum as a checksum.
pub(crate) fn inverted(sum: u64) -> [u8; 2] {
    folded(sum).map(|byte| !byte)
}

/// Completes the checksum of TCP or UDP. False if there is none that is known here.
pub(crate) fn complete(frame: &mut Frame) -> bool {
    let Some(layer4) = Layer4::find(frame.head(), frame.len()) else { return false };
    let field = layer4.start + layer4.checksum;
    put(frame.head_mut(), field, [0, 0]);
    let mut total = layer4.pseudo_header(frame.head());
    let mut reader = frame.reader(layer4.start);
    let mut left = layer4.len;
    while left > 0 {
        let bytes = reader.take(left);
        if bytes.is_empty() {
            return false;
        }
        total = sum(total, bytes);
        left -= bytes.len();
    }
    let mut checksum = inverted(total);
    if layer4.protocol == UDP && checksum == [0, 0] {
        // Zero would say that there is none (RFC 768).
        checksum = [0xff, 0xff];
    }
    put(frame.head_mut(), field, checksum);
    true
}

/// A number that is the same for all frames of a connection, to spread connections over queues.
pub(crate) fn flow(head: &[u8]) -> u32 {
    let word = |offset| bytes(head, offset).map_or(0, u32::from_le_bytes);
    let mut mixed = word(2) ^ word(8);
    if bytes(head, 12) == Some(IPV4) {
        mixed ^= word(ETHERNET_HEADER + 12) ^ word(ETHERNET_HEADER + 16).rotate_left(7);
        if bytes(head, ETHERNET_HEADER).is_some_and(|[version]| version == 0x45) {
            mixed ^= word(ETHERNET_HEADER + 20);
        }
    }
    mixed.wrapping_mul(0x9e37_79b9) >> 16
}
