//! The machine, as its device tree tells of it: what EL2 itself has to know.

use alloc::vec::Vec;

use thiserror::Error;

use crate::addr::PaRange;
use crate::tree::{Node, Tree};

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

/// The timers' interrupts, as INTIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// The virtual timer's.
    pub virtual_timer: u32,
    /// EL2's own.
    pub hypervisor: u32,
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
    /// The timers.
    pub timers: Timers,
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
    pub fn read(tree: &Tree<'_>) -> Result<Self, Unusable> {
        if !has_firmware(tree) {
            return Err(Unusable::Psci);
        }
        Ok(Self {
            ram: any(memory(tree)).ok_or(Unusable::Memory)?,
            reserved: reserved(tree),
            cpus: any(cpus(tree)).ok_or(Unusable::Cpus)?,
            gic: gic(tree)?,
            timers: timers(tree).ok_or(Unusable::Timer)?,
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
    pub fn read(tree: &Tree<'_>, is_free: impl Fn(PaRange) -> bool) -> Result<Self, Unusable> {
        let range =
            |module: Node<'_>| module.ranges().first().copied().filter(|range| !range.is_empty() && is_free(*range));
        let find = |kind| {
            let chosen = tree.node("/chosen").ok_or(Unusable::Control)?;
            let mut modules = chosen.children().filter(|node| node.is_compatible("multiboot,module"));
            let module = modules.find(|node| node.is_compatible(kind)).ok_or(Unusable::Control)?;
            Ok((module, range(module).ok_or(Unusable::Control)?))
        };
        let ((kernel, image), (_, own_tree)) = (find("multiboot,kernel")?, find("multiboot,device-tree")?);
        let kib = kernel.words("mote,memory").into_iter().flatten().fold(0, |high, low| high << 32 | u64::from(low));
        let memory = kib.checked_mul(1024).filter(|&bytes| bytes >= image.size()).ok_or(Unusable::Control)?;
        let modules = tree.nodes().filter(|node| node.is_compatible("multiboot,module"));
        Ok(Self { image, memory, tree: own_tree, all: modules.filter_map(range).collect() })
    }
}

/// The console: the PL011 that `/chosen` names, else the first one. Buses that translate addresses are not expected above it.
pub fn console(tree: &Tree<'_>) -> Option<Uart> {
    let chosen = tree.node("/chosen").and_then(|chosen| chosen.string("stdout-path"));
    let path = chosen.and_then(|path| path.split(':').next());
    let path = path.map(|path| match tree.node("/aliases") {
        Some(aliases) if !path.starts_with('/') => aliases.string(path).unwrap_or(path),
        _ => path,
    });
    let named = path.and_then(|path| tree.node(path)).filter(|node| node.is_compatible("arm,pl011"));
    let first = || tree.nodes().find(|node| node.is_compatible("arm,pl011") && node.is_enabled());
    let node = named.or_else(first)?;
    Some(Uart { registers: *node.ranges().first()?, intid: interrupts(node).next() })
}

fn any<T>(found: Vec<T>) -> Option<Vec<T>> {
    Some(found).filter(|found| !found.is_empty())
}

/// Nodes of a type that are in use.
fn of_type<'a>(parent: Node<'a>, device_type: &str) -> impl Iterator<Item = Node<'a>> {
    parent.children().filter(move |node| node.string("device_type") == Some(device_type) && node.is_enabled())
}

fn memory(tree: &Tree<'_>) -> Vec<PaRange> {
    of_type(tree.root(), "memory").flat_map(Node::ranges).filter(|range| !range.is_empty()).collect()
}

fn reserved(tree: &Tree<'_>) -> Vec<PaRange> {
    let children = tree.node("/reserved-memory").into_iter().flat_map(Node::children);
    children.flat_map(Node::ranges).chain(tree.reservations()).collect()
}

fn cpus(tree: &Tree<'_>) -> Vec<u64> {
    let cpus = tree.node("/cpus").into_iter().flat_map(|cpus| of_type(cpus, "cpu"));
    cpus.filter_map(|cpu| cpu.ranges().first().map(|reg| reg.base().0)).collect()
}

/// Whether there is PSCI that EL2 can call, which is by `SMC`.
fn has_firmware(tree: &Tree<'_>) -> bool {
    let is_psci = |node: &Node<'_>| node.is_compatible("arm,psci-1.0") || node.is_compatible("arm,psci-0.2");
    tree.root().children().find(is_psci).is_some_and(|psci| psci.string("method") == Some("smc"))
}

fn gic(tree: &Tree<'_>) -> Result<Gic, Unusable> {
    let find = |compatible| tree.nodes().find(|node| node.is_compatible(compatible));
    let is_v2 = || find("arm,gic-400").or_else(|| find("arm,cortex-a15-gic")).is_some();
    let node = find("arm,gic-v3").ok_or_else(|| if is_v2() { Unusable::GicV2 } else { Unusable::Gic })?;
    let regions = node.number("#redistributor-regions").unwrap_or(1) as usize;
    let reg = node.ranges();
    Ok(Gic {
        distributor: *reg.first().ok_or(Unusable::Gic)?,
        redistributors: any(reg.iter().copied().skip(1).take(regions).collect()).ok_or(Unusable::Gic)?,
        all: reg.into_iter().chain(node.children().flat_map(Node::ranges)).collect(),
        maintenance: interrupts(node).next().ok_or(Unusable::Gic)?,
    })
}

/// The order of a timer node's interrupts: secure, non-secure, virtual, hypervisor.
fn timers(tree: &Tree<'_>) -> Option<Timers> {
    let node = tree.root().children().find(|node| node.is_compatible("arm,armv8-timer"))?;
    let mut all = interrupts(node).skip(2);
    Some(Timers { virtual_timer: all.next()?, hypervisor: all.next()? })
}

/// The INTIDs of a node's interrupts, in the GIC's three cells: kind, number, flags.
fn interrupts(node: Node<'_>) -> impl Iterator<Item = u32> {
    const SHARED: u32 = 0;
    const PRIVATE: u32 = 1;
    let mut words = node.words("interrupts").into_iter().flatten();
    core::iter::from_fn(move || {
        let (kind, number, _flags) = (words.next()?, words.next()?, words.next()?);
        match kind {
            SHARED => number.checked_add(32),
            PRIVATE if number < 16 => Some(number + 16),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests;
