//! Which port a frame goes to, and whether it may.
//!
//! A guest's address is known before it sends anything, and it may use no other. What is behind an uplink is learned. So a frame to an
//! address that nobody knows goes to the uplinks only: no guest sees frames that are not for it. One to a guest that is not connected, or
//! not again, goes nowhere.

mod table;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::packet::{ARP, ETHERNET_HEADER, IPV4, Mac, UDP, bytes, half};
use table::Table;

/// More ports than any machine has domains for; a bound all the same.
const PORTS_MAX: usize = 4096;
/// UDP's port of a DHCP server.
const DHCP_SERVER: u16 = 67;

/// A guest's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// It sends from this one.
    pub mac: Mac,
    /// And from this one, if it is given; then it sends IPv4 and ARP only.
    pub ip: Option<[u8; 4]>,
    /// It talks with the outside alone: no guest's frame reaches it, and none of its frames a guest.
    pub apart: bool,
}

/// What is to become of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to this port.
    To(usize),
    /// It goes to all other ports.
    All,
    /// It goes to all other uplinks.
    Uplinks,
    /// It goes nowhere, as it should.
    Nowhere,
    /// It was not allowed.
    Refuse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Guest(Identity),
    /// Somebody here, in a guest's place.
    Proxy(Identity),
    Uplink,
}

/// A device of a guest's: the guest's domain number, and the device's.
pub type Device = (u16, u32);

/// The ports and what is known of who is behind them. Fields are private because `guests` has an entry for each port of a guest.
#[derive(Default)]
pub struct Switch {
    ports: Vec<Option<Port>>,
    guests: BTreeMap<[u8; 6], usize>,
    learned: Table,
    /// The addresses of guests' devices, connected or not.
    residents: BTreeMap<Device, Mac>,
    /// The guest that was sent to last: whoever sends to it once does so again.
    last: Option<(Mac, usize)>,
}

impl Switch {
    /// Without ports.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A guest has a device with this address, whether or not it has a port already: what is sent to it does not leave the machine, where
    /// others might answer in its place.
    pub fn expect(&mut self, device: Device, mac: Mac) {
        self.residents.insert(device, mac);
    }

    /// The guest does not have this device any more.
    pub fn forget(&mut self, device: Device) {
        self.residents.remove(&device);
    }

    /// A port for a guest. `None` if another has its address, the address is no station's, or there are too many ports.
    pub fn add_guest(&mut self, identity: Identity) -> Option<usize> {
        self.add_station(identity, Port::Guest(identity))
    }

    /// The same for somebody who answers in a guest's place, and lets through only what belongs to who called: also who is apart may call.
    pub fn add_proxy(&mut self, identity: Identity) -> Option<usize> {
        self.add_station(identity, Port::Proxy(identity))
    }

    fn add_station(&mut self, identity: Identity, port: Port) -> Option<usize> {
        let address = identity.mac.0;
        if identity.mac.is_multicast() || address == [0; 6] || self.guests.contains_key(&address) {
            return None;
        }
        let port = self.add(port)?;
        self.guests.insert(address, port);
        self.last = None;
        Some(port)
    }

    /// A port to the outside. `None` if there are too many ports.
    pub fn add_uplink(&mut self) -> Option<usize> {
        self.add(Port::Uplink)
    }

    fn add(&mut self, port: Port) -> Option<usize> {
        let free = self.ports.iter().position(Option::is_none);
        let number = free.unwrap_or(self.ports.len());
        if number >= PORTS_MAX {
            return None;
        }
        match self.ports.get_mut(number) {
            Some(place) => *place = Some(port),
            None => self.ports.push(Some(port)),
        }
        Some(number)
    }

    /// The port is there no more.
    pub fn remove(&mut self, port: usize) {
        if let Some(Some(Port::Guest(identity) | Port::Proxy(identity))) = self.ports.get_mut(port).map(Option::take) {
            self.guests.remove(&identity.mac.0);
        }
        self.learned.forget(port);
        self.last = None;
    }

