//! The device tree that the hypervisor boots with: the machine's own, and the configuration's
//! nodes with the modules' addresses filled in.

use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{Node, Property};
use miette::miette;
use mote_builder::addr::{Pa, PaRange};

use super::modules::Placed;
use crate::cli::Hypervisor;
use crate::config::{Config, Domain, Role};
use crate::failure::{Failure, Result};

const CHOSEN: &str = "/chosen";

/// The machine's device tree, to be completed.
#[derive(Debug)]
pub struct Tree(DeviceTree);

impl Tree {
    /// Reads what QEMU dumped.
    ///
    /// # Errors
    ///
    /// It is no device tree.
    pub fn read(dtb: &[u8]) -> Result<Self> {
        match Fdt::new(dtb) {
            Ok(fdt) => Ok(Self(DeviceTree::from_fdt(&fdt))),
            Err(error) => Err(Failure::unable(miette!("QEMU's device tree is damaged: {error}"))),
        }
    }

    /// The machine's memory: the first stretch that the tree names.
    ///
    /// # Errors
    ///
    /// It names none.
    pub fn ram(&self) -> Result<PaRange> {
        let memory = self.0.root.child("memory");
        let reg = memory.and_then(|memory| memory.property("reg"));
        reg.and_then(|reg| {
            // QEMU's `virt` board counts in two cells each.
            let (cells, _) = reg.value().as_chunks::<8>();
            let [base, size, ..] = *cells else { return None };
            PaRange::new(Pa(u64::from_be_bytes(base)), u64::from_be_bytes(size))
        })
        .ok_or_else(|| Failure::unable(miette!("QEMU's device tree names no memory")))
    }

    /// Adds the configuration, with its modules where they were `placed`.
    ///
    /// `interactive` says whether somebody sits at the console.
    pub fn add(&mut self, config: &Config, placed: &[Placed], hypervisor: Hypervisor, interactive: bool) {
        merge(&mut self.0.root, &config.tree.root);
        if let (Hypervisor::Xen, Some(control)) = (hypervisor, &config.control.node)
            && let Some(chosen) = self.0.find_node_mut(CHOSEN)
        {
            // To Xen it would be a guest.
            chosen.remove_child(control);
        }
        for domain in &config.domains {
            self.complete(domain, placed, interactive);
        }
        let console = self.console();
        let Some(chosen) = self.0.find_node_mut(CHOSEN) else { return };
        if interactive {
            set(chosen, "mote,interactive", Vec::new());
        }
        if hypervisor == Hypervisor::Xen {
            let own = text(chosen, "xen,xen-bootargs");
            let arguments = xen_arguments(&console, interactive, own.as_deref());
            set(chosen, "xen,xen-bootargs", c_string(&arguments));
        }
    }

    /// Adds the control domain's own `modules`, with `memory` bytes for it.
    pub fn add_control(&mut self, modules: &[Placed; 2], memory: u64) {
        let Some(chosen) = self.0.find_node_mut(CHOSEN) else { return };
        let address_cells = *cell(chosen, "#address-cells").get_or_insert(2);
        let size_cells = *cell(chosen, "#size-cells").get_or_insert(2);
        set(chosen, "#address-cells", address_cells.to_be_bytes().into());
        set(chosen, "#size-cells", size_cells.to_be_bytes().into());
        for (placed, kind) in modules.iter().zip(["multiboot,kernel", "multiboot,device-tree"]) {
            let mut node = DeviceTreeNode::new_unchecked(placed.file.node.as_str());
            set(&mut node, "compatible", [&c_string(kind)[..], &c_string("multiboot,module")].concat());
            let mut reg = in_cells(placed.range.base().0, address_cells);
            reg.extend(in_cells(placed.range.size(), size_cells));
            set(&mut node, "reg", reg);
            if kind == "multiboot,kernel" {
                set(&mut node, "mote,memory", (memory / 1024).to_be_bytes().into());
            }
            chosen.add_child(node);
        }
    }

    /// Adds what Xen builds its domain 0 of, and the arguments of both (Xen, `docs/misc/arm/device-tree/booting.txt`).
    pub fn add_dom0(&mut self, kernel: &Placed, ramdisk: &Placed, xen_arguments_more: &str, arguments: &str) {
        let xen = xen_arguments(&self.console(), false, Some(xen_arguments_more));
        let Some(chosen) = self.0.find_node_mut(CHOSEN) else { return };
        set(chosen, "xen,xen-bootargs", c_string(&xen));
        set(chosen, "xen,dom0-bootargs", c_string(arguments));
        for cells in ["#address-cells", "#size-cells"] {
            set(chosen, cells, 2_u32.to_be_bytes().into());
        }
        for (placed, kind) in [(kernel, "multiboot,kernel"), (ramdisk, "multiboot,ramdisk")] {
            let mut node = DeviceTreeNode::new_unchecked(format!("module@{:x}", placed.range.base().0));
            set(&mut node, "compatible", [&c_string(kind)[..], &c_string("multiboot,module")].concat());
            let reg = [placed.range.base().0, placed.range.size()].map(u64::to_be_bytes).concat();
            set(&mut node, "reg", reg);
            chosen.add_child(node);
        }
    }

