//! The device tree that a domain finds: what Xen gives one that dom0less builds, node by node.

use alloc::string::String;
use alloc::vec::Vec;

use vm_fdt::FdtWriter;
use xen_abi::arch_arm::{
    EVENT_CHANNEL_INTID, GICV3_DISTRIBUTOR, GICV3_REDISTRIBUTOR_STRIDE, GICV3_REDISTRIBUTORS, GRANT_TABLE,
    TIMER_PHYSICAL_INTID, TIMER_PHYSICAL_SECURE_INTID, TIMER_VIRTUAL_INTID, VPL011, VPL011_INTID,
};

use crate::config::DomainConfig;
use crate::id::VcpuId;
use crate::layout::{IpaRange, Layout};
use crate::random::SEED;
use crate::tree::{FdtNode, Properties, Tree};
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

/// Bytes that the tree of a domain takes at most, for the layout to leave room before addresses are known.
///
/// # Errors
/// As [`build`].
pub fn size(config: &DomainConfig, partial: Option<&Tree<'_>>) -> Result<u64, TreeError> {
    // Some nodes' names have an address in them: no other is longer.
    let nowhere = IpaRange { base: crate::addr::Ipa(u64::MAX), size: 0 };
    let two_banks = alloc::vec![nowhere; 2];
    let layout = Layout { banks: two_banks, kernel: nowhere, ramdisk: Some(nowhere), tree: nowhere };
    Ok(build(config, &layout, partial, Some([0; SEED]))?.len() as u64)
}

/// The tree could not be made: a partial tree is too deep, or too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeError;

impl core::fmt::Display for TreeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("its partial device tree is nested too deep or larger than 2 MiB")
    }
}

impl From<vm_fdt::Error> for TreeError {
    fn from(_: vm_fdt::Error) -> Self {
        Self
    }
}

/// Writes the tree of a domain. Xen gives none of the entropy in `seed`; Linux starts slowly without.
///
/// # Errors
/// See [`TreeError`].
pub fn build(
    config: &DomainConfig,
    layout: &Layout,
    partial: Option<&Tree<'_>>,
    seed: Option<[u8; SEED]>,
) -> Result<Vec<u8>, TreeError> {
    let mut tree = FdtWriter::new()?;
    let root = tree.begin_node("")?;
    tree.property_string("model", "XENVM-4.20")?;
    tree.property_string_list("compatible", compatibles(&["xen,xenvm-4.20", "xen,xenvm"]))?;
    tree.property_u32("#address-cells", 2)?;
    tree.property_u32("#size-cells", 2)?;
    tree.property_u32("interrupt-parent", GIC_PHANDLE)?;
    chosen(&mut tree, config, layout, seed)?;
    psci(&mut tree)?;
    cpus(&mut tree, config)?;
    memory(&mut tree, layout)?;
    gic(&mut tree, config)?;
    timer(&mut tree)?;
    if config.vpl011 {
        vpl011(&mut tree)?;
    }
    if config.enhanced {
        hypervisor(&mut tree, layout)?;
    }
    if let Some(partial) = partial {
        merge(&mut tree, partial)?;
    }
    tree.end_node(root)?;
    let bytes = tree.finish()?;
    if bytes.len() as u64 > MAX_SIZE { Err(TreeError) } else { Ok(bytes) }
}

fn compatibles(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.into()).collect()
}

fn chosen(
    tree: &mut FdtWriter,
    config: &DomainConfig,
    layout: &Layout,
    seed: Option<[u8; SEED]>,
) -> Result<(), TreeError> {
    let node = tree.begin_node("chosen")?;
    if let Some(bootargs) = &config.bootargs {
        tree.property_string("bootargs", bootargs)?;
    }
    if let Some(ramdisk) = layout.ramdisk {
        tree.property_u64("linux,initrd-start", ramdisk.base.0)?;
        tree.property_u64("linux,initrd-end", ramdisk.base.0 + ramdisk.size)?;
    }
    if let Some(seed) = seed {
        tree.property("rng-seed", &seed)?;
    }
    if config.vpl011 {
        tree.property_string("stdout-path", &alloc::format!("/sbsa-uart@{:x}", VPL011.base))?;
    }
    tree.end_node(node)?;
    Ok(())
}

/// Where the guest finds the hypervisor: the grant table's place, addresses at which it may map what is not its own, and the
/// interrupt of events.
fn hypervisor(tree: &mut FdtWriter, layout: &Layout) -> Result<(), TreeError> {
    let node = tree.begin_node("hypervisor")?;
    tree.property_string_list("compatible", compatibles(&["xen,xen-4.20", "xen,xen"]))?;
    let mut reg = alloc::vec![GRANT_TABLE.base, GRANT_TABLE.size];
    for region in layout.unused() {
        reg.extend([region.base.0, region.size]);
    }
    tree.property_array_u64("reg", &reg)?;
    tree.property_array_u32("interrupts", &[PRIVATE, EVENT_CHANNEL_INTID - 16, PPI_LEVEL_LOW])?;
    tree.end_node(node)?;
    Ok(())
}

