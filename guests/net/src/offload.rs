//! Checksums of TCP and UDP, for devices whose other end takes and gives packets without.

use smoltcp::wire::{
    ETHERNET_HEADER_LEN, EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, TcpPacket, UdpPacket,
    checksum,
};

/// Offsets of the checksum in TCP's and UDP's header.
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

/// Puts the pseudo-header's sum in place of the checksum of TCP or UDP in `frame`, which leaves the rest to the other end
/// of the device. False if there is none.
pub fn leave_checksum(frame: &mut [u8]) -> bool {
    let Some(found) = find(frame) else { return false };
    let Some(place) = frame.get_mut(found.checksum..found.checksum + 2) else { return false };
    place.copy_from_slice(&found.pseudo_header.to_be_bytes());
    true
}

/// Whether `frame` may be what was sent: its checksum of TCP or UDP, if it has one, is right.
#[must_use]
pub fn is_intact(frame: &[u8]) -> bool {
    let Ok(ethernet) = EthernetFrame::new_checked(frame) else { return false };
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return true;
    }
    let Ok(ip) = Ipv4Packet::new_checked(ethernet.payload()) else { return false };
    if ip.more_frags() || ip.frag_offset() != 0 {
        return true;
    }
    let (from, to) = (IpAddress::Ipv4(ip.src_addr()), IpAddress::Ipv4(ip.dst_addr()));
    match ip.next_header() {
        IpProtocol::Tcp => TcpPacket::new_checked(ip.payload()).is_ok_and(|tcp| tcp.verify_checksum(&from, &to)),
        IpProtocol::Udp => UdpPacket::new_checked(ip.payload()).is_ok_and(|udp| udp.verify_checksum(&from, &to)),
        _ => true,
    }
}

struct Found {
    /// Where the checksum is.
    checksum: usize,
    pseudo_header: u16,
}

fn find(frame: &[u8]) -> Option<Found> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
    let protocol = ip.next_header();
    let place = match protocol {
        IpProtocol::Tcp => TCP_CHECKSUM,
        IpProtocol::Udp => UDP_CHECKSUM,
        _ => return None,
    };
    let header = usize::from(ip.header_len());
    let length = usize::from(ip.total_len()).checked_sub(header)?;
    let pseudo_header = checksum::pseudo_header_v4(&ip.src_addr(), &ip.dst_addr(), protocol, length as u32);
    Some(Found { checksum: ETHERNET_HEADER_LEN + header + place, pseudo_header })
}
