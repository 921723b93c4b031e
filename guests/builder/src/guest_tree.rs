//! The device tree that a domain finds: what Xen gives one that dom0less builds, node by node.

use alloc::format;
use alloc::vec::Vec;

use dtoolkit::Property as _;
use thiserror::Error;
use xen_abi::arch_arm::{
    EVENT_CHANNEL_INTID, GICV3_DISTRIBUTOR, GICV3_REDISTRIBUTOR_STRIDE, GICV3_REDISTRIBUTORS, GRANT_TABLE,
    TIMER_PHYSICAL_INTID, TIMER_PHYSICAL_SECURE_INTID, TIMER_VIRTUAL_INTID, VPL011, VPL011_INTID,
};

use crate::addr::Ipa;
use crate::config::Definition;
use crate::layout::{IpaRange, Layout};
use crate::passthrough;
use crate::random::SEED;
use crate::tree::{Node, Tree, Writer};

/// The GIC's phandle, as on Xen (`GUEST_PHANDLE_GIC`), unless a partial tree has a node `/gic` whose phandle it uses.
const GIC_PHANDLE: u32 = 65_000;
/// vCPUs in a cluster.
const CLUSTER: u32 = 16;
/// Interrupt specifiers of the GIC: kind, and flags (trigger; the CPUs a PPI is for, in the second byte).
const SHARED: u32 = 0;
const PRIVATE: u32 = 1;
const LEVEL_HIGH: u32 = 0xf04;
const PPI_LEVEL_LOW: u32 = 0xf08;
/// Deepest and largest partial tree that is merged.
const MAX_DEPTH: usize = 16;
/// The largest tree that the boot protocol allows, in bytes.
pub const MAX_SIZE: u64 = 2 << 20;

/// The tree could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("its partial device tree is nested too deep, uses the phandle of the GIC, or is larger than 2 MiB")]
pub struct TreeError;

/// Bytes that the tree of a domain with so many banks of memory takes at most, for the layout to leave room before addresses are
/// known.
///
/// # Errors
/// As [`build`].
pub fn size(config: &Definition, banks: usize, partial: Option<&Tree<'_>>) -> Result<u64, TreeError> {
    // Some nodes' names have an address in them: no other is longer.
    let nowhere = IpaRange { base: Ipa(u64::MAX), size: 0 };
    let layout = Layout { banks: alloc::vec![nowhere; banks], kernel: nowhere, ramdisk: Some(nowhere), tree: nowhere };
    // The hypervisor's node may have two more ranges, which are found only when addresses are known.
    const UNUSED: u64 = 2 * 16;
    Ok(build(config, &layout, partial, Some([0; SEED]))?.len() as u64 + UNUSED)
}

/// Writes the tree of a domain. Xen gives none of the entropy in `seed`; Linux starts slowly without.
///
/// # Errors
/// If a partial tree is nested too deep, uses the GIC's phandle, or makes the tree too large.
pub fn build(
    config: &Definition,
    layout: &Layout,
    partial: Option<&Tree<'_>>,
    seed: Option<[u8; SEED]>,
) -> Result<Vec<u8>, TreeError> {
    let mut tree = Writer::default();
    let of_partial = partial.and_then(|partial| partial.node("/gic")?.number("phandle"));
    let gic = of_partial.unwrap_or(GIC_PHANDLE);
    tree.node("", |root| {
        root.text("model", "XENVM-4.20");
        root.bytes("compatible", b"xen,xenvm-4.20\0xen,xenvm\0");
        root.words("#address-cells", &[2]);
        root.words("#size-cells", &[2]);
        root.words("interrupt-parent", &[gic]);
        root.node("chosen", |chosen| fill_chosen(chosen, config, layout, seed));
        root.node("psci", |psci| {
            psci.bytes("compatible", b"arm,psci-1.0\0arm,psci-0.2\0arm,psci\0");
            psci.text("method", "hvc");
        });
        root.node("cpus", |cpus| fill_cpus(cpus, config.vcpus));
        for bank in &layout.banks {
            root.node(&format!("memory@{:x}", bank.base.0), |memory| {
                memory.text("device_type", "memory");
                memory.doubles("reg", &[bank.base.0, bank.size]);
            });
        }
        devices(root, config, gic);
        if config.enhanced {
            root.node("hypervisor", |hypervisor| fill_hypervisor(hypervisor, layout));
        }
        // Of a partial tree that much is copied on Xen.
        let mut parts = ["/aliases", "/passthrough"].into_iter().filter_map(|path| partial?.node(path));
        parts.try_for_each(|part| copy(root, part, gic, MAX_DEPTH))
    })?;
    let bytes = tree.finish();
    if bytes.len() as u64 > MAX_SIZE { Err(TreeError) } else { Ok(bytes) }
}