    /// What is to become of a frame that begins with `head` and came in at port `from`, at `now` seconds.
    pub fn judge(&mut self, from: usize, head: &[u8], now: u32) -> Verdict {
        let (Some(to), Some(source)) = (bytes(head, 0).map(Mac), bytes(head, 6).map(Mac)) else {
            return Verdict::Refuse;
        };
        match self.ports.get(from) {
            Some(Some(Port::Guest(identity) | Port::Proxy(identity))) if allowed(identity, source, head) => {}
            Some(Some(Port::Uplink)) if !source.is_multicast() && !self.guests.contains_key(&source.0) => {
                self.learned.learn(source, from, now);
            }
            _ => return Verdict::Refuse,
        }
        if to.is_link_local() {
            return Verdict::Nowhere;
        }
        if to.is_multicast() {
            return Verdict::All;
        }
        match self.find_guest(to).or_else(|| self.learned.find(to, now)) {
            Some(port) if port == from || !self.may_meet(from, port) => Verdict::Nowhere,
            Some(port) => Verdict::To(port),
            None if self.residents.values().any(|resident| *resident == to) => Verdict::Nowhere,
            None => Verdict::Uplinks,
        }
    }

    /// The port of the guest that this frame comes from by what it says.
    pub(crate) fn guest_of(&self, head: &[u8]) -> Option<usize> {
        self.guests.get(&bytes::<6>(head, 6)?).copied()
    }

    fn find_guest(&mut self, mac: Mac) -> Option<usize> {
        if let Some((_, port)) = self.last.filter(|(last, _)| *last == mac) {
            return Some(port);
        }
        let port = *self.guests.get(&mac.0)?;
        self.last = Some((mac, port));
        Some(port)
    }

    /// Whether frames may go between these two ports.
    fn may_meet(&self, one: usize, other: usize) -> bool {
        match [one, other].map(|port| self.ports.get(port)) {
            [Some(Some(Port::Guest(one))), Some(Some(Port::Guest(other)))] => !one.apart && !other.apart,
            _ => true,
        }
    }

    /// The ports that a verdict names, but for `from`: the next from `start` on.
    pub(crate) fn target(&self, verdict: Verdict, from: usize, start: usize) -> Option<usize> {
        let wanted = |port: &Port| match verdict {
            Verdict::All => true,
            Verdict::Uplinks => *port == Port::Uplink,
            Verdict::To(_) | Verdict::Nowhere | Verdict::Refuse => false,
        };
        let mut ports = self.ports.iter().enumerate().skip(start);
        ports.find_map(|(number, port)| {
            let goes = number != from && port.as_ref().is_some_and(wanted) && self.may_meet(from, number);
            goes.then_some(number)
        })
    }
}

/// Whether a guest may send a frame that begins with `head`.
fn allowed(identity: &Identity, source: Mac, head: &[u8]) -> bool {
    if source != identity.mac {
        return false;
    }
    let Some(ip) = identity.ip else { return true };
    match bytes(head, 12) {
        Some(IPV4) => ipv4_allowed(ip, head),
        Some(ARP) => arp_allowed(identity.mac, ip, head),
        _ => false,
    }
}

fn ipv4_allowed(ip: [u8; 4], head: &[u8]) -> bool {
    let source = bytes(head, ETHERNET_HEADER + 12);
    source == Some(ip) || (source == Some([0; 4]) && asks_for_address(head))
}

/// Whether this is for a DHCP server: who asks has no address yet (RFC 2131, 4.1).
fn asks_for_address(head: &[u8]) -> bool {
    let header = bytes(head, ETHERNET_HEADER).map(|[version]| usize::from(version & 15) * 4);
    let protocol = bytes(head, ETHERNET_HEADER + 9);
    let port = header.and_then(|header| half(head, ETHERNET_HEADER + header + 2));
    let unfragmented = half(head, ETHERNET_HEADER + 6).is_some_and(|fragment| fragment & 0x3fff == 0);
    unfragmented && protocol == Some([UDP]) && port == Some(DHCP_SERVER)
}

/// Whether an ARP packet says nothing of others (RFC 826; RFC 5227 for the address of zeroes).
fn arp_allowed(mac: Mac, ip: [u8; 4], head: &[u8]) -> bool {
    // Ethernet and IPv4, and the lengths of their addresses.
    const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];
    let kind = bytes(head, ETHERNET_HEADER) == Some(KIND);
    let sender = bytes(head, ETHERNET_HEADER + 14);
    kind && bytes(head, ETHERNET_HEADER + 8) == Some(mac.0) && (sender == Some(ip) || sender == Some([0; 4]))
}
