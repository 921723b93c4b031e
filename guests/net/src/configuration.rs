//! How a stack comes by its address.

use core::net::Ipv4Addr;

use smoltcp::wire::Ipv4Cidr;

/// What a stack has to know.
#[derive(Clone, Copy, Debug)]
pub struct Configuration {
    /// The interface's hardware address.
    pub mac: [u8; 6],
    /// Fresh random bits: TCP's initial sequence numbers and ports come from them.
    pub seed: u64,
    /// Where the IP address comes from.
    pub address: Address,
}

/// Where the IP address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// Somebody says it.
    Fixed(Fixed),
    /// A server on the network says it.
    #[cfg(feature = "dhcp")]
    Dhcp,
}

/// An address that somebody says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// The address and how much of it is the network's.
    pub address: Ipv4Cidr,
    /// What leads to other networks.
    pub gateway: Option<Ipv4Addr>,
    /// What knows names.
    pub name_server: Option<Ipv4Addr>,
}

impl Fixed {
    /// Reads `10.0.2.20/24`, and `10.0.2.2` if there is a gateway.
    #[must_use]
    pub fn read(address: &str, gateway: Option<&str>, name_server: Option<&str>) -> Option<Self> {
        let (ip, prefix) = address.split_once('/')?;
        let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        let address = Ipv4Cidr::new(read(ip)?, prefix);
        let gateway = gateway.map_or(Some(None), |text| read(text).map(Some))?;
        let name_server = name_server.map_or(Some(None), |text| read(text).map(Some))?;
        Some(Self { address, gateway, name_server })
    }
}

/// Reads four numbers with dots between them. The standard library's way accepts the same and takes a kilobyte.
fn read(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let digits = parts.next().filter(|digits| !digits.starts_with('+'))?;
        *octet = digits.parse().ok()?;
    }
    parts.next().is_none().then_some(Ipv4Addr::from_octets(octets))
}
