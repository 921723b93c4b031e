//! TCP segments between two fixed addresses, as Ethernet frames.

use core::net::Ipv4Addr;

use mote_unikernel::net::smoltcp::phy::{Checksum, ChecksumCapabilities};
use mote_unikernel::net::smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol,
    Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};

/// Bytes of Ethernet's and IPv4's headers, and of an ARP packet behind the former (RFC 826).
const ETHERNET_LEN: usize = EthernetFrame::<&[u8]>::header_len();
const HEADERS: usize = ETHERNET_LEN + 20;
pub const ARP_LEN: usize = ETHERNET_LEN + 28;
const TTL: u8 = 64;

/// An end of a connection, but for its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    pub mac: EthernetAddress,
    pub ip: Ipv4Addr,
}

/// Writes a frame in which `from` asks all for who has `target`.
pub fn ask(from: Station, target: Ipv4Addr, frame: &mut [u8]) {
    let mut frame = EthernetFrame::new_unchecked(frame);
    let (src_addr, dst_addr) = (from.mac, EthernetAddress::BROADCAST);
    EthernetRepr { src_addr, dst_addr, ethertype: EthernetProtocol::Arp }.emit(&mut frame);
    let question = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: from.mac,
        source_protocol_addr: from.ip,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: target,
    };
    question.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
}

/// Who an answer to that says that it is from.
pub fn answer(frame: &[u8]) -> Option<Station> {
    let frame = EthernetFrame::new_checked(frame).ok().filter(|frame| frame.ethertype() == EthernetProtocol::Arp)?;
    let packet = ArpPacket::new_checked(frame.payload()).ok()?;
    match ArpRepr::parse(&packet).ok()? {
        ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: mac,
            source_protocol_addr: ip,
            ..
        } => Some(Station { mac, ip }),
        _ => None,
    }
}

/// A segment, with its data elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// The port of the end that is here.
    pub port: u16,
    pub control: TcpControl,
    pub sequence: u32,
    /// Of all but the first.
    pub acknowledgement: u32,
}

impl Segment {
    /// How long its frame is.
    pub fn length(&self, data: &[u8]) -> usize {
        HEADERS + self.packet(0, data).buffer_len()
    }

    fn packet<'a>(&self, there_port: u16, payload: &'a [u8]) -> TcpRepr<'a> {
        TcpRepr {
            src_port: self.port,
            dst_port: there_port,
            control: self.control,
            seq_number: TcpSeqNumber(self.sequence as i32),
            ack_number: (self.control != TcpControl::Syn).then_some(TcpSeqNumber(self.acknowledgement as i32)),
            window_len: u16::MAX,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload,
        }
    }

    /// Writes its frame. Its checksum is the device's.
    pub fn write(&self, here: Station, there: Station, there_port: u16, data: &[u8], frame: &mut [u8]) {
        let packet = self.packet(there_port, data);
        let mut frame = EthernetFrame::new_unchecked(frame);
        let (src_addr, dst_addr) = (here.mac, there.mac);
        EthernetRepr { src_addr, dst_addr, ethertype: EthernetProtocol::Ipv4 }.emit(&mut frame);
        let ip = Ipv4Repr {
            src_addr: here.ip,
            dst_addr: there.ip,
            next_header: IpProtocol::Tcp,
            payload_len: packet.buffer_len(),
            hop_limit: TTL,
        };
        let mut ip_packet = Ipv4Packet::new_unchecked(frame.payload_mut());
        ip.emit(&mut ip_packet, &checksums());
        let mut tcp = TcpPacket::new_unchecked(ip_packet.payload_mut());
        packet.emit(&mut tcp, &here.ip.into(), &there.ip.into(), &checksums());
    }

    /// Reads a frame from `there`, and its data.
    pub fn read(there: Station, there_port: u16, frame: &[u8]) -> Option<(Self, &[u8])> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        let is_ip = frame.ethertype() == EthernetProtocol::Ipv4;
        let ip = Ipv4Packet::new_checked(frame.into_inner().get(ETHERNET_LEN..)?).ok().filter(|_| is_ip)?;
        let (from, to) = (ip.src_addr(), ip.dst_addr());
        let is_its = ip.next_header() == IpProtocol::Tcp && from == there.ip;
        let (start, end) = (usize::from(ip.header_len()), usize::from(ip.total_len()));
        let tcp = TcpPacket::new_checked(ip.into_inner().get(start..end)?).ok().filter(|_| is_its)?;
        let packet = TcpRepr::parse(&tcp, &from.into(), &to.into(), &checksums()).ok()?;
        let acknowledgement = packet.ack_number.map_or(0, |number| number.0 as u32);
        let (port, control, sequence) = (packet.dst_port, packet.control, packet.seq_number.0 as u32);
        (packet.src_port == there_port).then_some((Self { port, control, sequence, acknowledgement }, packet.payload))
    }
}

/// IPv4's is made here.
fn checksums() -> ChecksumCapabilities {
    let mut capabilities = ChecksumCapabilities::ignored();
    capabilities.ipv4 = Checksum::Tx;
    capabilities
}
