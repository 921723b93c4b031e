//! The machine, as its device tree tells of it: what EL2 itself has to know.

use alloc::vec::Vec;
use core::fmt;

use crate::addr::PaRange;
use crate::tree::{FdtNode, Properties, Tree};

/// How the firmware is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// `SMC`.
    Smc,
    /// `HVC`.
    Hvc,
}

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
    /// How the firmware is called.
    pub conduit: Conduit,
    /// The interrupt controller.
    pub gic: Gic,
    /// The timers.
    pub timers: Timers,
}

/// What the tree does not say, or what EL2 has no driver for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// No memory node.
    Memory,
    /// No CPU node.
    Cpus,
    /// No PSCI node with a method.
    Psci,
    /// No GICv3 with the registers and the maintenance interrupt that a hypervisor needs.
    Gic,
    /// A GICv2, which is not supported yet.
    GicV2,
    /// No generic timer with the interrupts of EL1 and EL2.
    Timer,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "the device tree names no memory",
            Self::Cpus => "the device tree names no CPUs",
            Self::Psci => "the device tree names no PSCI firmware (compatible arm,psci-0.2 or later)",
            Self::Gic => "the device tree names no GICv3 with a maintenance interrupt",
            Self::GicV2 => "the machine's GIC is a GICv2; only GICv3 and later are supported",
            Self::Timer => "the device tree names no generic timer with the interrupts of EL1 and EL2",
        })
    }
}

impl Machine {
    /// Reads it from the machine's tree.
    ///
    /// # Errors
    /// The first thing that is missing.
    pub fn read(tree: &Tree<'_>) -> Result<Self, Unusable> {
        Ok(Self {
            ram: memory(tree).ok_or(Unusable::Memory)?,
            reserved: reserved(tree),
            cpus: cpus(tree).ok_or(Unusable::Cpus)?,
            conduit: conduit(tree).ok_or(Unusable::Psci)?,
            gic: gic(tree)?,
            timers: timers(tree).ok_or(Unusable::Timer)?,
        })
    }
}

/// The console: the PL011 that `/chosen` names, else the first one.
#[must_use]
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
    // Only devices right below the root are looked for, whose addresses are the machine's.
    let registers = node.ranges(tree.root().cells())?.next()?;
    Some(Uart { registers, intid: interrupts(node).and_then(|mut all| all.next()) })
}

fn memory(tree: &Tree<'_>) -> Option<Vec<PaRange>> {
    let cells = tree.root().cells();
    let nodes = tree.root().children().filter(|node| node.string("device_type") == Some("memory"));
    let ranges = nodes.filter(|node| node.is_enabled()).filter_map(|node| node.ranges(cells));
    let ranges: Vec<PaRange> = ranges.flatten().filter(|range| !range.is_empty()).collect();
    (!ranges.is_empty()).then_some(ranges)
}

fn reserved(tree: &Tree<'_>) -> Vec<PaRange> {
    let node = tree.node("/reserved-memory");
    let children = node.into_iter().flat_map(|node| {
        let cells = node.cells();
        node.children().filter_map(move |child| child.ranges(cells)).flatten()
    });
    children.chain(tree.reservations()).collect()
}

fn cpus(tree: &Tree<'_>) -> Option<Vec<u64>> {
    let node = tree.node("/cpus")?;
    let cells = node.cells();
    let cpus = node.children().filter(|cpu| cpu.string("device_type") == Some("cpu"));
    let affinities = cpus.filter(|cpu| cpu.is_enabled()).filter_map(|cpu| cpu.ranges(cells)?.next());
    let affinities: Vec<u64> = affinities.map(|reg| reg.base().0).collect();
    (!affinities.is_empty()).then_some(affinities)
}

fn conduit(tree: &Tree<'_>) -> Option<Conduit> {
    let is_psci = |node: &FdtNode<'_, '_>| {
        ["arm,psci-1.0", "arm,psci-0.2"].iter().any(|compatible| node.is_compatible(compatible))
    };
    match tree.root().children().find(is_psci)?.string("method")? {
        "smc" => Some(Conduit::Smc),
        "hvc" => Some(Conduit::Hvc),
        _ => None,
    }
}

fn gic(tree: &Tree<'_>) -> Result<Gic, Unusable> {
    let has = |compatible| tree.nodes().find(|node| node.is_compatible(compatible));
    let Some(node) = has("arm,gic-v3") else {
        let v2 = ["arm,gic-400", "arm,cortex-a15-gic"].into_iter().any(|v2| has(v2).is_some());
        return Err(if v2 { Unusable::GicV2 } else { Unusable::Gic });
    };
    let regions = node.number("#redistributor-regions").unwrap_or(1) as usize;
    let mut reg = node.ranges(tree.root().cells()).ok_or(Unusable::Gic)?;
    let distributor = reg.next().ok_or(Unusable::Gic)?;
    let redistributors: Vec<PaRange> = reg.take(regions).collect();
    let maintenance = interrupts(node).and_then(|mut all| all.next()).ok_or(Unusable::Gic)?;
    if redistributors.is_empty() {
        return Err(Unusable::Gic);
    }
    Ok(Gic { distributor, redistributors, maintenance })
}

/// The order of a timer node's interrupts: secure, non-secure, virtual, hypervisor.
fn timers(tree: &Tree<'_>) -> Option<Timers> {
    let node = tree.root().children().find(|node| node.is_compatible("arm,armv8-timer"))?;
    let mut all = interrupts(node)?.skip(2);
    Some(Timers { virtual_timer: all.next()?, hypervisor: all.next()? })
}

/// The INTIDs of a node's interrupts, in the GIC's three cells: kind, number, flags.
fn interrupts(node: FdtNode<'_, '_>) -> Option<impl Iterator<Item = u32>> {
    const SHARED: u32 = 0;
    const PRIVATE: u32 = 1;
    let mut words = node.words("interrupts")?;
    Some(core::iter::from_fn(move || {
        let (kind, number, _flags) = (words.next()?, words.next()?, words.next()?);
        match kind {
            SHARED => number.checked_add(32),
            PRIVATE if number < 16 => Some(number + 16),
            _ => None,
        }
    }))
}

#[cfg(test)]
mod tests;
