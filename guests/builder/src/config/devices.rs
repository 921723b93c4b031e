//! A domain's network interfaces and disks: the nodes `mote,vif` and `mote,vbd` in its node.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use mote_protocols::service::Terms;

use super::{ConfigError, is_name, number, text};
use crate::tree::Node;

/// Most devices of a kind that a domain can have.
const MAX_DEVICES: u32 = 16;
/// The first three bytes of the MAC addresses that Xen gives.
const OUI: [u8; 3] = [0x00, 0x16, 0x3e];
/// The block devices `xvd*`: their major number, and the minor numbers of each (`xen/include/public/io/blkif.h`,
/// `docs/man/xen-vbd-interface.7.pandoc`).
const XVD_MAJOR: u32 = 202;
const XVD_MINORS: u32 = 16;
const DISKS: u8 = 16;
/// Bytes that virtio's block devices have for their serial number.
const MAX_SERIAL: usize = 20;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vif {
    /// The domain that serves it; unless said, the one with `mote,driver`.
    pub backend: Option<String>,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// The only IPv4 address that it may send from.
    pub ip: Option<[u8; 4]>,
    /// How clones of the domain serve who connects to its address, if it is a template.
    pub service: Option<Terms>,
    /// By which name in HTTP requests the control domain passes callers on to that.
    pub host: Option<String>,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vbd {
    /// The domain that serves it; unless said, the one with `mote,driver`.
    pub backend: Option<String>,
    /// What it is called in the domain: `xvda`.
    pub vdev: String,
    /// The number of that, by which xenstore knows it.
    pub number: u32,
    /// The serial number of the machine's disk that it is.
    pub serial: String,
    /// Whether it cannot be written.
    pub read_only: bool,
}

/// The number of a disk that is called `vdev`, which is one of `xvda` to `xvdp`, or a partition of it as `xvda1`.
#[must_use]
pub fn vdev_number(vdev: &str) -> Option<u32> {
    let (letter, rest) = vdev.strip_prefix("xvd")?.as_bytes().split_first()?;
    let disk = letter.checked_sub(b'a').filter(|disk| *disk < DISKS)?;
    let partition = match rest {
        [] => 0,
        &[one @ b'1'..=b'9'] => one - b'0',
        &[b'1', two @ b'0'..=b'5'] => 10 + (two - b'0'),
        _ => return None,
    };
    Some((XVD_MAJOR << 8) | (u32::from(disk) * XVD_MINORS) | u32::from(partition))
}

pub(super) fn vifs(domain: Node<'_>) -> Result<Vec<Vif>, ConfigError> {
    let nodes = domain.children().filter(|node| node.is_compatible("mote,vif"));
    let vifs = nodes.enumerate().map(|(index, node)| {
        let (mac, ip, service) = (mac(node, domain.name(), index)?, ip(node)?, service(node)?);
        let host = host(node, service.is_some())?;
        if service.is_some() && ip.is_none() {
            return Err(ConfigError::Needs("mote,service", "mote,ip"));
        }
        Ok(Vif { backend: backend(node)?, mac, ip, service, host })
    });
    limited(vifs.collect::<Result<_, _>>()?, "mote,vif")
}

pub(super) fn vbds(domain: Node<'_>) -> Result<Vec<Vbd>, ConfigError> {
    let mut vbds: Vec<Vbd> = Vec::new();
    for node in domain.children().filter(|node| node.is_compatible("mote,vbd")) {
        let vdev = node.string("mote,vdev").ok_or(ConfigError::Missing("mote,vdev"))?;
        let number = vdev_number(vdev).ok_or(ConfigError::Malformed("mote,vdev"))?;
        if vbds.iter().any(|vbd| vbd.number == number) {
            return Err(ConfigError::TwoDisks);
        }
        let serial = serial(domain.name(), vdev);
        if serial.len() > MAX_SERIAL {
            return Err(ConfigError::Malformed("mote,vdev"));
        }
        let read_only = node.has("read-only");
        vbds.push(Vbd { backend: backend(node)?, vdev: vdev.into(), number, serial, read_only });
    }
    limited(vbds, "mote,vbd")
}

/// The serial number of the machine's disk that is `vdev` in `domain`; at most 20 bytes are one.
#[must_use]
pub fn serial(domain: &str, vdev: &str) -> String {
    format!("{domain}-{vdev}")
}

fn limited<T>(devices: Vec<T>, kind: &'static str) -> Result<Vec<T>, ConfigError> {
    if devices.len() > MAX_DEVICES as usize { Err(ConfigError::Range(kind, 0, MAX_DEVICES)) } else { Ok(devices) }
}

fn backend(node: Node<'_>) -> Result<Option<String>, ConfigError> {
    Ok(text(node, "backend", is_name)?.map(String::from))
}

/// How the domain's clones are launched, if they are. The greatest times are a day.
fn service(node: Node<'_>) -> Result<Option<Terms>, ConfigError> {
    const DAY: u32 = 24 * 3600 * 1000;
    const MOST: u32 = u16::MAX as u32;
    if !node.has("mote,service") {
        return Ok(None);
    }
    let port = number(node, "mote,service", 0, 1, MOST)? as u16;
    let usual = match text(node, "mote,launch", |way| matches!(way, "clone" | "boot"))? {
        Some("boot") => Terms::booting(port),
        _ => Terms::new(port),
    };
    if usual.boots && node.has("mote,clone-memory") {
        return Err(ConfigError::Contradiction("mote,clone-memory", "mote,launch = \"boot\""));
    }
    Ok(Some(Terms {
        machines: number(node, "mote,machines", usual.machines.into(), 1, MOST)? as u16,
        connections: number(node, "mote,connections", usual.connections.into(), 1, MOST)? as u16,
        keep: number(node, "mote,keep", usual.keep, 0, DAY)?,
        waiting: number(node, "mote,waiting", usual.waiting.into(), 0, MOST)? as u16,
        patience: number(node, "mote,patience", usual.patience, 0, DAY)?,
        life: number(node, "mote,life", usual.life, 0, DAY)?,
        per_client: number(node, "mote,per-client", usual.per_client.into(), 0, MOST)? as u16,
        memory: number(node, "mote,clone-memory", usual.memory, 64, 1 << 22)?,
        ..usual
    }))
}

/// Whether an HTTP request may name a service so: as DNS names hosts (RFC 1123, 2.1).
#[must_use]
pub fn is_host(name: &str) -> bool {
    const MAX: usize = 253;
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    name.len() <= MAX && name.split('.').all(is_label)
}

fn host(node: Node<'_>, is_service: bool) -> Result<Option<String>, ConfigError> {
    match text(node, "mote,host", |name| !is_service || is_host(name))? {
        Some(_) if !is_service => Err(ConfigError::Needs("mote,host", "mote,service")),
        host => Ok(host.map(String::from)),
    }
}

/// An address that is said, or one of Xen's that nobody else is likely to have.
fn mac(node: Node<'_>, domain: &str, index: usize) -> Result<[u8; 6], ConfigError> {
    const MULTICAST: u8 = 1;
    let Some(bytes) = node.bytes("local-mac-address") else {
        let [a, b, c] = OUI;
        let [d, e, f, _] = hash(domain.bytes().chain([0, index as u8])).to_le_bytes();
        return Ok([a, b, c, d, e, f]);
    };
    let mac = <[u8; 6]>::try_from(bytes).ok().filter(|mac| mac[0] & MULTICAST == 0 && *mac != [0; 6]);
    mac.ok_or(ConfigError::Malformed("local-mac-address"))
}

/// FNV-1a.
fn hash(bytes: impl Iterator<Item = u8>) -> u32 {
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn ip(node: Node<'_>) -> Result<Option<[u8; 4]>, ConfigError> {
    let Some(text) = node.string("mote,ip") else {
        return if node.has("mote,ip") { Err(ConfigError::Malformed("mote,ip")) } else { Ok(None) };
    };
    let address = text.parse::<core::net::Ipv4Addr>().map_err(|_| ConfigError::Malformed("mote,ip"))?;
    Ok(Some(address.octets()))
}
