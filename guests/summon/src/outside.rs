//! Frames from the network: whose they are, and those of them that are answered at once.

use mote_netback::{Checksum, Mac};
use zerocopy::FromBytes;
use zerocopy::byteorder::network_endian::U16;

use crate::action::{Action, Parcel};
use crate::services::is_station;
use crate::wire::{self, Arp, ICMP, Ipv4, PAYLOAD, Segment, TCP};
use crate::{Actions, Packet, Summoner, checksum, make};

/// ICMP's types (RFC 792), as the first word of a message.
const ECHO: u16 = 8 << 8;
/// Milliseconds between two defences of an address (RFC 5227, 2.4).
const DEFEND: u64 = 10_000;

impl<F: Packet> Summoner<F> {
    /// A frame came from the network. It comes back if it is not for a service.
    #[must_use]
    pub fn from_outside(&mut self, frame: F, now: u64, actions: &mut Actions<F>) -> Option<F> {
        let head = frame.head();
        let Some(ethernet) = wire::ethernet(head) else { return Some(frame) };
        match ethernet.kind.get() {
            wire::ARP => self.arp(frame, now, actions),
            wire::IPV4 => {
                let (to, source) = (Mac(ethernet.to), Mac(ethernet.from));
                // Where the target is even if nothing else is as it should be.
                let target = head.get(wire::ETHERNET_LEN..).and_then(|rest| Ipv4::ref_from_prefix(rest).ok());
                let standing = target.and_then(|(ip, _)| self.services.at_ip(ip.target));
                if standing.is_none_or(|standing| standing.mac != to) {
                    return Some(frame);
                }
                match wire::ipv4(head, frame.length()) {
                    Some(ip) if source.is_multicast() || !is_station(ip.source) || ip.source == ip.target => {
                        actions.push_back(Action::Discard(frame));
                    }
                    Some(ip) if ip.protocol == TCP => self.tcp(frame, now, actions),
                    Some(ip) if ip.protocol == ICMP => actions.push_back(echo(frame)),
                    _ => actions.push_back(Action::Discard(frame)),
                }
                None
            }
            _ => Some(frame),
        }
    }

    fn tcp(&mut self, frame: F, now: u64, actions: &mut Actions<F>) {
        match Segment::of(&frame) {
            Some(segment) => self.client_sends(frame, &segment, now, actions),
            None => actions.push_back(Action::Discard(frame)),
        }
    }

    fn arp(&mut self, frame: F, now: u64, actions: &mut Actions<F>) -> Option<F> {
        let Some(packet) = Arp::of(frame.head()) else { return Some(frame) };
        if let Some(id) = self.services.id_at_ip(packet.sender) {
            self.defend(id, Mac(packet.sender_mac), now, actions);
            return Some(frame);
        }
        let Some(standing) = self.services.at_ip(packet.target) else { return Some(frame) };
        if packet.operation.get() == Arp::REQUEST && !Mac(packet.sender_mac).is_multicast() {
            let reply = make::arp_reply(standing.mac, packet.target, packet.sender_mac, packet.sender);
            actions.push_back(Action::ToOutside(Parcel::Short(reply)));
        }
        actions.push_back(Action::Discard(frame));
        None
    }

    /// Somebody else says that a service's address is his. It is said once that it is not.
    fn defend(&mut self, id: crate::ServiceId, mac: Mac, now: u64, actions: &mut Actions<F>) {
        let Some(standing) = self.services.get_mut(id) else { return };
        if standing.mac == mac {
            return;
        }
        standing.counters.conflicts += 1;
        if now >= standing.defended + DEFEND {
            standing.defended = now;
            self.announce(id, actions);
        }
    }
}

/// Answers an echo request with itself. All else of ICMP's concerns connections of which nothing is known here.
fn echo<F: Packet>(mut frame: F) -> Action<F> {
    let whole = frame.checksum() != Checksum::Blank;
    let head = frame.head_mut();
    let Some(ethernet) = wire::ethernet(head).copied() else { return Action::Discard(frame) };
    let Some((ip, icmp)) = head
        .get_mut(wire::ETHERNET_LEN..)
        .and_then(|rest| Ipv4::mut_from_prefix(rest).ok())
        .and_then(|(ip, rest)| Some((ip, <[U16; 2]>::mut_from_prefix(rest).ok()?.0)))
    else {
        return Action::Discard(frame);
    };
    let [kind, sum] = icmp;
    if kind.get() != ECHO || usize::from(ip.total.get()) < PAYLOAD - wire::ETHERNET_LEN + 8 || !whole {
        return Action::Discard(frame);
    }
    kind.set(0);
    sum.set(checksum::update(sum.get(), u32::from(ECHO), 0));
    (ip.source, ip.target) = (ip.target, ip.source);
    let before = u16::from_be_bytes([ip.ttl, ip.protocol]);
    ip.ttl = make::TTL;
    let after = u16::from_be_bytes([ip.ttl, ip.protocol]);
    ip.checksum.set(checksum::update(ip.checksum.get(), before.into(), after.into()));
    wire::readdress(head, Mac(ethernet.from), Mac(ethernet.to));
    Action::ToOutside(Parcel::Frame(frame))
}
