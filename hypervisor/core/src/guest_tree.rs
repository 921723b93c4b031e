//! The device tree that a domain finds: what Xen gives one that dom0less builds, node by node.

use alloc::format;
use alloc::vec::Vec;

use dtoolkit::Property as _;
use vm_fdt::{Error, FdtWriter};
use xen_abi::arch_arm::{
    EVENT_CHANNEL_INTID, GICV3_DISTRIBUTOR, GICV3_REDISTRIBUTOR_STRIDE, GICV3_REDISTRIBUTORS, GRANT_TABLE,
    TIMER_PHYSICAL_INTID, TIMER_PHYSICAL_SECURE_INTID, TIMER_VIRTUAL_INTID, VPL011, VPL011_INTID,
};

use crate::addr::Ipa;
use crate::config::DomainConfig;
use crate::id::VcpuId;
use crate::layout::{IpaRange, Layout};
use crate::random::SEED;
use crate::tree::{Node, Tree};
use crate::vgic::Affinity;

/// The GIC's phandle, as on Xen (`GUEST_PHANDLE_GIC`), so that partial trees can name it.
const GIC_PHANDLE: u32 = 65_000;
/// Interrupt specifiers of the GIC: kind, and flags (trigger; the CPUs a PPI is for, in the second byte).
const SHARED: u32 = 0;
const PRIVATE: u32 = 1;
const LEVEL_HIGH: u32 = 4;
const PPI_LEVEL_LOW: u32 = 0xf08;
/// Deepest and largest partial tree that is merged.
const MAX_DEPTH: usize = 16;
/// The largest tree that the boot protocol allows, in bytes.
pub const MAX_SIZE: u64 = 2 << 20;

/// Whether all that was to be in a node could be written.
type Filled = Result<(), Error>;

/// The tree could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its partial device tree is nested too deep, uses a phandle twice, or is larger than 2 MiB")]
pub struct TreeError;

impl From<Error> for TreeError {
    fn from(_: Error) -> Self {
        Self
    }
}

/// Bytes that the tree of a domain takes at most, for the layout to leave room before addresses are known.
///
/// # Errors
/// As [`build`].
pub fn size(config: &DomainConfig, partial: Option<&Tree<'_>>) -> Result<u64, TreeError> {
    // Some nodes' names have an address in them: no other is longer.
    let nowhere = IpaRange { base: Ipa(u64::MAX), size: 0 };
    let two_banks = alloc::vec![nowhere; 2];
    let layout = Layout { banks: two_banks, kernel: nowhere, ramdisk: Some(nowhere), tree: nowhere };
    Ok(build(config, &layout, partial, Some([0; SEED]))?.len() as u64)
}

/// Writes the tree of a domain. Xen gives none of the entropy in `seed`; Linux starts slowly without.
///
/// # Errors
/// If a partial tree is nested too deep, uses a phandle that is in use, or makes the tree too large.
pub fn build(
    config: &DomainConfig,
    layout: &Layout,
    partial: Option<&Tree<'_>>,
    seed: Option<[u8; SEED]>,
) -> Result<Vec<u8>, TreeError> {
    let mut tree = FdtWriter::new()?;
    node(&mut tree, "", |root| {
        root.property_string("model", "XENVM-4.20")?;
        root.property("compatible", b"xen,xenvm-4.20\0xen,xenvm\0")?;
        root.property_u32("#address-cells", 2)?;
        root.property_u32("#size-cells", 2)?;
        root.property_u32("interrupt-parent", GIC_PHANDLE)?;
        node(root, "chosen", |chosen| fill_chosen(chosen, config, layout, seed))?;
        node(root, "psci", |psci| {
            psci.property("compatible", b"arm,psci-1.0\0arm,psci-0.2\0arm,psci\0")?;
            psci.property_string("method", "hvc")
        })?;
        node(root, "cpus", |cpus| fill_cpus(cpus, config.vcpus))?;
        for bank in &layout.banks {
            node(root, &format!("memory@{:x}", bank.base.0), |memory| {
                memory.property_string("device_type", "memory")?;
                memory.property_array_u64("reg", &[bank.base.0, bank.size])
            })?;
        }
        devices(root, config)?;
        if config.enhanced {
            node(root, "hypervisor", |hypervisor| fill_hypervisor(hypervisor, layout))?;
        }
        // Of a partial tree that much is copied on Xen.
        let mut parts = ["/aliases", "/passthrough"].into_iter().filter_map(|path| partial?.node(path));
        parts.try_for_each(|part| copy(root, part, MAX_DEPTH))
    })?;
    let bytes = tree.finish()?;
    if bytes.len() as u64 > MAX_SIZE { Err(TreeError) } else { Ok(bytes) }
}