fn fill_chosen(chosen: &mut Writer, config: &Definition, layout: &Layout, seed: Option<[u8; SEED]>) {
    if let Some(bootargs) = &config.bootargs {
        chosen.text("bootargs", bootargs);
    }
    if let Some(ramdisk) = layout.ramdisk {
        chosen.doubles("linux,initrd-start", &[ramdisk.base.0]);
        chosen.doubles("linux,initrd-end", &[ramdisk.base.0 + ramdisk.size]);
    }
    if let Some(seed) = seed {
        chosen.bytes("rng-seed", &seed);
    }
    if config.vpl011 {
        chosen.text("stdout-path", &format!("/sbsa-uart@{:x}", VPL011.base));
    }
}

fn fill_cpus(cpus: &mut Writer, vcpus: u32) {
    cpus.words("#address-cells", &[1]);
    cpus.words("#size-cells", &[0]);
    for vcpu in 0..vcpus {
        let affinity = ((vcpu / CLUSTER) << 8) | (vcpu % CLUSTER);
        cpus.node(&format!("cpu@{affinity:x}"), |cpu| {
            cpu.text("device_type", "cpu");
            cpu.text("compatible", "arm,armv8");
            cpu.text("enable-method", "psci");
            cpu.words("reg", &[affinity]);
        });
    }
}

/// The GIC, the timer, and the UART if there is one.
fn devices(root: &mut Writer, config: &Definition, phandle: u32) {
    root.node(&format!("interrupt-controller@{:x}", GICV3_DISTRIBUTOR.base), |gic| {
        gic.text("compatible", "arm,gic-v3");
        gic.words("#interrupt-cells", &[3]);
        gic.words("#address-cells", &[0]);
        gic.bytes("interrupt-controller", &[]);
        let redistributors = u64::from(config.vcpus) * GICV3_REDISTRIBUTOR_STRIDE;
        let frames = [GICV3_DISTRIBUTOR.base, GICV3_DISTRIBUTOR.size, GICV3_REDISTRIBUTORS.base, redistributors];
        gic.doubles("reg", &frames);
        gic.words("phandle", &[phandle]);
    });
    root.node("timer", |timer| {
        timer.text("compatible", "arm,armv8-timer");
        let intids = [TIMER_PHYSICAL_SECURE_INTID, TIMER_PHYSICAL_INTID, TIMER_VIRTUAL_INTID];
        timer.words("interrupts", intids.map(ppi).as_flattened());
    });
    if config.vpl011 {
        root.node(&format!("sbsa-uart@{:x}", VPL011.base), |uart| {
            uart.text("compatible", "arm,sbsa-uart");
            uart.doubles("reg", &[VPL011.base, VPL011.size]);
            uart.words("interrupts", &[SHARED, VPL011_INTID - 32, LEVEL_HIGH]);
            uart.words("current-speed", &[115_200]);
        });
    }
}

/// The interrupt specifier of a private interrupt.
fn ppi(intid: u32) -> [u32; 3] {
    [PRIVATE, intid - 16, PPI_LEVEL_LOW]
}

/// Where the guest finds the hypervisor: the grant table's place, addresses at which it may map what is not its own, and the
/// interrupt of events.
fn fill_hypervisor(hypervisor: &mut Writer, layout: &Layout) {
    hypervisor.bytes("compatible", b"xen,xen-4.20\0xen,xen\0");
    let unused = layout.unused().map(|region| [region.base.0, region.size]);
    let reg: Vec<_> = [[GRANT_TABLE.base, GRANT_TABLE.size]].into_iter().chain(unused).collect();
    hypervisor.doubles("reg", reg.as_flattened());
    hypervisor.words("interrupts", &ppi(EVENT_CHANNEL_INTID));
}

/// Copies a node with all below it, but for what it says to the hypervisor.
fn copy(tree: &mut Writer, from: Node<'_>, gic: u32, depth: usize) -> Result<(), TreeError> {
    let below = depth.checked_sub(1).ok_or(TreeError)?;
    if from.number("phandle") == Some(gic) {
        return Err(TreeError);
    }
    tree.node(from.name(), |tree| {
        let meant = from.properties().filter(|property| !passthrough::PROPERTIES.contains(&property.name()));
        meant.for_each(|property| tree.bytes(property.name(), property.value()));
        from.children().try_for_each(|child| copy(tree, child, gic, below))
    })
}

#[cfg(test)]
mod tests;
