//! The machine, as its device tree tells of it: what EL2 itself has to know.

use alloc::vec::Vec;

use dtoolkit::Node as _;
use dtoolkit::standard::NodeStandard as _;
use thiserror::Error;

use crate::addr::{Pa, PaRange};
use crate::tree::{Node, Tree, interrupts, is_enabled, nodes, property, ranges};

/// A device with one range of registers and one interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uart {
    /// Its registers.
    pub registers: PaRange,
    /// Its interrupt, as an INTID.
    pub intid: Option<u32>,
}

/// The interrupt controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gic {
    /// The distributor's registers.
    pub distributor: PaRange,
    /// The redistributors' registers.
    pub redistributors: Vec<PaRange>,
    /// These and all other registers of it, those of its translation services among them.
    pub all: Vec<PaRange>,
    /// The interrupt of its virtual CPU interfaces, as an INTID.
    pub maintenance: u32,
}

/// What EL2 must know of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// All RAM.
    pub ram: Vec<PaRange>,
    /// What of it is not to be used.
    pub reserved: Vec<PaRange>,
    /// The affinities of all CPUs that can be used.
    pub cpus: Vec<u64>,
    /// The interrupt controller.
    pub gic: Gic,
    /// INTID of the virtual timer.
    pub virtual_timer: u32,
    /// INTID of EL2's own physical timer.
    pub hypervisor_timer: u32,
}

/// What the tree does not say, or what EL2 has no driver for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unusable {
    /// No memory node.
    #[error("the device tree names no memory")]
    Memory,
    /// No CPU node.
    #[error("the device tree names no CPUs")]
    Cpus,
    /// No PSCI node with a method.
    #[error("the device tree names no PSCI firmware (compatible arm,psci-0.2 or later, method smc)")]
    Psci,
    /// No GICv3 with the registers and the maintenance interrupt that a hypervisor needs.
    #[error("the device tree names no GICv3 with a maintenance interrupt")]
    Gic,
    /// A GICv2, which is not supported yet.
    #[error("the machine's GIC is a GICv2; only GICv3 and later are supported")]
    GicV2,
    /// No control domain, which builds all others.
    #[error(
        "/chosen names no control domain: modules multiboot,kernel with mote,memory, and multiboot,device-tree, in RAM"
    )]
    Control,
    /// No generic timer with the interrupts of EL1 and EL2.
    #[error("the device tree names no generic timer with the interrupts of EL1 and EL2")]
    Timer,
}

impl Machine {
    /// Reads it from the machine's tree.
    ///
    /// # Errors
    /// The first thing that is missing.
    pub fn read(tree: Tree<'_>) -> Result<Self, Unusable> {
        if !has_firmware(tree) {
            return Err(Unusable::Psci);
        }
        let (virtual_timer, hypervisor_timer) = timers(tree).ok_or(Unusable::Timer)?;
        Ok(Self {
            ram: any(memory(tree)).ok_or(Unusable::Memory)?,
            reserved: reserved(tree),
            cpus: any(cpus(tree)).ok_or(Unusable::Cpus)?,
            gic: gic(tree)?,
            virtual_timer,
            hypervisor_timer,
        })
    }

    /// What no domain may have as a device: memory, and what EL2 uses itself.
    pub fn kept(&self, console: Option<Uart>) -> Vec<PaRange> {
        let all = [&self.ram, &self.reserved, &self.gic.all].into_iter().flatten().copied();
        all.chain(console.map(|uart| uart.registers)).collect()
    }
}

/// What the boot loader put into memory for the control domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modules {
    /// Its image, a flat one that begins with its first instruction.
    pub image: PaRange,
    /// Its memory, in bytes.
    pub memory: u64,
    /// Its device tree.
    pub tree: PaRange,
    /// These, and what it builds other domains from.
    pub all: Vec<PaRange>,
}

impl Modules {
    /// Reads them from the machine's tree: the control domain's are children of `/chosen`. All lie in RAM that `is_free`.
    ///
    /// # Errors
    /// If the control domain's are missing.
    pub fn read(tree: Tree<'_>, is_free: impl Fn(PaRange) -> bool) -> Result<Self, Unusable> {
        let range =
            |module: Node<'_>| ranges(module).first().copied().filter(|range| !range.is_empty() && is_free(*range));
        let find = |kind| {
            let chosen = tree.find_node("/chosen").ok_or(Unusable::Control)?;
            let mut modules = chosen.children().filter(|node| node.is_compatible("multiboot,module"));
            let module = modules.find(|node| node.is_compatible(kind)).ok_or(Unusable::Control)?;
            Ok((module, range(module).ok_or(Unusable::Control)?))
        };
        let ((kernel, image), (_, own_tree)) = (find("multiboot,kernel")?, find("multiboot,device-tree")?);
        let memory = property(kernel, "mote,memory").and_then(|kib: u64| kib.checked_mul(1024));
        let memory = memory.filter(|&bytes| bytes >= image.size()).ok_or(Unusable::Control)?;
        let modules = nodes(tree).filter(|node| node.is_compatible("multiboot,module"));
        Ok(Self { image, memory, tree: own_tree, all: modules.filter_map(range).collect() })
    }
}