    /// Adds a module that the configuration does not name to a guest.
    pub fn add_module(&mut self, guest: &str, name: &str, kind: &str, placed: &Placed) {
        let Some(guest) = self.0.find_node_mut(&format!("{CHOSEN}/{guest}")) else { return };
        let cells = ["#address-cells", "#size-cells"].map(|name| cell(guest, name).unwrap_or(2));
        let mut node = DeviceTreeNode::new_unchecked(name);
        set(&mut node, "compatible", [&c_string(kind)[..], &c_string("multiboot,module")].concat());
        let mut reg = in_cells(placed.range.base().0, cells[0]);
        reg.extend(in_cells(placed.range.size(), cells[1]));
        set(&mut node, "reg", reg);
        guest.add_child(node);
    }

    /// Sets a property without a value of a guest.
    pub fn set_flag(&mut self, guest: &str, property: &str) {
        if let Some(guest) = self.0.find_node_mut(&format!("{CHOSEN}/{guest}")) {
            set(guest, property, Vec::new());
        }
    }

    /// The machine's virtio devices, each with the address of its registers.
    pub fn virtio(&self) -> Vec<(u64, &DeviceTreeNode)> {
        let address = |node: &DeviceTreeNode| {
            let compatible = text(node, "compatible").filter(|compatible| compatible == "virtio,mmio");
            let reg = compatible.and_then(|_| node.property("reg"))?;
            reg.value().first_chunk().map(|address| u64::from_be_bytes(*address))
        };
        self.0.root.children().filter_map(|node| Some((address(node)?, node))).collect()
    }

    /// The machine's seed for random numbers.
    #[must_use]
    pub fn seed(&self) -> Option<Vec<u8>> {
        let seed = self.0.find_node(CHOSEN)?.property("rng-seed")?;
        Some(seed.value().to_vec())
    }

    /// The tree as the bytes that a boot loader passes on.
    #[must_use]
    pub fn to_dtb(&self) -> Vec<u8> {
        self.0.to_dtb()
    }

    /// The path of the machine's console, as its own tree states it.
    fn console(&self) -> String {
        let path = self.0.find_node(CHOSEN).and_then(|chosen| text(chosen, "stdout-path"));
        path.unwrap_or_default()
    }

    fn complete(&mut self, domain: &Domain, placed: &[Placed], interactive: bool) {
        let Some(node) = self.0.find_node_mut(&format!("{CHOSEN}/{}", domain.name)) else { return };
        // Said outright: by the specification a node inherits neither, Xen lets it inherit both.
        let address_cells = *cell(node, "#address-cells").get_or_insert(2);
        let size_cells = *cell(node, "#size-cells").get_or_insert(2);
        set(node, "#address-cells", address_cells.to_be_bytes().into());
        set(node, "#size-cells", size_cells.to_be_bytes().into());
        for module in &domain.modules {
            let Some(placed) = placed.iter().find(|placed| placed.file.node == module.node) else {
                continue;
            };
            let name = module.node.rsplit('/').next().unwrap_or_default();
            let Some(child) = node.child_mut(name) else { continue };
            let mut reg = in_cells(placed.range.base().0, address_cells);
            reg.extend(in_cells(placed.range.size(), size_cells));
            set(child, "reg", reg);
            if interactive && domain.shell && module.role == Role::Kernel {
                let arguments = text(child, "bootargs").unwrap_or_default();
                let arguments = format!("{arguments} mote.shell");
                set(child, "bootargs", c_string(arguments.trim_start()));
            }
        }
    }
}

/// Xen's own arguments: its console, and whether that starts at the first guest or at Xen, which
/// then prefixes every guest's lines.
fn xen_arguments(console: &str, interactive: bool, own: Option<&str>) -> String {
    let focus = if interactive { "a" } else { "ax" };
    let arguments = format!("console=dtuart dtuart={console} conswitch={focus} {}", own.unwrap_or_default());
    arguments.trim_end().into()
}

/// Adds everything in `addition` to `node`; where both have a property, the addition's counts.
fn merge(node: &mut DeviceTreeNode, addition: &DeviceTreeNode) {
    for property in addition.properties() {
        node.add_property(property.clone());
    }
    for child in addition.children() {
        match node.child_mut(child.name()) {
            Some(existing) => merge(existing, child),
            None => node.add_child(child.clone()),
        }
    }
}

pub(super) fn set(node: &mut DeviceTreeNode, name: &str, value: Vec<u8>) {
    node.add_property(DeviceTreeProperty::new_unchecked(name, value));
}

pub(super) fn c_string(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn text(node: &DeviceTreeNode, name: &str) -> Option<String> {
    let property = node.property(name)?;
    let value = property.value().strip_suffix(&[0])?;
    String::from_utf8(value.to_vec()).ok()
}

fn cell(node: &DeviceTreeNode, name: &str) -> Option<u32> {
    let value = node.property(name)?.value().try_into().ok()?;
    Some(u32::from_be_bytes(value))
}

/// `value` as `cells` big-endian cells, of which there are one or two.
fn in_cells(value: u64, cells: u32) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let from = if cells == 1 { 4 } else { 0 };
    bytes[from..].to_vec()
}
