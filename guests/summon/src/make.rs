//! Frames that are made here, with their checksums.

use mote_netback::Mac;
use zerocopy::IntoBytes;
use zerocopy::byteorder::network_endian::U16;

use crate::action::Short;
use crate::checksum;
use crate::wire::{ARP, Arp, Ethernet, IPV4, IPV4_LEN, Ipv4, TCP, TCP_LEN, Tcp, pseudo_header};

const BROADCAST: [u8; 6] = [0xff; 6];
/// How many routers a packet may pass (RFC 1700).
pub const TTL: u8 = 64;

/// A segment without data, to be made.
#[derive(Clone, Copy)]
pub struct Blueprint {
    pub from: Mac,
    pub to: Mac,
    pub source: ([u8; 4], u16),
    pub target: ([u8; 4], u16),
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: u8,
    pub window: u16,
    pub mss: Option<u16>,
}

impl Blueprint {
    pub fn make(&self) -> Short {
        let option: [u8; 4] = self.mss.map_or([0; 4], |mss| {
            let [high, low] = mss.to_be_bytes();
            [2, 4, high, low]
        });
        let option = if self.mss.is_some() { option.as_slice() } else { &[] };
        let len = TCP_LEN + option.len();
        let mut tcp = Tcp {
            source: self.source.1.into(),
            target: self.target.1.into(),
            sequence: self.sequence.into(),
            acknowledgement: self.acknowledgement.into(),
            offset: (len as u8 / 4) << 4,
            flags: self.flags,
            window: self.window.into(),
            checksum: U16::ZERO,
            urgent: U16::ZERO,
        };
        let sum = pseudo_header(self.source.0, self.target.0, len);
        tcp.checksum = (!checksum::fold(checksum::add(checksum::add(sum, tcp.as_bytes()), option))).into();
        let ethernet = Ethernet { to: self.to.0, from: self.from.0, kind: IPV4.into() };
        join([ethernet.as_bytes(), self.ip(len).as_bytes(), tcp.as_bytes(), option])
    }

    fn ip(&self, len: usize) -> Ipv4 {
        let mut ip = Ipv4 {
            version: 0x45,
            service: 0,
            total: ((IPV4_LEN + len) as u16).into(),
            // It may be anything where a packet cannot be fragmented (RFC 6864).
            identification: U16::ZERO,
            fragment: 0x4000.into(),
            ttl: TTL,
            protocol: TCP,
            checksum: U16::ZERO,
            source: self.source.0,
            target: self.target.0,
        };
        ip.checksum = (!checksum::fold(checksum::add(0, ip.as_bytes()))).into();
        ip
    }
}

/// Tells `to` that `sender` has the address `from`.
pub fn arp_reply(from: Mac, sender: [u8; 4], to: [u8; 6], target: [u8; 4]) -> Short {
    arp(Arp::REPLY, from, sender, to, target)
}

/// Tells all that `ip` is `mac`'s (RFC 5227, 2.3).
pub fn announcement(mac: Mac, ip: [u8; 4]) -> Short {
    arp(Arp::REQUEST, mac, ip, BROADCAST, ip)
}

fn arp(operation: u16, from: Mac, sender: [u8; 4], to: [u8; 6], target: [u8; 4]) -> Short {
    let ethernet = Ethernet { to, from: from.0, kind: ARP.into() };
    let target_mac = if operation == Arp::REPLY { to } else { [0; 6] };
    let operation = operation.into();
    let arp = Arp { kind: Arp::KIND, operation, sender_mac: from.0, sender, target_mac, target };
    join([ethernet.as_bytes(), arp.as_bytes()])
}

fn join<const N: usize>(parts: [&[u8]; N]) -> Short {
    let mut frame = Short::new();
    for part in parts {
        // All of them fit: the longest frame is that with an option.
        let _ = frame.try_extend_from_slice(part);
    }
    frame
}
