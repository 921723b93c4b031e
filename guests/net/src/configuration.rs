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
        let one = |text: Option<&str>| text.map(str::parse::<Ipv4Addr>).transpose().ok();
        let address = Ipv4Cidr::new(ip.parse().ok()?, prefix);
        Some(Self { address, gateway: one(gateway)?, name_server: one(name_server)? })
    }
}
