//! The machine's devices that its driver domain gets: QEMU's virtio devices, and the partial device tree that names them in Xen's
//! binding (`docs/misc/arm/passthrough.txt`).

use std::path::Path;

use dtoolkit::model::{DeviceTree, DeviceTreeNode};
use dtoolkit::{Node, Property};
use miette::miette;

use super::disk;
use super::modules::{File, Placed};
use super::tree::{Tree, c_string, set};
use crate::config::{Config, Domain, Role};
use crate::failure::{Failure, Result};
use crate::session::network::Network;

/// A guest's phandle of the GIC, as on Xen (`GUEST_PHANDLE_GIC`).
const GIC_PHANDLE: u32 = 65_000;
const PAGE: u64 = 4096;

/// The domain that drives the machine's devices, if there is one that is not told otherwise which they are.
pub fn driver(config: &Config) -> Option<&Domain> {
    let own = |domain: &&Domain| domain.modules.iter().all(|module| module.role != Role::DeviceTree);
    config.domains.iter().find(|domain| domain.driver).filter(own)
}

/// QEMU's arguments for the devices: each has a place of its own, counted from 0.
pub fn arguments(config: &Config, network: Option<&Network>) -> Vec<String> {
    let mut arguments: Vec<String> = network.map(Network::arguments).unwrap_or_default();
    let disks = config.domains.iter().flat_map(|domain| &domain.disks);
    arguments.extend(disks.enumerate().flat_map(disk));
    let mut place = 0;
    for argument in &mut arguments {
        if argument.starts_with("virtio-") {
            argument.push_str(&format!(",bus=virtio-mmio-bus.{place}"));
            place += 1;
        }
    }
    arguments
}

/// The file with the partial tree of the machine's first `count` virtio devices for `domain`, written in `scratch`.
///
/// # Errors
///
/// The machine has not so many, or the file cannot be written.
pub fn file(machine: &Tree, domain: &Domain, count: usize, scratch: &Path) -> Result<File> {
    let partial = partial(machine, count)
        .ok_or_else(|| Failure::misused(vec![miette!("the machine has no room for {count} networks and disks")]))?;
    let path = scratch.join("devices.dtb");
    std::fs::write(&path, &partial)
        .map_err(|error| Failure::unable(miette!("cannot write {}: {error}", path.display())))?;
    Ok(File { node: format!("/chosen/{}/devices", domain.name), path, size: partial.len() as u64 })
}

/// Gives the domain its devices, whose partial tree was `placed`, and memory that they can reach.
pub fn give(tree: &mut Tree, domain: &Domain, placed: &[Placed]) {
    let node = format!("/chosen/{}/devices", domain.name);
    let Some(placed) = placed.iter().find(|placed| placed.file.node == node) else { return };
    tree.add_module(&domain.name, "devices", "multiboot,device-tree", placed);
    ["xen,passthrough", "direct-map"].into_iter().for_each(|property| tree.set_flag(&domain.name, property));
}

fn partial(machine: &Tree, count: usize) -> Option<Vec<u8>> {
    let mut devices = machine.virtio();
    devices.sort_by_key(|(address, _)| *address);
    let mut passthrough = DeviceTreeNode::new_unchecked("passthrough");
    set(&mut passthrough, "compatible", c_string("simple-bus"));
    set(&mut passthrough, "ranges", Vec::new());
    for cells in ["#address-cells", "#size-cells"] {
        set(&mut passthrough, cells, 2_u32.to_be_bytes().into());
    }
    for (address, node) in devices.get(..count)? {
        passthrough.add_child(device(*address, node)?);
    }
    let mut root = DeviceTreeNode::new_unchecked("");
    for cells in ["#address-cells", "#size-cells"] {
        set(&mut root, cells, 2_u32.to_be_bytes().into());
    }
    root.add_child(passthrough);
    let mut tree = DeviceTree::new();
    tree.root = root;
    Some(tree.to_dtb())
}

/// The node by which a domain gets a device of the machine, at the machine's address.
fn device(address: u64, of_machine: &DeviceTreeNode) -> Option<DeviceTreeNode> {
    let mut node = DeviceTreeNode::new_unchecked(format!("virtio@{address:x}"));
    for name in ["compatible", "reg", "interrupts", "dma-coherent"] {
        if let Some(property) = of_machine.property(name) {
            set(&mut node, name, property.value().to_vec());
        }
    }
    let page = address / PAGE * PAGE;
    set(&mut node, "interrupt-parent", GIC_PHANDLE.to_be_bytes().into());
    set(&mut node, "xen,reg", [page, PAGE, page].map(u64::to_be_bytes).concat());
    set(&mut node, "xen,path", c_string(&format!("/{}", of_machine.name())));
    set(&mut node, "xen,force-assign-without-iommu", Vec::new());
    Some(node)
}