/// The console: the PL011 that `/chosen` names, else the first one. Buses that translate addresses are not expected above it.
pub fn console(tree: Tree<'_>) -> Option<Uart> {
    let chosen = tree.find_node("/chosen").and_then(|chosen| property(chosen, "stdout-path"));
    let path = chosen.and_then(|path: &str| path.split(':').next());
    let path = path.map(|path| match tree.find_node("/aliases") {
        Some(aliases) if !path.starts_with('/') => property(aliases, path).unwrap_or(path),
        _ => path,
    });
    let named = path.and_then(|path| tree.find_node(path)).filter(|node| node.is_compatible("arm,pl011"));
    let first = || nodes(tree).find(|node| node.is_compatible("arm,pl011") && is_enabled(node));
    let node = named.or_else(first)?;
    Some(Uart { registers: *ranges(node).first()?, intid: interrupts(node).next() })
}

fn any<T>(found: Vec<T>) -> Option<Vec<T>> {
    Some(found).filter(|found| !found.is_empty())
}

/// Nodes of a type that are in use.
fn of_type<'a>(parent: Node<'a>, device_type: &str) -> impl Iterator<Item = Node<'a>> {
    parent.children().filter(move |node| property(*node, "device_type") == Some(device_type) && is_enabled(node))
}

fn memory(tree: Tree<'_>) -> Vec<PaRange> {
    of_type(tree.root(), "memory").flat_map(ranges).filter(|range| !range.is_empty()).collect()
}

fn reserved(tree: Tree<'_>) -> Vec<PaRange> {
    let children = tree.find_node("/reserved-memory").into_iter().flat_map(|node| node.children());
    let reservations = tree.memory_reservations();
    let reservations = reservations.filter_map(|entry| PaRange::new(Pa(entry.address()), entry.size()));
    children.flat_map(ranges).chain(reservations).collect()
}

fn cpus(tree: Tree<'_>) -> Vec<u64> {
    let cpus = tree.find_node("/cpus").into_iter().flat_map(|cpus| of_type(cpus, "cpu"));
    cpus.filter_map(|cpu| ranges(cpu).first().map(|reg| reg.base().0)).collect()
}

/// Whether there is PSCI that EL2 can call, which is by `SMC`.
fn has_firmware(tree: Tree<'_>) -> bool {
    let is_psci = |node: &Node<'_>| node.is_compatible("arm,psci-1.0") || node.is_compatible("arm,psci-0.2");
    tree.root().children().find(is_psci).is_some_and(|psci| property(psci, "method") == Some("smc"))
}

fn gic(tree: Tree<'_>) -> Result<Gic, Unusable> {
    let find = |compatible| nodes(tree).find(|node| node.is_compatible(compatible));
    let is_v2 = || find("arm,gic-400").or_else(|| find("arm,cortex-a15-gic")).is_some();
    let node = find("arm,gic-v3").ok_or_else(|| if is_v2() { Unusable::GicV2 } else { Unusable::Gic })?;
    let regions = property(node, "#redistributor-regions").unwrap_or(1_u32) as usize;
    let reg = ranges(node);
    Ok(Gic {
        distributor: *reg.first().ok_or(Unusable::Gic)?,
        redistributors: any(reg.iter().copied().skip(1).take(regions).collect()).ok_or(Unusable::Gic)?,
        all: reg.into_iter().chain(node.children().flat_map(ranges)).collect(),
        maintenance: interrupts(node).next().ok_or(Unusable::Gic)?,
    })
}

/// The order of a timer node's interrupts: secure, non-secure, virtual, hypervisor.
fn timers(tree: Tree<'_>) -> Option<(u32, u32)> {
    let node = tree.root().children().find(|node| node.is_compatible("arm,armv8-timer"))?;
    let mut all = interrupts(node).skip(2);
    Some((all.next()?, all.next()?))
}

#[cfg(test)]
mod tests;
