//! A guest's network interfaces and disks: the nodes `mote,vif` and `mote,vbd`.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use dtoolkit::model::{DeviceTree, DeviceTreeNode};
use dtoolkit::{Node, Property};
use mote_builder::config as binding;

use super::check::{Check, cells, is_compatible, strings};
use super::property::{self, did_you_mean};
use super::{Disk, Publish};
use crate::session::network::CONTROL;

const VIF: &str = "mote,vif";
const VBD: &str = "mote,vbd";
/// What names the ports of an interface that are to be reached from this machine.
const PUBLISH: &str = "mote,publish";
/// What makes templates of guests: the port that their clones serve.
const SERVICE: &str = "mote,service";
/// The name by which requests for a service are passed on to it.
const HOST: &str = "mote,host";
/// How machines of a service come to be: the clones of a template, or such as boot like any guest.
const LAUNCH: &str = "mote,launch";
/// What only clones have.
const CLONE_MEMORY: &str = "mote,clone-memory";
/// The last TCP port; as many machines and connections there can be.
const PORTS: u32 = 65_535;
/// Milliseconds in a day.
const DAY: u32 = 24 * 3600 * 1000;
/// How it is served: the least and the greatest number of each.
const TERMS: [(&str, u32, u32); 8] = [
    ("mote,machines", 1, PORTS),
    ("mote,connections", 1, PORTS),
    ("mote,keep", 0, DAY),
    ("mote,waiting", 0, PORTS),
    ("mote,patience", 0, DAY),
    ("mote,life", 0, DAY),
    ("mote,per-client", 0, PORTS),
    (CLONE_MEMORY, 64, 1 << 22),
];
/// Most devices of a kind.
const MOST: usize = 16;
/// Bytes that virtio's block devices have for their serial number.
const SERIAL_MAX: usize = 20;

/// Whether a node is a device of its guest.
pub fn is_one(node: &DeviceTreeNode) -> bool {
    is_compatible(node, VIF) || is_compatible(node, VBD)
}

/// Checks the devices of a guest; returns its disks, and its ports that are to be reached from outside.
pub fn check(check: &mut Check<'_>, path: &str, guest: &DeviceTreeNode) -> (Vec<Disk>, Vec<Publish>) {
    let has_xenstore = match &strings(guest, "xen,enhanced")[..] {
        [] => guest.property("xen,enhanced").is_some(),
        [kind] => kind.is_empty() || kind == "enabled",
        _ => false,
    };
    let (mut disks, mut published) = (Vec::new(), Vec::new());
    let mut names = HashSet::new();
    for node in guest.children().filter(|node| is_one(node)) {
        let path = format!("{path}/{}", node.name());
        if !has_xenstore {
            check.node(&path, "the guest has no xenstore to find it in", "give the guest xen,enhanced;");
        }
        if is_compatible(node, VIF) {
            published.extend(vif(check, &path, node));
            service(check, &path, guest, node);
        } else if let Some((vdev, disk)) = vbd(check, &path, guest.name(), node) {
            if !names.insert(vdev.clone()) {
                check.property(&path, "mote,vdev", format!("there is another disk {vdev}"), "call it otherwise");
            }
            disks.push(disk);
        }
    }
    for kind in [VIF, VBD] {
        if guest.children().filter(|node| is_compatible(node, kind)).count() > MOST {
            check.node(path, format!("more than {MOST} nodes {kind}"), "remove some");
        }
    }
    (disks, published)
}

/// In place of a file: what QEMU calls a disk that keeps nothing and takes no time, of which 1 GiB is there. For measurements.
const NOTHING: &str = "null-co://";

/// Whoever serves a device must be there.
pub fn backends(check: &mut Check<'_>, tree: &DeviceTree) {
    let guests: Vec<_> = tree.find_node("/chosen").iter().flat_map(|node| node.children()).collect();
    let has_driver = check.running.is_some() || guests.iter().any(|guest| guest.property("mote,driver").is_some());
    for guest in &guests {
        for node in guest.children().filter(|node| is_one(node)) {
            let path = format!("/chosen/{}/{}", guest.name(), node.name());
            match &strings(node, "backend")[..] {
                [] if node.property("backend").is_none() => {
                    if !has_driver {
                        let help = "add a guest with mote,driver; or name one that serves it: backend = \"name\";";
                        check.node(&path, "there is no driver domain to serve it", help);
                    }
                }
                [name] if guests.iter().any(|other| other.name() == name && name != guest.name()) => {}
                [name] if check.runs(name) => {}
                [name] => {
                    let others = guests.iter().map(|other| other.name()).filter(|other| *other != guest.name());
                    let what = format!("there is no other guest `{name}`");
                    check.property(&path, "backend", what, did_you_mean(name, others));
                }
                _ => check.property(&path, "backend", "is not one name", "write backend = \"name\";"),
            }
        }
    }
}