fn psci(tree: &mut FdtWriter) -> Result<(), TreeError> {
    let node = tree.begin_node("psci")?;
    tree.property_string_list("compatible", compatibles(&["arm,psci-1.0", "arm,psci-0.2", "arm,psci"]))?;
    tree.property_string("method", "hvc")?;
    tree.end_node(node)?;
    Ok(())
}

fn cpus(tree: &mut FdtWriter, config: &DomainConfig) -> Result<(), TreeError> {
    let node = tree.begin_node("cpus")?;
    tree.property_u32("#address-cells", 1)?;
    tree.property_u32("#size-cells", 0)?;
    for vcpu in 0..config.vcpus {
        let affinity = Affinity::of(VcpuId(vcpu as u8)).0;
        let cpu = tree.begin_node(&alloc::format!("cpu@{affinity:x}"))?;
        tree.property_string("device_type", "cpu")?;
        tree.property_string("compatible", "arm,armv8")?;
        tree.property_string("enable-method", "psci")?;
        tree.property_u32("reg", affinity)?;
        tree.end_node(cpu)?;
    }
    tree.end_node(node)?;
    Ok(())
}

fn memory(tree: &mut FdtWriter, layout: &Layout) -> Result<(), TreeError> {
    for bank in &layout.banks {
        let node = tree.begin_node(&alloc::format!("memory@{:x}", bank.base.0))?;
        tree.property_string("device_type", "memory")?;
        tree.property_array_u64("reg", &[bank.base.0, bank.size])?;
        tree.end_node(node)?;
    }
    Ok(())
}

fn gic(tree: &mut FdtWriter, config: &DomainConfig) -> Result<(), TreeError> {
    let node = tree.begin_node(&alloc::format!("interrupt-controller@{:x}", GICV3_DISTRIBUTOR.base))?;
    tree.property_string("compatible", "arm,gic-v3")?;
    tree.property_u32("#interrupt-cells", 3)?;
    tree.property_u32("#address-cells", 0)?;
    tree.property_null("interrupt-controller")?;
    let redistributors = u64::from(config.vcpus) * GICV3_REDISTRIBUTOR_STRIDE;
    tree.property_array_u64(
        "reg",
        &[GICV3_DISTRIBUTOR.base, GICV3_DISTRIBUTOR.size, GICV3_REDISTRIBUTORS.base, redistributors],
    )?;
    tree.property_phandle(GIC_PHANDLE)?;
    tree.end_node(node)?;
    Ok(())
}

fn timer(tree: &mut FdtWriter) -> Result<(), TreeError> {
    let node = tree.begin_node("timer")?;
    tree.property_string("compatible", "arm,armv8-timer")?;
    let specifier = |intid: u32| [PRIVATE, intid - 16, PPI_LEVEL_LOW];
    let intids = [TIMER_PHYSICAL_SECURE_INTID, TIMER_PHYSICAL_INTID, TIMER_VIRTUAL_INTID];
    tree.property_array_u32("interrupts", intids.map(specifier).as_flattened())?;
    tree.end_node(node)?;
    Ok(())
}

fn vpl011(tree: &mut FdtWriter) -> Result<(), TreeError> {
    let node = tree.begin_node(&alloc::format!("sbsa-uart@{:x}", VPL011.base))?;
    tree.property_string("compatible", "arm,sbsa-uart")?;
    tree.property_array_u64("reg", &[VPL011.base, VPL011.size])?;
    tree.property_array_u32("interrupts", &[SHARED, VPL011_INTID - 32, LEVEL_HIGH])?;
    tree.property_u32("current-speed", 115_200)?;
    tree.end_node(node)?;
    Ok(())
}

/// Copies `/aliases` and what is below `/passthrough`, as Xen does with a partial tree.
fn merge(tree: &mut FdtWriter, partial: &Tree<'_>) -> Result<(), TreeError> {
    for path in ["/aliases", "/passthrough"] {
        if let Some(node) = partial.node(path) {
            copy(tree, node, MAX_DEPTH)?;
        }
    }
    Ok(())
}

fn copy(tree: &mut FdtWriter, from: FdtNode<'_, '_>, depth: usize) -> Result<(), TreeError> {
    let below = depth.checked_sub(1).ok_or(TreeError)?;
    let node = tree.begin_node(from.name)?;
    for property in from.properties() {
        match (property.name, from.number("phandle")) {
            ("phandle", Some(phandle)) => tree.property_phandle(phandle)?,
            _ => tree.property(property.name, property.value)?,
        }
    }
    for child in from.children() {
        copy(tree, child, below)?;
    }
    tree.end_node(node)?;
    Ok(())
}

#[cfg(test)]
mod tests;