/// A node with the properties and children that `fill` gives it.
fn node(tree: &mut FdtWriter, name: &str, fill: impl FnOnce(&mut FdtWriter) -> Filled) -> Filled {
    let node = tree.begin_node(name)?;
    fill(tree)?;
    tree.end_node(node)
}

fn fill_chosen(chosen: &mut FdtWriter, config: &DomainConfig, layout: &Layout, seed: Option<[u8; SEED]>) -> Filled {
    if let Some(bootargs) = &config.bootargs {
        chosen.property_string("bootargs", bootargs)?;
    }
    if let Some(ramdisk) = layout.ramdisk {
        chosen.property_u64("linux,initrd-start", ramdisk.base.0)?;
        chosen.property_u64("linux,initrd-end", ramdisk.base.0 + ramdisk.size)?;
    }
    if let Some(seed) = seed {
        chosen.property("rng-seed", &seed)?;
    }
    if config.vpl011 {
        chosen.property_string("stdout-path", &format!("/sbsa-uart@{:x}", VPL011.base))?;
    }
    Ok(())
}

fn fill_cpus(cpus: &mut FdtWriter, vcpus: u32) -> Filled {
    cpus.property_u32("#address-cells", 1)?;
    cpus.property_u32("#size-cells", 0)?;
    (0..vcpus).map(|vcpu| Affinity::of(VcpuId(vcpu as u8)).0).try_for_each(|affinity| {
        node(cpus, &format!("cpu@{affinity:x}"), |cpu| {
            cpu.property_string("device_type", "cpu")?;
            cpu.property_string("compatible", "arm,armv8")?;
            cpu.property_string("enable-method", "psci")?;
            cpu.property_u32("reg", affinity)
        })
    })
}

/// The GIC, the timer, and the UART if there is one.
fn devices(root: &mut FdtWriter, config: &DomainConfig) -> Filled {
    node(root, &format!("interrupt-controller@{:x}", GICV3_DISTRIBUTOR.base), |gic| {
        gic.property_string("compatible", "arm,gic-v3")?;
        gic.property_u32("#interrupt-cells", 3)?;
        gic.property_u32("#address-cells", 0)?;
        gic.property_null("interrupt-controller")?;
        let redistributors = u64::from(config.vcpus) * GICV3_REDISTRIBUTOR_STRIDE;
        let frames = [GICV3_DISTRIBUTOR.base, GICV3_DISTRIBUTOR.size, GICV3_REDISTRIBUTORS.base, redistributors];
        gic.property_array_u64("reg", &frames)?;
        gic.property_phandle(GIC_PHANDLE)
    })?;
    node(root, "timer", |timer| {
        timer.property_string("compatible", "arm,armv8-timer")?;
        let intids = [TIMER_PHYSICAL_SECURE_INTID, TIMER_PHYSICAL_INTID, TIMER_VIRTUAL_INTID];
        timer.property_array_u32("interrupts", intids.map(ppi).as_flattened())
    })?;
    if !config.vpl011 {
        return Ok(());
    }
    node(root, &format!("sbsa-uart@{:x}", VPL011.base), |uart| {
        uart.property_string("compatible", "arm,sbsa-uart")?;
        uart.property_array_u64("reg", &[VPL011.base, VPL011.size])?;
        uart.property_array_u32("interrupts", &[SHARED, VPL011_INTID - 32, LEVEL_HIGH])?;
        uart.property_u32("current-speed", 115_200)
    })
}

/// The interrupt specifier of a private interrupt.
fn ppi(intid: u32) -> [u32; 3] {
    [PRIVATE, intid - 16, PPI_LEVEL_LOW]
}

/// Where the guest finds the hypervisor: the grant table's place, addresses at which it may map what is not its own, and the
/// interrupt of events.
fn fill_hypervisor(hypervisor: &mut FdtWriter, layout: &Layout) -> Filled {
    hypervisor.property("compatible", b"xen,xen-4.20\0xen,xen\0")?;
    let unused = layout.unused().map(|region| [region.base.0, region.size]);
    let reg: Vec<_> = [[GRANT_TABLE.base, GRANT_TABLE.size]].into_iter().chain(unused).collect();
    hypervisor.property_array_u64("reg", reg.as_flattened())?;
    hypervisor.property_array_u32("interrupts", &ppi(EVENT_CHANNEL_INTID))
}

fn copy(tree: &mut FdtWriter, from: Node<'_>, depth: usize) -> Filled {
    let below = depth.checked_sub(1).ok_or(Error::NodeDepthTooLarge)?;
    node(tree, from.name(), |tree| {
        for property in from.properties() {
            match (property.name(), property.value_as()) {
                // The writer must know of it, not to give it out twice.
                ("phandle", Ok(phandle)) => tree.property_phandle(phandle)?,
                (name, _) => tree.property(name, property.value())?,
            }
        }
        from.children().try_for_each(|child| copy(tree, child, below))
    })
}

#[cfg(test)]
mod tests;