fn vif(check: &mut Check<'_>, path: &str, node: &DeviceTreeNode) -> Vec<Publish> {
    check.names(path, node, property::VIF);
    if let Some(mac) = node.property("local-mac-address") {
        let help = "write six bytes: local-mac-address = [00 16 3e 12 34 56];";
        match mac.value() {
            [0, 0, 0, 0, 0, 0] => check.property(path, "local-mac-address", "is no address", help),
            [first, _, _, _, _, _] if first & 1 == 0 => {}
            [_, _, _, _, _, _] => check.property(path, "local-mac-address", "is a group's address", help),
            other => {
                let what = format!("{} bytes instead of 6", other.len());
                check.property(path, "local-mac-address", what, help);
            }
        }
    }
    let ip = strings(node, "mote,ip");
    let address = match &ip[..] {
        [text] => text.parse().ok(),
        _ => None,
    };
    if node.property("mote,ip").is_some() && address.is_none() {
        check.property(path, "mote,ip", "is no IPv4 address", "write mote,ip = \"10.0.2.20\";");
        return Vec::new();
    }
    if node.property(PUBLISH).is_some() { publish(check, path, node, address) } else { Vec::new() }
}

/// The control domain's ports that are to be reached from this machine.
pub fn of_control(check: &mut Check<'_>, path: &str, node: &DeviceTreeNode) -> Vec<Publish> {
    if node.property(PUBLISH).is_some() { ports(check, path, node, CONTROL.0) } else { Vec::new() }
}

/// What is said of how clones of the guest serve who connects to its address.
fn service(check: &mut Check<'_>, path: &str, guest: &DeviceTreeNode, node: &DeviceTreeNode) {
    if node.property(SERVICE).is_none() {
        let names = TERMS.iter().map(|(name, ..)| *name).chain([LAUNCH, HOST]);
        for name in names.filter(|name| node.property(name).is_some()) {
            let help = "say which TCP port the guest serves: mote,service = <80>;";
            check.property(path, name, "means nothing without mote,service", help);
        }
        return;
    }
    for (name, least, most) in [(SERVICE, 1, PORTS)].iter().chain(&TERMS) {
        match cells(node, name) {
            Some(Ok([number])) if (*least..=*most).contains(&number) => {}
            None => {}
            Some(_) => {
                let help = format!("write {name} = <{}>;", if *name == SERVICE { &80 } else { least });
                check.property(path, name, format!("is not one number from {least} to {most}"), help);
            }
        }
    }
    let boots = boots(check, path, node);
    host(check, path, node);
    let has = |property: &str| guest.property(property).is_some();
    let count = |kind| guest.children().filter(|node| is_compatible(node, kind)).count();
    let cpus = cells(guest, "cpus").and_then(Result::ok).map_or(1, |[cpus]| cpus);
    for (is_wrong, what, help) in [
        (node.property("mote,ip").is_none(), "a service without an address", "say where: mote,ip = \"10.0.2.20\";"),
        (cpus > 1 && !boots, "a template has one CPU", "remove cpus from the guest, or make it 1"),
        (count(VBD) > 0, "a service's machines have no disks", "remove the guest's nodes mote,vbd"),
        (count(VIF) > 1, "a service's machines have one interface", "remove the guest's other nodes mote,vif"),
        (has("mote,driver"), "a driver domain is no service", "serve it from another guest"),
    ] {
        if is_wrong {
            check.property(path, SERVICE, what, help);
        }
    }
}

/// The name of a service must be one that a request can have, and no other's.
fn host(check: &mut Check<'_>, path: &str, node: &DeviceTreeNode) {
    match &strings(node, HOST)[..] {
        [] if node.property(HOST).is_none() => {}
        [name] if binding::is_host(name) => {
            if let Some(other) = check.hosts.insert(name.to_ascii_lowercase(), path.into()) {
                check.property(path, HOST, format!("{other} is called so too"), "give each service a name of its own");
            }
        }
        _ => check.property(path, HOST, "is not one host name", "write mote,host = \"chart.example\";"),
    }
}

/// Whether a service's machines boot, of which there are no clones.
fn boots(check: &mut Check<'_>, path: &str, node: &DeviceTreeNode) -> bool {
    let said = strings(node, LAUNCH);
    let boots = said == ["boot"];
    if !boots && node.property(LAUNCH).is_some() && said != ["clone"] {
        let help = "write mote,launch = \"boot\"; for a guest that is started for who connects, as Linux has to be; \
                    \"clone\" is usual, of a unikernel that gets ready once";
        check.property(path, LAUNCH, "is neither \"clone\" nor \"boot\"", help);
    }
    if boots && node.property(CLONE_MEMORY).is_some() {
        let help = "remove it: a machine that boots has the guest's memory";
        check.property(path, CLONE_MEMORY, "is only for clones", help);
    }
    boots
}

/// The ports that an interface with `address` publishes.
fn publish(check: &mut Check<'_>, path: &str, node: &DeviceTreeNode, address: Option<Ipv4Addr>) -> Vec<Publish> {
    let Some(address) = address else {
        let help = "say at which address the guest answers: mote,ip = \"10.0.2.20\";";
        check.property(path, PUBLISH, "nothing can be published without mote,ip", help);
        return Vec::new();
    };
    // QEMU's user network; its first addresses are QEMU's own.
    if !matches!(address.octets(), [10, 0, 2, 4..=254]) || address == CONTROL.0 {
        let help = format!("its addresses are 10.0.2.4 to 10.0.2.254; {} is the control domain's", CONTROL.0);
        check.property(path, PUBLISH, format!("the machine's network does not lead to {address}"), help);
        return Vec::new();
    }
    ports(check, path, node, address)
}

/// The pairs of ports of whoever has `address`.
fn ports(check: &mut Check<'_>, path: &str, node: &DeviceTreeNode, address: Ipv4Addr) -> Vec<Publish> {
    let texts = strings(node, PUBLISH);
    let read = |text: &String| {
        let (host, guest) = text.split_once(':')?;
        let guest = guest.parse().ok().filter(|guest| *guest > 0)?;
        Some(Publish { host: host.parse().ok()?, address, guest })
    };
    let published: Vec<_> = texts.iter().filter_map(read).collect();
    if published.is_empty() || published.len() < texts.len() {
        let help = "write mote,publish = \"8080:80\"; a port of this machine (0 for any), and one of the guest's";
        check.property(path, PUBLISH, "is no pair of ports", help);
    }
    published
}

fn vbd(check: &mut Check<'_>, path: &str, guest: &str, node: &DeviceTreeNode) -> Option<(String, Disk)> {
    const VDEV_HELP: &str = "write mote,vdev = \"xvda\"; disks are xvda to xvdp, partitions xvda1 to xvda15";
    check.names(path, node, property::VBD);
    if node.property("read-only").is_some_and(|flag| !flag.value().is_empty()) {
        check.property(path, "read-only", "takes no value", "write read-only;");
    }
    let vdev = match &strings(node, "mote,vdev")[..] {
        [vdev] if binding::vdev_number(vdev).is_some() => Some(vdev.clone()),
        [] if node.property("mote,vdev").is_none() => {
            check.node(path, "it is not said what the disk is called in the guest", VDEV_HELP);
            None
        }
        _ => {
            check.property(path, "mote,vdev", "is not what a disk can be called", VDEV_HELP);
            None
        }
    };
    let file = match &strings(node, "mote,file")[..] {
        [nothing] if nothing == NOTHING => Some(NOTHING.into()),
        [file] if check.directory.join(file).is_file() => Some(check.directory.join(file)),
        [file] => {
            let what = format!("there is no file {}", check.directory.join(file).display());
            check.property(path, "mote,file", what, "make one: truncate -s 64M disk.img");
            None
        }
        _ => {
            check.node(path, "nothing says where the disk's bytes are", "add mote,file = \"path\";");
            None
        }
    };
    let (vdev, file) = (vdev?, file?);
    let serial = binding::serial(guest, &vdev);
    if serial.len() > SERIAL_MAX {
        let help = format!("give the guest a name of at most {} characters", SERIAL_MAX - vdev.len() - 1);
        check.node(path, format!("the disk's name {serial} is longer than {SERIAL_MAX} characters"), help);
    }
    Some((vdev, Disk { serial, file, read_only: node.property("read-only").is_some() }))
}
